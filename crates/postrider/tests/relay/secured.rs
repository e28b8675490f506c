//! Next hops under TLS, and how we prove ourselves to them: what is demanded is had, or the mail waits and says why.

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};

use crate::harness::{Folder, Hop, Relay, Session, config};
use crate::hop::Conduct;
use crate::hops::explained;

/// An authority that the relay is to trust.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// A folder whose configuration may name `roots.pem`.
    fn folder(&self) -> Folder {
        let folder = Folder::new();
        fs::create_dir_all(folder.data()).unwrap();
        fs::write(folder.data().join("roots.pem"), self.0.pem()).unwrap();
        folder
    }

    /// A server whose certificate names this host, good until the end of that year.
    fn server(&self, name: &str, year: i32) -> Arc<ServerConfig> {
        let (parameters, key) = (parameters(name, year), KeyPair::generate().unwrap());
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        served(&certificate.pem(), &key, &[&TLS12, &TLS13])
    }

    fn old_server(&self, name: &str) -> Arc<ServerConfig> {
        let (parameters, key) = (parameters(name, 2999), KeyPair::generate().unwrap());
        served(&parameters.signed_by(&key, &self.0).unwrap().pem(), &key, &[&TLS12])
    }
}

fn parameters(name: &str, year: i32) -> CertificateParams {
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (parameters.not_before, parameters.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(year, 12, 31));
    parameters
}

fn self_signed(name: &str) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    served(&parameters(name, 2999).self_signed(&key).unwrap().pem(), &key, &[&TLS12, &TLS13])
}

fn served(certificate: &str, key: &KeyPair, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(versions).unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// A DNS server in which every domain has the mail exchanger `mx.` under it, and every name is this machine; where it answers.
fn dns() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((octets, from)) = socket.recv_from(&mut query) {
            // The name ends with an empty label, and behind it stand type and class (RFC 1035 §4.1.2).
            let end = 12 + query[12..octets].iter().position(|octet| *octet == 0).unwrap() + 5;
            let data: Option<&[u8]> = match query[end - 3] {
                1 => Some(&[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]),
                // Preference 10, and `mx` in front of the name that was asked for.
                15 => Some(&[0, 15, 0, 1, 0, 0, 0, 60, 0, 7, 0, 10, 2, b'm', b'x', 0xc0, 12]),
                _ => None,
            };
            let mut reply = [&query[..2], &[0x84, 0, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0], &query[12..end]].concat();
            if let Some(data) = data {
                reply.extend_from_slice(&[0xc0, 12]);
                reply.extend_from_slice(data);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    address
}

fn relay_with(folder: Folder, smtp_port: u16, more: &str) -> Relay {
    let text = config(smtp_port).replace("127.0.0.1:1\"", &format!("{}\"", dns()));
    folder.configure(&format!("{text}[tls]\nroots = \"roots.pem\"\n{more}"));
    Relay::start_in(folder, &[])
}

/// Sends one mail; its id.
fn send(relay: &Relay, from: &str, to: &str) -> String {
    let reply = Session::log_in(relay.address("submission")).send(from, to, "Subject: secured\r\n\r\nsecured");
    reply.trim_end().rsplit(' ').next().unwrap().to_owned()
}

/// The mail waits because of `why`; the hop has heard nothing of it.
fn waits(relay: &mut Relay, hop: &Hop, id: &str, why: &str) {
    let line = relay.mail.wait("deferred");
    assert!(line.contains(why), "{why:?} is not in {line}");
    explained(&relay.folder, id, why);
    let heard = hop.heard_so_far();
    assert!(!heard.contains("MAIL") && !heard.contains("AUTH"), "{heard}");
    assert!(hop.taken.try_recv().is_err());
}

#[test]
fn a_mail_exchanger_proves_its_own_name_or_the_mail_waits() {
    let authority = Authority::new();
    let bank = |minimum: &str| {
        format!(
            "[[route]]\nname = \"bank\"\nrecipient_domain = [\"bank.example\"]\nto = \"mx\"\ntls = \"verify\"\nminimum_tls = \"{minimum}\"\n"
        )
    };
    for (tls, minimum, why) in [
        (Some(authority.server("mx.bank.example", 2999)), "1.3", None),
        (Some(authority.server("bank.example", 2999)), "1.2", Some("not for the name mx.bank.example")),
        (Some(authority.server("mx.bank.example", 2002)), "1.2", Some("has expired")),
        (Some(self_signed("mx.bank.example")), "1.2", Some("of no authority that is trusted here")),
        (Some(authority.old_server("mx.bank.example")), "1.2", None),
        (Some(authority.old_server("mx.bank.example")), "1.3", Some("the server speaks TLSv1.2, and TLS 1.3 is required")),
        (None, "1.2", Some("the server does not offer STARTTLS, and TLS is required")),
    ] {
        let hop = Hop::with(Conduct { tls, ..Conduct::default() });
        let mut relay = relay_with(authority.folder(), hop.port, &bank(minimum));
        let id = send(&relay, "s@a.example", "x@bank.example");
        match why {
            Some(why) => waits(&mut relay, &hop, &id, why),
            None => {
                assert!(hop.take().contains("secured"));
                let line = relay.mail.wait("delivered");
                assert!(line.contains("TLSv1."), "{line}");
            }
        }
    }
}

fn smart_host(name: &str, host: &str, port: u16, more: &str) -> String {
    format!(
        "[[smart_host]]\nname = \"{name}\"\nhost = \"{host}\"\nport = {port}\n{more}\n\
         [[route]]\nname = \"{name}\"\nsender = [\"{name}@a.example\"]\nto = \"{name}\"\n"
    )
}

const ACCOUNT: &str = "user = \"tim\"\npassword = \"tanstaaftanstaaf\"\n";

#[test]
fn a_smart_host_proves_its_name_before_it_hears_a_password() {
    let authority = Authority::new();
    let implicit = |tls| Hop::with(Conduct { tls: Some(tls), implicit: true, offers: "250-AUTH PLAIN LOGIN\r\n", ..Conduct::default() });
    let upgraded = |tls| Hop::with(Conduct { tls: Some(tls), offers: "250-AUTH PLAIN LOGIN\r\n", ..Conduct::default() });
    let good = || authority.server("smart.example", 2999);
    let cases = [
        ("good", upgraded(good()), "tls = \"verify\"\nminimum_tls = \"1.3\"\n", None),
        ("wrapped", implicit(good()), "tls = \"implicit\"\n", None),
        ("anybody", upgraded(self_signed("else.example")), "tls = \"require\"\n", None),
        ("wrong", upgraded(authority.server("else.example", 2999)), "tls = \"verify\"\n", Some("not for the name smart.example")),
        ("old", upgraded(authority.server("smart.example", 2002)), "tls = \"verify\"\n", Some("has expired")),
        ("itself", upgraded(self_signed("smart.example")), "tls = \"verify\"\n", Some("of no authority that is trusted here")),
        ("itself2", implicit(self_signed("smart.example")), "tls = \"implicit\"\n", Some("of no authority that is trusted here")),
        ("late", upgraded(authority.old_server("smart.example")), "minimum_tls = \"1.3\"\n", Some("the server speaks TLSv1.2")),
    ];
    let hosts = cases.iter().map(|(name, hop, more, _)| smart_host(name, "smart.example", hop.port, &format!("{more}{ACCOUNT}")));
    let mut relay = relay_with(authority.folder(), 1, &hosts.collect::<String>());
    for (name, hop, _, why) in &cases {
        let id = send(&relay, &format!("{name}@a.example"), "x@b.example");
        match why {
            Some(why) => waits(&mut relay, hop, &id, why),
            None => {
                assert!(hop.take().contains("secured"), "{name}");
                relay.mail.wait("delivered");
                assert_eq!(hop.hear("AUTH"), "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm", "{name}");
            }
        }
    }
}

/// The answer of RFC 2195 §2, and the two of LOGIN.
const CRAM_MD5: &str = "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw";
const LOGIN: [&str; 2] = ["dGlt", "dGFuc3RhYWZ0YW5zdGFhZg=="];

#[test]
fn the_password_is_shown_only_under_tls_or_where_that_was_said() {
    let authority = Authority::new();
    let tls = || Some(authority.server("smart.example", 2999));
    let (login, cram, all) = ("250-AUTH LOGIN\r\n", "250-AUTH CRAM-MD5\r\n", "250-AUTH PLAIN LOGIN CRAM-MD5\r\n");
    let hop = |offers, tls| Hop::with(Conduct { offers, tls, ..Conduct::default() });
    let cases = [
        ("login", hop(login, tls()), "", Ok(&LOGIN[..])),
        ("cram", hop(cram, tls()), "", Ok(&[CRAM_MD5][..])),
        ("clear", hop(all, None), "tls = \"none\"\nauth_in_clear = \"cram-md5\"\n", Ok(&[CRAM_MD5])),
        ("bold", hop(login, None), "tls = \"opportunistic\"\nauth_in_clear = \"password\"\n", Ok(&LOGIN)),
        ("stripped", hop(login, None), "tls = \"none\"\nauth_in_clear = \"cram-md5\"\n", Err("keeps the password to ourselves")),
        ("other", hop("250-AUTH XOAUTH2\r\n", tls()), "", Err("neither AUTH PLAIN nor AUTH LOGIN nor AUTH CRAM-MD5")),
    ];
    let hosts = cases.iter().map(|(name, hop, more, _)| smart_host(name, "smart.example", hop.port, &format!("{more}{ACCOUNT}")));
    let mut relay = relay_with(authority.folder(), 1, &hosts.collect::<String>());
    for (name, hop, _, expected) in &cases {
        let id = send(&relay, &format!("{name}@a.example"), "x@b.example");
        match expected {
            Err(why) => waits(&mut relay, hop, &id, why),
            Ok(answers) => {
                assert!(hop.take().contains("secured"), "{name}");
                hop.hear("AUTH");
                for answer in *answers {
                    assert_eq!(hop.hear(""), *answer, "{name}");
                }
                relay.mail.wait("delivered");
            }
        }
    }
}

#[test]
fn a_mailbox_server_is_met_under_tls_where_that_is_demanded() {
    let authority = Authority::new();
    let hop = |tls, implicit| Hop::with(Conduct { tls, implicit, lmtp: true, ..Conduct::default() });
    let good = || Some(authority.server("127.0.0.1", 2999));
    let cases = [
        ("good", hop(good(), false), "tls = \"verify\"\n", None),
        ("wrapped", hop(good(), true), "tls = \"implicit\"\nminimum_tls = \"1.3\"\n", None),
        ("chance", hop(None, false), "", None),
        ("self", hop(Some(self_signed("127.0.0.1")), false), "tls = \"verify\"\n", Some("of no authority that is trusted here")),
        ("bare", hop(None, false), "tls = \"require\"\n", Some("the server does not offer STARTTLS, and TLS is required")),
    ];
    let domain = |(name, hop, more, _): &(&str, Hop, &str, Option<&str>)| {
        let port = hop.port;
        format!(
            "[[local_domain]]\nname = \"{name}.example\"\nmailboxes = [\"ann\", \"postmaster\"]\nto = \"lmtp://127.0.0.1:{port}\"\n{more}\
             [[route]]\nname = \"{name}\"\nsender = [\"{name}@a.example\"]\nto = \"lmtp://127.0.0.1:{port}\"\n{more}"
        )
    };
    let mut relay = relay_with(authority.folder(), 1, &cases.iter().map(domain).collect::<String>());
    for (name, hop, _, why) in &cases {
        for (from, to) in
            [("s@a.example".to_owned(), format!("ann@{name}.example")), (format!("{name}@a.example"), "x@far.example".to_owned())]
        {
            let id = send(&relay, &from, &to);
            match why {
                Some(why) => waits(&mut relay, hop, &id, why),
                None => {
                    assert!(hop.take().contains("secured"), "{name}");
                    relay.mail.wait("delivered");
                    assert!(!hop.heard_so_far().contains("EHLO"), "{name}");
                }
            }
        }
    }
}
