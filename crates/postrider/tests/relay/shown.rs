//! Clients that are known by a TLS certificate.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PublicKeyData, date_time_ymd};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::{Hop, PATIENCE, Relay};
use crate::tls::with_implicit_tls;

/// A certificate of a client's own, good until the end of that year.
struct Card {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Card {
    fn new(year: i32) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
        (parameters.not_before, parameters.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(year, 12, 31));
        Self { certificate: parameters.self_signed(&key).unwrap().der().clone(), key }
    }

    /// As `openssl x509 -fingerprint -sha256` prints it.
    fn fingerprint(&self) -> String {
        let octets = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate);
        octets.as_ref().iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
    }

    fn key_fingerprint(&self) -> String {
        let octets = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.key.subject_public_key_info());
        octets.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

struct Client(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Client {
    fn showing(relay: &Relay, card: Option<&Card>) -> Self {
        let stream = TcpStream::connect(relay.address("submissions")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(relay.folder.data().join("tls/certificate.pem")).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let config = match card {
            None => config.with_no_client_auth(),
            Some(card) => {
                let key = PrivateKeyDer::from_pem_slice(card.key.serialize_pem().as_bytes()).unwrap();
                config.with_client_auth_cert(vec![card.certificate.clone()], key).unwrap()
            }
        };
        let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut client = Self(BufReader::new(StreamOwned::new(session, stream)));
        assert!(client.reply().starts_with("220"));
        client
    }

    /// All lines of a reply.
    fn reply(&mut self) -> String {
        let mut lines = String::new();
        loop {
            let from = lines.len();
            self.0.read_line(&mut lines).unwrap();
            if lines.as_bytes().get(from + 3) != Some(&b'-') {
                return lines;
            }
        }
    }

    fn say(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        self.0.get_mut().flush().unwrap();
        self.reply()
    }

    fn sends(&mut self) {
        assert!(self.say("RCPT TO:<x@[127.0.0.1]>").starts_with("250"));
        assert!(self.say("DATA").starts_with("354"));
        assert!(self.say("Subject: shown\r\n\r\nshown\r\n.").starts_with("250"));
    }
}

#[test]
fn who_shows_a_known_certificate_is_known_and_nobody_else() {
    let hop = Hop::open(|_| None);
    let (branch, robot, narrow, stranger, old) = (Card::new(2999), Card::new(2999), Card::new(2999), Card::new(2999), Card::new(2002));
    let credential = |user: &str, fingerprint: &str, more: &str| {
        format!("[[credential]]\nuser = \"{user}\"\ncertificates = [\"{fingerprint}\"]\n{more}\n")
    };
    let credentials = [
        credential("branch", &branch.fingerprint(), "certificate_suffices = true"),
        credential("robot", &robot.key_fingerprint(), ""),
        credential("narrow", &narrow.fingerprint(), "certificate_suffices = true\nnetworks = [\"192.0.2.0/24\"]"),
        credential("old", &old.fingerprint(), "certificate_suffices = true"),
    ];
    let mut relay = Relay::start(&format!("{}{}", with_implicit_tls(hop.port), credentials.concat()));

    let mut client = Client::showing(&relay, Some(&branch));
    client.say("EHLO client.test");
    assert!(client.say("MAIL FROM:<s@a.example>").starts_with("250"));
    client.sends();
    assert!(hop.take().contains("shown"));
    assert!(relay.mail.wait("accepted").contains("user=branch"));

    // The key is known; it has to say so.
    let mut client = Client::showing(&relay, Some(&robot));
    assert!(client.say("EHLO client.test").contains("AUTH PLAIN LOGIN EXTERNAL"));
    assert!(client.say("MAIL FROM:<s@a.example>").starts_with("530 5.7.0"));
    assert!(client.say("AUTH EXTERNAL YnJhbmNo").starts_with("535 5.7.8"), "it acts as nobody else");
    assert!(client.say("AUTH EXTERNAL =").starts_with("235"));
    assert!(client.say("MAIL FROM:<s@a.example>").starts_with("250"));
    client.sends();
    assert!(relay.mail.wait("accepted").contains("user=robot"));

    for (who, card) in [("narrow", Some(&narrow)), ("stranger", Some(&stranger)), ("old", Some(&old)), ("nobody", None)] {
        let mut client = Client::showing(&relay, card);
        assert!(!client.say("EHLO client.test").contains("EXTERNAL"), "{who}");
        assert!(client.say("AUTH EXTERNAL =").starts_with("504 5.5.4"), "{who}");
        assert!(client.say("MAIL FROM:<s@a.example>").starts_with("530 5.7.0"), "{who}");
        assert!(client.say("AUTH PLAIN AGFwcABzZWNyZXQ=").starts_with("235"), "{who} may still prove itself otherwise");
    }
}

#[test]
fn a_reload_forgets_a_certificate_and_asks_nobody_any_more() {
    let card = Card::new(2999);
    let credential =
        format!("[[credential]]\nuser = \"branch\"\ncertificates = [\"{}\"]\ncertificate_suffices = true\n", card.fingerprint());
    let relay = Relay::start(&format!("{}{credential}", with_implicit_tls(1)));
    let mail = |relay: &Relay| {
        let mut client = Client::showing(relay, Some(&card));
        client.say("EHLO client.test");
        client.say("MAIL FROM:<s@a.example>")
    };
    assert!(mail(&relay).starts_with("250"));
    let text = std::fs::read_to_string(relay.folder.data().join("postrider.toml")).unwrap();
    relay.folder.configure(&text.replace(&credential, ""));
    relay.folder.said(&["reload"]);
    assert!(mail(&relay).starts_with("530"));
}
