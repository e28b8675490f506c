//! A tiny authoritative DNS server for the bench's names, over UDP on loopback (RFC 1035).
//!
//! Promises: MX and A answers for the [`World`], NODATA for other types of those names, NXDOMAIN for every other name, each negative answer with a
//! SOA so that it can be cached (RFC 2308). Every answer fits 512 octets.
//!
//! Never: forwards, recurses, or listens beyond loopback.
//!
//! Does badly: no TCP, no EDNS (an OPT record in a query is ignored, as RFC 1035 servers do).

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use super::world::{World, ZONE};

const TYPE_A: u16 = 1;
const TYPE_SOA: u16 = 6;
const TYPE_MX: u16 = 15;
const TYPE_ANY: u16 = 255;
const CLASS_IN: [u8; 2] = [0, 1];
const HEADER_OCTETS: usize = 12;
const TTL_SECONDS: u32 = 3600;
const RCODE_NOTIMP: u8 = 4;
const RCODE_NXDOMAIN: u8 = 3;

/// How often the server's thread looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Answers at 127.0.0.1 and this port (0: any free one).
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(world: World, port: u16) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", port)).with_context(|| format!("cannot answer DNS at 127.0.0.1:{port}"))?;
        socket.set_read_timeout(Some(LOOK))?;
        let address = socket.local_addr()?;
        let ending = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ending);
        let thread = std::thread::Builder::new().name("bench-dns".into()).spawn(move || {
            let mut query = [0; 1500];
            let mut reply = Vec::with_capacity(512);
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                if answer(&query[..length], &world, &mut reply).is_some() {
                    // A client that is gone asks no more.
                    let _ = socket.send_to(&reply, from);
                }
            }
        })?;
        Ok(Self { address, ending, thread: Some(thread) })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a name of the zone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Apex,
    Domain(usize),
    MxHost(usize),
}

/// Writes the reply to a query; `None` for what is no query.
fn answer(query: &[u8], world: &World, reply: &mut Vec<u8>) -> Option<()> {
    let header = query.get(..HEADER_OCTETS)?;
    let is_response = header[2] & 0x80 != 0;
    let questions = u16::from_be_bytes([header[4], header[5]]);
    if is_response || questions != 1 {
        return None;
    }
    let (name, name_end) = read_name(query, HEADER_OCTETS)?;
    let question_end = name_end + 4;
    let kind = u16::from_be_bytes([*query.get(name_end)?, *query.get(name_end + 1)?]);
    let question = query.get(HEADER_OCTETS..question_end)?;

    reply.clear();
    reply.extend_from_slice(&header[..2]);
    // QR and AA, the query's opcode and RD; counts of one question are written, the rest is filled in below.
    reply.extend_from_slice(&[0x84 | (header[2] & 0x79), 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    reply.extend_from_slice(question);
    if header[2] & 0x78 != 0 {
        reply[3] = RCODE_NOTIMP;
        return Some(());
    }
    match known(&name, world) {
        Some(Name::Domain(domain)) if kind == TYPE_MX || kind == TYPE_ANY => {
            let mut data = vec![0, 10];
            write_name(&format!("mx{}.{ZONE}", world.mx_of_domain(domain)), &mut data);
            record(reply, Section::Answer, None, TYPE_MX, &data);
        }
        Some(Name::MxHost(host)) if kind == TYPE_A || kind == TYPE_ANY => {
            record(reply, Section::Answer, None, TYPE_A, &world.sink_ip(host % world.sinks).octets());
        }
        Some(_) => negative(reply),
        None => {
            reply[3] = RCODE_NXDOMAIN;
            negative(reply);
        }
    }
    Some(())
}

/// What this name is, compared without regard to case (RFC 4343).
fn known(name: &str, world: &World) -> Option<Name> {
    let name = name.to_ascii_lowercase();
    if name == ZONE {
        return Some(Name::Apex);
    }
    let label = name.strip_suffix(ZONE)?.strip_suffix('.')?;
    let number = |digits: &str| if digits.starts_with('+') { None } else { digits.parse::<usize>().ok() };
    if let Some(host) = label.strip_prefix("mx").and_then(number) {
        return (host < world.mx_hosts).then_some(Name::MxHost(host));
    }
    let domain = label.strip_prefix('d').and_then(number)?;
    (domain < world.domains).then_some(Name::Domain(domain))
}

/// Reads an uncompressed name (a question's name never needs compression); gives it and the index behind it.
fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        if length > 63 || name.len() + length > 254 {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(std::str::from_utf8(message.get(at..at + length)?).ok()?);
        at += length;
    }
}

fn write_name(name: &str, to: &mut Vec<u8>) {
    for label in name.split('.') {
        to.push(label.len() as u8);
        to.extend_from_slice(label.as_bytes());
    }
    to.push(0);
}

#[derive(Clone, Copy)]
enum Section {
    Answer,
    Authority,
}

/// Appends a record of the question's name, or of another.
fn record(reply: &mut Vec<u8>, section: Section, owner: Option<&str>, kind: u16, data: &[u8]) {
    match owner {
        Some(owner) => write_name(owner, reply),
        // A pointer to the question's name, which stands behind the header (RFC 1035 §4.1.4).
        None => reply.extend_from_slice(&[0xc0, HEADER_OCTETS as u8]),
    }
    reply.extend_from_slice(&kind.to_be_bytes());
    reply.extend_from_slice(&CLASS_IN);
    reply.extend_from_slice(&TTL_SECONDS.to_be_bytes());
    reply.extend_from_slice(&(data.len() as u16).to_be_bytes());
    reply.extend_from_slice(data);
    let count = match section {
        Section::Answer => 7,
        Section::Authority => 9,
    };
    reply[count] += 1;
}

/// Appends the SOA that makes a negative answer cacheable (RFC 2308 §3).
fn negative(reply: &mut Vec<u8>) {
    let mut data = Vec::with_capacity(64);
    write_name(&format!("ns.{ZONE}"), &mut data);
    write_name(&format!("hostmaster.{ZONE}"), &mut data);
    for value in [1, TTL_SECONDS, TTL_SECONDS, TTL_SECONDS, TTL_SECONDS] {
        data.extend_from_slice(&value.to_be_bytes());
    }
    record(reply, Section::Authority, Some(ZONE), TYPE_SOA, &data);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE_AAAA: u16 = 28;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        write_name(name, &mut query);
        query.extend_from_slice(&kind.to_be_bytes());
        query.extend_from_slice(&CLASS_IN);
        query
    }

    /// Asks; checks rcode and counts of answers and authorities; gives what follows the question.
    fn check(name: &str, kind: u16, rcode: u8, answers: u8, authorities: u8) -> Vec<u8> {
        let world = World { domains: 10_000, mx_hosts: 1000, sinks: 10, sink_port: 2525 };
        let query = query(name, kind);
        let mut reply = Vec::new();
        answer(&query, &world, &mut reply).expect("a query is answered");
        assert_eq!(reply[..4], [0xab, 0xcd, 0x85, rcode], "{name}");
        assert_eq!(reply[4..12], [0, 1, 0, answers, 0, authorities, 0, 0], "{name}");
        assert!(reply.len() <= 512);
        reply[query.len()..].to_vec()
    }

    #[test]
    fn mx_and_a_are_encoded() {
        let mx = check("D2042.bench.TEST", TYPE_MX, 0, 1, 0);
        assert_eq!(mx[..12], [0xc0, 12, 0, 15, 0, 1, 0, 0, 0x0e, 0x10, 0, 19]);
        assert_eq!(&mx[12..], b"\x00\x0a\x04mx42\x05bench\x04test\x00");
        let address = check("mx42.bench.test", TYPE_A, 0, 1, 0);
        assert_eq!(address, [0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 127, 0, 0, 4]);
    }

    #[test]
    fn absence_of_a_type_is_not_absence_of_a_name() {
        check("mx42.bench.test", TYPE_AAAA, 0, 0, 1);
        check("d0.bench.test", TYPE_A, 0, 0, 1);
        check("bench.test", TYPE_MX, 0, 0, 1);
        for name in [
            "d10000.bench.test",
            "mx1000.bench.test",
            "d+1.bench.test",
            "d.bench.test",
            "example.com",
            "xbench.test",
            "_25._tcp.mx0.bench.test",
        ] {
            check(name, TYPE_MX, RCODE_NXDOMAIN, 0, 1);
        }
    }

    #[test]
    fn what_is_no_query_is_not_answered() {
        let world = World { domains: 1, mx_hosts: 1, sinks: 1, sink_port: 2525 };
        let whole = query("d0.bench.test", TYPE_MX);
        let mut reply = Vec::new();
        for length in 0..whole.len() {
            assert_eq!(answer(&whole[..length], &world, &mut reply), None, "{length}");
        }
        let mut response = whole.clone();
        response[2] |= 0x80;
        assert_eq!(answer(&response, &world, &mut reply), None);
        let mut pointer = whole;
        pointer[12] = 0xc0;
        assert_eq!(answer(&pointer, &world, &mut reply), None);
    }
}
