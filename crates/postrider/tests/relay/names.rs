//! A DNS server of a test's own, over UDP on loopback (RFC 1035): what it has is changed while it runs, and names can be made dark or silent.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// What there is: (name, type, data on the wire).
type Records = Vec<(String, u16, Vec<u8>)>;

const A: u16 = 1;
const SOA: u16 = 6;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// A server that runs as long as the test.
pub struct Names {
    pub address: SocketAddr,
    zone: Arc<Mutex<(Records, Vec<String>)>>,
}

impl Names {
    /// Lines of `NAME TYPE VALUE`; PTR lines begin with the address.
    pub fn serve(text: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let names = Self { address: socket.local_addr().unwrap(), zone: Arc::default() };
        names.change(text);
        let zone = names.zone.clone();
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let reply = answer(&query[..length], &zone.lock().unwrap());
                if !reply.is_empty() {
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        names
    }

    /// Other records from now on; a line `! NAME` makes that name dark, `!? NAME` one that is never answered.
    pub fn change(&self, text: &str) {
        let (dark, lines): (Vec<&str>, Vec<&str>) =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).partition(|line| line.starts_with('!'));
        let dark = dark.iter().map(|line| line.trim_start_matches(['!', ' ']).to_owned()).collect();
        *self.zone.lock().unwrap() = (lines.into_iter().map(record).collect(), dark);
    }

    /// The section of a configuration that asks it.
    pub fn section(&self, config: &str) -> String {
        config.replace("\"127.0.0.1:1\"", &format!("\"{}\"", self.address))
    }
}

fn record(line: &str) -> (String, u16, Vec<u8>) {
    let mut parts = line.splitn(3, ' ');
    let (name, kind, value) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let (kind, data) = match kind {
        "A" => match value.parse().unwrap() {
            IpAddr::V4(address) => (A, address.octets().to_vec()),
            IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
        },
        "PTR" => (PTR, wire(value)),
        "MX" => {
            let (preference, host) = value.split_once(' ').unwrap();
            (MX, [preference.parse::<u16>().unwrap().to_be_bytes().to_vec(), wire(host)].concat())
        }
        "TXT" => (TXT, value.as_bytes().chunks(255).flat_map(|part| [&[part.len() as u8][..], part].concat()).collect()),
        other => panic!("no type {other}"),
    };
    let name = match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        _ => name.to_lowercase(),
    };
    (name, kind, data)
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn answer(query: &[u8], (records, dark): &(Records, Vec<String>)) -> Vec<u8> {
    let mut at = 12;
    let mut name = String::new();
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        name += &format!("{}{}", if name.is_empty() { "" } else { "." }, String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    if dark.contains(&format!("? {name}")) {
        return Vec::new();
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let found: Vec<_> = records.iter().filter(|(owner, of, _)| *owner == name && *of == kind).collect();
    let exists = records.iter().any(|(owner, ..)| *owner == name || owner.ends_with(&format!(".{name}")));
    let code = if dark.contains(&name) {
        2
    } else if exists {
        0
    } else {
        3
    };
    let authorities = u16::from(found.is_empty() && code != 2);
    let counts = [1u16, if code == 2 { 0 } else { found.len() as u16 }, authorities, 0];
    let mut reply = [&query[..2], &[0x81, 0x80 | code]].concat();
    counts.iter().for_each(|count| reply.extend(count.to_be_bytes()));
    reply.extend(question);
    let mut put = |owner: &[u8], kind: u16, data: &[u8]| {
        reply.extend(owner);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 1]);
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(data);
    };
    if code != 2 {
        found.iter().for_each(|(_, kind, data)| put(&[0xc0, 12], *kind, data));
    }
    if authorities > 0 {
        put(&wire("test"), SOA, &[wire("ns.test"), wire("h.test"), [0; 16].to_vec(), 1u32.to_be_bytes().to_vec()].concat());
    }
    reply
}
