//! Sources that send by way of a proxy, and what becomes of mail when the proxy is down.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, channel};

use crate::harness::{Folder, Hop, PATIENCE, Relay, Session, config};
use crate::hops::{closed_port, explained};

/// A proxy on loopback, and what it was told: one line for each connection.
struct Proxy {
    port: u16,
    told: Receiver<String>,
}

/// Reads what a client of the proxy says, and gives back whom to dial, and the line to tell.
type Listen = fn(&mut TcpStream) -> io::Result<(SocketAddr, String)>;

impl Proxy {
    fn open(listen: Listen) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, told) = channel();
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let (to, line) = listen(&mut client)?;
                    let _ = sender.send(line);
                    let hop = TcpStream::connect(to)?;
                    let (mut from_hop, mut to_client) = (hop.try_clone()?, client.try_clone()?);
                    std::thread::spawn(move || io::copy(&mut from_hop, &mut to_client));
                    let mut hop = hop;
                    io::copy(&mut client, &mut hop)?;
                    hop.shutdown(std::net::Shutdown::Both)
                });
            }
        });
        Self { port, told }
    }

    fn told(&self) -> String {
        self.told.recv_timeout(PATIENCE).expect("nobody came")
    }
}

fn octets<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut read = [0; N];
    stream.read_exact(&mut read)?;
    Ok(read)
}

/// RFC 1928, for IPv4; asks for a name and a password where they are offered, and tells them.
fn socks5(client: &mut TcpStream) -> io::Result<(SocketAddr, String)> {
    let [_, methods] = octets(client)?;
    let mut offered = vec![0; usize::from(methods)];
    client.read_exact(&mut offered)?;
    let mut told = "socks5".to_owned();
    if offered.contains(&2) {
        client.write_all(&[5, 2])?;
        let [_, length] = octets(client)?;
        let mut name = vec![0; usize::from(length)];
        client.read_exact(&mut name)?;
        let [length] = octets(client)?;
        let mut password = vec![0; usize::from(length)];
        client.read_exact(&mut password)?;
        told = format!("socks5 {} {}", String::from_utf8_lossy(&name), String::from_utf8_lossy(&password));
        let wrong = u8::from(password != b"secret");
        client.write_all(&[1, wrong])?;
    } else {
        client.write_all(&[5, 0])?;
    }
    let [_, _, _, _, a, b, c, d, high, low] = octets(client)?;
    let to = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])));
    // RFC 1928 §6: connection refused, where it is.
    let refused = TcpStream::connect(to).is_err();
    client.write_all(&[5, if refused { 5 } else { 0 }, 0, 1, 127, 0, 0, 1, 0, 0])?;
    Ok((to, told))
}

/// A line, octet by octet, so that nothing behind it is read.
fn header_1(client: &mut TcpStream) -> io::Result<(SocketAddr, String)> {
    let mut line = String::new();
    while !line.ends_with("\r\n") {
        let [octet] = octets(client)?;
        line.push(char::from(octet));
    }
    let words: Vec<&str> = line.trim_end().split(' ').collect();
    Ok((format!("{}:{}", words[3], words[5]).parse().unwrap(), format!("{} from {}", words[0], words[2])))
}

fn header_2(client: &mut TcpStream) -> io::Result<(SocketAddr, String)> {
    let start: [u8; 16] = octets(client)?;
    assert_eq!(start, *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    let [a, b, c, d, e, f, g, h, _, _, high, low] = octets(client)?;
    Ok((SocketAddr::from(([e, f, g, h], u16::from_be_bytes([high, low]))), format!("version 2 from {a}.{b}.{c}.{d}")))
}

fn source(name: &str, keys: &str) -> String {
    format!("[[source]]\nname = \"{name}\"\n{keys}\n")
}

/// A pool of these, in this order, for all mail.
fn through(names: &str) -> String {
    format!("[[pool]]\nname = \"p\"\nsources = [{names}]\n[[route]]\nname = \"all\"\nto = \"mx\"\npool = \"p\"\n")
}

fn send(relay: &Relay, text: &str) -> String {
    let reply =
        Session::log_in(relay.address("submission")).send("s@[127.0.0.1]", "x@[127.0.0.1]", &format!("Subject: {text}\r\n\r\n{text}"));
    reply.trim_end().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn mail_goes_by_way_of_each_kind_of_proxy() {
    let hop = Hop::open(|_| None);
    for (scheme, listen, keys, told) in [
        ("socks5", socks5 as Listen, "", "socks5"),
        ("socks5", socks5, "proxy_user = \"ann\"\nproxy_password_file = \"proxy.password\"\n", "socks5 ann secret"),
        ("proxy-v1", header_1, "address = \"192.0.2.25\"\n", "PROXY from 192.0.2.25"),
        ("proxy-v2", header_2, "address = \"192.0.2.26\"\n", "version 2 from 192.0.2.26"),
    ] {
        let proxy = Proxy::open(listen);
        let folder = Folder::new();
        let away = source("away", &format!("ehlo_name = \"away.test\"\nproxy = \"{scheme}://127.0.0.1:{}\"\n{keys}", proxy.port));
        folder.configure(&format!("{}{away}", config(hop.port)));
        let secret = folder.data().join("proxy.password");
        std::fs::write(&secret, "secret\n").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut relay = Relay::start_in(folder, &[]);
        send(&relay, scheme);
        assert_eq!(proxy.told(), told);
        assert!(hop.take().contains(scheme));
        assert!(relay.mail.wait("delivered").contains("source=away"));
        assert_eq!(hop.hear("EHLO"), "EHLO away.test");
    }
}

#[test]
fn a_proxy_that_is_down_is_passed_over_and_never_counts_against_the_next_hop() {
    let hop = Hop::open(|_| None);
    let proxy = Proxy::open(socks5);
    let dead = source("dead", &format!("proxy = \"socks5://127.0.0.1:{}\"", closed_port()));
    let alive = source("alive", &format!("proxy = \"socks5://127.0.0.1:{}\"", proxy.port));
    // A connection for each mail, so that each asks the Sources anew.
    let single = "[[provider]]\nname = \"default\"\nmessages_per_connection = 1\n";
    let mut relay = Relay::start(&format!("{}{dead}{alive}{single}{}", config(hop.port), through("\"dead\", \"alive\"")));
    for number in 0..6 {
        send(&relay, &format!("mail {number}"));
        assert!(hop.take().contains(&format!("mail {number}")));
        let line = relay.mail.wait("attempt_ms");
        assert!(line.contains("delivered") && line.contains("source=alive"), "no attempt of the other is counted: {line}");
    }
    let line = relay.mail.seen("source dead cannot be used: the proxy 127.0.0.1:");
    assert!(line.contains("connection refused") && line.contains("other sources"), "{line}");
}

#[test]
fn mail_waits_without_an_attempt_while_every_proxy_is_down() {
    let hop = Hop::open(|_| None);
    let dead = |port: u16| source("dead", &format!("proxy = \"socks5://127.0.0.1:{port}\""));
    let text = |port: u16| format!("{}{}", config(hop.port), dead(port));
    let relay = Relay::start(&text(closed_port()));
    let id = send(&relay, "waits");
    let said = explained(&relay.folder, &id, "source dead cannot be used");
    assert!(said.contains("cannot be reached: connection refused") && said.contains("until"), "{said}");
    let listed = relay.folder.said(&["queue", "list"]);
    let words: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[2], "0", "no attempt is counted: {listed}");
    // What rests is not remembered over a restart.
    let (proxy, folder) = (Proxy::open(socks5), relay.kill());
    folder.configure(&text(proxy.port));
    let _relay = Relay::start_in(folder, &[]);
    assert!(hop.take().contains("waits"));
}

#[test]
fn what_a_proxy_says_of_the_next_hop_is_the_next_hops() {
    let proxy = Proxy::open(socks5);
    let away = source("away", &format!("proxy = \"socks5://127.0.0.1:{}\"", proxy.port));
    let mut relay = Relay::start(&format!("{}{away}", config(closed_port())));
    send(&relay, "nobody there");
    let line = relay.mail.wait("deferred");
    assert!(line.contains("source=away") && line.contains("connection failed: connection refused"), "{line}");
}

#[test]
fn a_proxy_that_refuses_us_or_speaks_otherwise_is_down() {
    let hop = Hop::open(|_| None);
    let strange: Listen = |client| {
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        Err(io::ErrorKind::InvalidData.into())
    };
    for (listen, why) in [(socks5 as Listen, "refused our name and password"), (strange, "does not speak SOCKS5")] {
        let proxy = Proxy::open(listen);
        let folder = Folder::new();
        let keys = "proxy_user = \"ann\"\nproxy_password_file = \"proxy.password\"";
        folder.configure(&format!(
            "{}{}",
            config(hop.port),
            source("a", &format!("proxy = \"socks5://127.0.0.1:{}\"\n{keys}", proxy.port))
        ));
        let secret = folder.data().join("proxy.password");
        std::fs::write(&secret, "guessed").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let relay = Relay::start_in(folder, &[]);
        let id = send(&relay, "waits");
        explained(&relay.folder, &id, why);
        assert!(hop.taken.try_recv().is_err());
    }
}
