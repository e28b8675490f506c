//! TLS at the real program's door: handshakes that are odd, and ends in the wrong place.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::harness::{Folder, Hop, Relay, Session, config};

const PATIENCE: Duration = Duration::from_secs(60);

pub fn with_implicit_tls(smtp_port: u16) -> String {
    let listener = "[[listener]]\nname = \"submissions\"\naddress = \"127.0.0.1:0\"\nrole = \"submission\"\ntls = \"implicit\"\n";
    format!("{}{listener}", config(smtp_port))
}

/// A client that trusts this relay's own certificate and no other.
pub struct Tls {
    connection: ClientConnection,
    stream: TcpStream,
}

impl Tls {
    fn over(stream: TcpStream, folder: &Folder) -> Self {
        Self::trusting(stream, &folder.data().join("tls/certificate.pem"))
    }

    /// A session with whoever has this certificate; a panic with anybody else.
    pub fn trusting(mut stream: TcpStream, certificate: &Path) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).expect("a handshake");
        }
        Self { connection, stream }
    }

    fn write(&mut self, text: &str) {
        self.connection.writer().write_all(text.as_bytes()).unwrap();
        self.flush();
    }

    /// Says this, and hears all until the relay ends the session.
    pub fn exchange(&mut self, text: &str) -> String {
        self.write(text);
        let mut heard = Vec::new();
        // An end without close_notify is an end, too.
        let _ = rustls::Stream::new(&mut self.connection, &mut self.stream).read_to_end(&mut heard);
        String::from_utf8_lossy(&heard).into_owned()
    }

    fn flush(&mut self) {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.stream).unwrap();
        }
    }

    /// The last line of a reply.
    fn reply(&mut self) -> String {
        let mut line = String::new();
        loop {
            let mut octet = [0];
            rustls::Stream::new(&mut self.connection, &mut self.stream).read_exact(&mut octet).expect("a reply");
            line.push(char::from(octet[0]));
            if line.ends_with('\n') && line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
            if line.ends_with('\n') {
                line.clear();
            }
        }
    }

    fn say(&mut self, command: &str) -> String {
        self.write(&format!("{command}\r\n"));
        self.reply()
    }

    /// A session under implicit TLS, up to its transaction's content.
    fn in_transaction(relay: &Relay) -> Self {
        let mut tls = Self::over(TcpStream::connect(relay.address("submissions")).unwrap(), &relay.folder);
        assert!(tls.reply().starts_with("220"));
        for (command, expected) in [
            ("EHLO client.test", "250"),
            ("AUTH PLAIN AGFwcABzZWNyZXQ=", "235"),
            ("MAIL FROM:<a@shop.example>", "250"),
            ("RCPT TO:<b@[127.0.0.1]>", "250"),
        ] {
            let reply = tls.say(command);
            assert!(reply.starts_with(expected), "{command}: {reply}");
        }
        tls
    }
}

/// CVE-2026-45185, CVE-2020-28019: TLS ends inside a chunk, and the client goes on in the clear.
#[test]
fn close_notify_in_mid_chunk_ends_the_session_and_queues_nothing() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&with_implicit_tls(hop.port));
    for (announced, behind) in [
        ("BDAT 100 LAST\r\nSubject: half", &b""[..]),
        ("BDAT 100 LAST\r\nSubject: half", b"of it in the clear\r\n.\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<c@[127.0.0.1]>\r\n"),
        ("BDAT 13\r\nSubject: halfBDAT 100 LAST\r\nx", b"\r\nNOOP\r\n"),
    ] {
        let mut tls = Tls::in_transaction(&relay);
        tls.write(announced);
        tls.connection.send_close_notify();
        tls.flush();
        // It may have hung up before it hears more.
        let _ = tls.stream.write_all(behind);
        let mut rest = Vec::new();
        let _ = tls.stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"2") && !rest.starts_with(b"5"), "an answer in the clear: {}", rest.escape_ascii());
    }
    // A connection that just breaks off, without the notice.
    let mut tls = Tls::in_transaction(&relay);
    tls.write("BDAT 100 LAST\r\nSubject: half");
    drop(tls);
    let mut tls = Tls::in_transaction(&relay);
    assert!(tls.say("BDAT 14 LAST\r\nSubject: all\r").starts_with("554"), "the control: it listens, and judges");
    let mut tls = Tls::in_transaction(&relay);
    assert!(tls.say("BDAT 18 LAST\r\nSubject: whole\r\n\r\n").starts_with("250"));
    assert!(hop.take().contains("Subject: whole"), "only what was whole was queued");
    assert_eq!(relay.status()["health"]["accepted"], 1);
}

/// CVE-2011-0411, CVE-2024-34083: octets in the clear behind STARTTLS.
#[test]
fn octets_behind_starttls_end_the_session() {
    let relay = Relay::start(&config(1));
    let mut session = Session::open(relay.address("submission"));
    session.write(b"STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n");
    assert_eq!(session.rest(), "554 5.5.0 Input sent before it was asked for\r\n");
    // The control, and what was said before TLS is forgotten.
    let mut session = Session::log_in(relay.address("submission"));
    assert!(session.say("MAIL FROM:<a@b.example>").starts_with("250"));
    assert!(session.say("STARTTLS").starts_with("220"));
    let mut tls = Tls::over(session.stream().try_clone().unwrap(), &relay.folder);
    assert!(tls.say("RCPT TO:<b@c.example>").starts_with("503 5.5.1"));
    assert!(tls.say("EHLO client.test").starts_with("250"));
    assert!(tls.say("MAIL FROM:<a@b.example>").starts_with("530 5.7.0"), "AUTH in the clear counts no more");
}

/// A ClientHello for TLS 1.2 with these octets as its server name (RFC 6066 §3).
fn client_hello(name: &[u8]) -> Vec<u8> {
    let with_length = |octets: &[u8]| [&u16::try_from(octets.len()).unwrap().to_be_bytes()[..], octets].concat();
    let extension = |kind: u8, data: &[u8]| [&[0, kind][..], &with_length(data)].concat();
    let extensions = [
        extension(0, &with_length(&[&[0][..], &with_length(name)].concat())),
        extension(10, &with_length(&[0, 0x1d, 0, 0x17])),
        extension(11, &[1, 0]),
        extension(13, &with_length(&[4, 3, 8, 4, 4, 1])),
    ]
    .concat();
    let suites = with_length(&[0xc0, 0x2b, 0xc0, 0x2f, 0xcc, 0xa9, 0xcc, 0xa8]);
    let body = [&[3, 3][..], &[7; 32], &[0], &suites, &[1, 0], &with_length(&extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[22, 3, 1][..], &with_length(&[&[1][..], &length[1..], &body].concat())].concat()
}

/// The kind of the first record that comes back; none when the connection was closed without one.
fn answer_to_hello(address: SocketAddr, name: &[u8]) -> Option<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&client_hello(name)).unwrap();
    let mut kind = [0];
    stream.read_exact(&mut kind).ok().map(|()| kind[0])
}

/// CVE-2019-15846: a trailing backslash in SNI; and its kin.
#[test]
fn odd_server_names_cost_their_own_handshake_only() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let relay = Relay::start(&with_implicit_tls(1));
    let before = relay.holds();
    let address = relay.address("submissions");
    assert_eq!(answer_to_hello(address, b"localhost"), Some(HANDSHAKE), "the control");
    for name in [
        &b"trailing\\"[..],
        b"",
        b"a\0b",
        b"\xff\xfe\x00",
        b"a..b",
        b".",
        b"-",
        b"192.0.2.1",
        b"a\r\nb",
        b"$(reboot)",
        &[b'a'; 255],
        &[b'.'; 255],
        &[b'a'; 10_000],
    ] {
        let answer = answer_to_hello(address, name);
        assert!(matches!(answer, None | Some(ALERT | HANDSHAKE)), "{}: {answer:?}", name.escape_ascii());
    }
    relay.await_holding(before);
    Tls::in_transaction(&relay);
}
