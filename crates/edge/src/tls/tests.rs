//! Both sides against each other in memory.

use std::time::Duration;

use postrider_model::Timestamp;
use postrider_model::doors::{Connection, NetTrouble, Secured, TlsDemand};
use rustls::{HandshakeKind, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn now() -> Timestamp {
    use postrider_model::doors::Clock;
    crate::SystemClock.now()
}

fn certificate(name: &str) -> (String, String) {
    generate(&[name.to_owned()], now(), YEAR).unwrap()
}

fn server(certificate: &(String, String)) -> ServerTls {
    ServerTls::new(Certified::from_pem(&certificate.0, &certificate.1).unwrap()).unwrap()
}

fn client(trusted: &[&(String, String)]) -> ClientTls {
    let mut roots = RootCertStore::empty();
    for (certificate, _) in trusted {
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    }
    ClientTls::new(roots).unwrap()
}

fn wire() -> (Box<dyn Connection>, Box<dyn Connection>) {
    let (one, other): (DuplexStream, DuplexStream) = tokio::io::duplex(64 * 1024);
    (Box::new(one), Box::new(other))
}

async fn both(
    client: &ClientTls,
    server: &ServerTls,
    name: &str,
    demand: TlsDemand,
) -> (Result<Secured, NetTrouble>, Result<Secured, NetTrouble>) {
    let (near, far) = wire();
    tokio::join!(client.secure(near, name, demand), server.accept(far))
}

#[tokio::test]
async fn facts_are_told_and_octets_pass() {
    let certificate = certificate("mx.example");
    let (near, far) = both(&client(&[]), &server(&certificate), "mx.example", TlsDemand::Opportunistic).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    assert_eq!((&*near.facts.version, near.facts.trusted), ("TLSv1.3", false));
    assert!(near.facts.cipher.starts_with("TLS_") && near.facts.cipher == far.facts.cipher, "{}", near.facts.cipher);
    assert!(near.connection.is_write_vectored() && far.connection.is_write_vectored());
    let body = vec![b'x'; 300_000];
    let (sent, received) = tokio::join!(
        async {
            near.connection.write_all(&body).await.unwrap();
            near.connection.shutdown().await.unwrap();
        },
        async {
            let mut received = Vec::new();
            far.connection.read_to_end(&mut received).await.unwrap();
            received
        }
    );
    let () = sent;
    assert_eq!(received, body);
}

#[tokio::test]
async fn trust_is_judged_under_both_demands() {
    let (known, unknown) = (certificate("mx.example"), certificate("mx.example"));
    let trusting = client(&[&known]);
    for (certificate, name, demand, expected) in [
        (&known, "mx.example", TlsDemand::Opportunistic, Some(true)),
        (&known, "other.example", TlsDemand::Opportunistic, Some(false)),
        (&unknown, "mx.example", TlsDemand::Opportunistic, Some(false)),
        (&known, "mx.example", TlsDemand::Verified, Some(true)),
        (&known, "MX.example.", TlsDemand::Verified, Some(true)),
        (&known, "other.example", TlsDemand::Verified, None),
        (&unknown, "mx.example", TlsDemand::Verified, None),
    ] {
        let (near, _) = both(&trusting, &server(certificate), name, demand).await;
        match (near, expected) {
            (Ok(secured), Some(trusted)) => assert_eq!(secured.facts.trusted, trusted, "{name} {demand:?}"),
            (Err(NetTrouble::Tls(why)), None) => {
                let expected =
                    if name == "mx.example" { "of no authority that is trusted here" } else { "not for the name other.example, but for" };
                assert!(why.contains(expected), "{why}");
            }
            (Ok(_), None) => panic!("{name} {demand:?} passed"),
            (Err(trouble), _) => panic!("{name} {demand:?}: {trouble}"),
        }
    }
    let (near, _) = both(&client(&[]), &server(&known), "mx.example", TlsDemand::Verified).await;
    assert!(matches!(near, Err(NetTrouble::Tls(_))), "no roots, no trust");
}

#[tokio::test]
async fn an_expired_certificate_is_not_trusted() {
    let expired = generate(&["mx.example".into()], Timestamp::from_millis(1_000_000_000_000), YEAR).unwrap();
    let trusting = client(&[&expired]);
    let (near, _) = both(&trusting, &server(&expired), "mx.example", TlsDemand::Opportunistic).await;
    assert!(!near.unwrap().facts.trusted);
    let (near, _) = both(&trusting, &server(&expired), "mx.example", TlsDemand::Verified).await;
    assert!(matches!(near, Err(NetTrouble::Tls(why)) if why == "the certificate has expired"));
}

/// A client that shows this certificate.
fn showing(shown: Option<&(String, String)>) -> tokio_rustls::TlsConnector {
    let builder = rustls::ClientConfig::builder_with_provider(super::provider()).with_safe_default_protocol_versions().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(SERVER.0.as_bytes()).unwrap()).unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    std::sync::Arc::new(config).into()
}

static SERVER: std::sync::LazyLock<(String, String)> = std::sync::LazyLock::new(|| certificate("mx.example"));

#[tokio::test]
async fn a_certificate_is_shown_by_who_holds_its_key_and_in_its_time() {
    let (good, other) = (certificate("client.example"), certificate("client.example"));
    let expired = generate(&["client.example".into()], Timestamp::from_millis(1_000_000_000_000), YEAR).unwrap();
    let stolen = (good.0.clone(), other.1.clone());
    let server = server(&SERVER);
    for (shown, asks, expected) in
        [(Some(&good), true, true), (Some(&good), false, false), (None, true, false), (Some(&expired), true, false)]
    {
        server.ask_for_certificates(asks);
        let connector = showing(shown);
        // The second handshake resumes the session of the first, and the certificate with it.
        for _ in 0..2 {
            let (near, far) = wire();
            let name = rustls_pki_types::ServerName::try_from("mx.example").unwrap();
            let client = async {
                let mut stream = connector.connect(name, near).await.unwrap();
                // Tickets come behind the handshake.
                let _ = stream.read(&mut [0; 1]).await;
            };
            let accepted = async {
                let mut secured = server.accept(far).await.unwrap();
                secured.connection.write_all(b".").await.unwrap();
                secured.connection.flush().await.unwrap();
                secured.certificate
            };
            let ((), certificate) = tokio::join!(client, accepted);
            let sha256 = |octets: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets).as_ref().to_vec();
            let expected = expected.then(|| sha256(&CertificateDer::from_pem_slice(good.0.as_bytes()).unwrap()));
            assert_eq!(certificate.map(|shown| shown.certificate_sha256.to_vec()), expected);
        }
    }
    let chain = vec![CertificateDer::from_pem_slice(stolen.0.as_bytes()).unwrap()];
    let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(stolen.1.as_bytes()).unwrap();
    assert!(
        rustls::sign::CertifiedKey::from_der(chain, key, &super::provider()).is_err(),
        "a certificate without its key cannot even be offered"
    );
}

#[tokio::test]
async fn sessions_resume_and_stay_as_trusted_as_they_were() {
    let known = certificate("mx.example");
    for (client, demand, trusted) in [
        (client(&[&known]), TlsDemand::Opportunistic, true),
        (client(&[]), TlsDemand::Opportunistic, false),
        (client(&[&known]), TlsDemand::Verified, true),
    ] {
        let server = server(&known);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (near, far) = wire();
            let (near, far) = tokio::join!(client.handshake(near, "mx.example", demand), server.accept(far));
            let ((mut near, judged), mut far) = (near.unwrap(), far.unwrap());
            assert_eq!(near.get_ref().1.handshake_kind(), Some(expected));
            assert_eq!(judged, trusted);
            // Tickets come after the handshake; a read takes them in.
            far.connection.write_all(b"220").await.unwrap();
            far.connection.flush().await.unwrap();
            near.read_exact(&mut [0; 3]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn odd_names_do_not_panic_and_send_no_server_name() {
    let server = server(&certificate("mx.example"));
    let (long, label) = ("a.".repeat(127) + "a", "b".repeat(64));
    for name in
        ["", ".", "192.0.2.1", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a\\", "a\0b", "-a-", "a..b", "ü.example", "a b", "[", &long, &label]
    {
        let (near, _) = both(&client(&[]), &server, name, TlsDemand::Opportunistic).await;
        assert!(near.is_ok(), "{name:?}");
        let (near, _) = both(&client(&[]), &server, name, TlsDemand::Verified).await;
        assert!(matches!(near, Err(NetTrouble::Tls(_))), "{name:?}");
    }
}

/// A ClientHello whose server name was overwritten with other octets.
async fn hello_with_name(octets: &[u8]) -> Vec<u8> {
    let stand_in = format!("{}.example", "q".repeat(20));
    let (near, mut far) = wire();
    let client = client(&[]);
    let mut hello = vec![0; 4096];
    let length = tokio::select! {
        biased;
        length = far.read(&mut hello) => length.unwrap(),
        _ = client.secure(near, &stand_in, TlsDemand::Opportunistic) => unreachable!("nobody answers"),
    };
    hello.truncate(length);
    let at = hello.windows(stand_in.len()).position(|window| window == stand_in.as_bytes()).expect("the name is in the clear");
    hello[at..at + octets.len()].copy_from_slice(octets);
    hello
}

#[tokio::test]
async fn hostile_handshakes_are_refused_not_fatal() {
    let server = server(&certificate("mx.example"));
    let mut attacks = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 5],
        vec![0xff; 70_000],
        b"\x16\x03\x01\xff\xff".to_vec(),
        Vec::new(),
        b"EHLO x\r\n".to_vec(),
    ];
    for name in [&b"\\"[..], b"aaaaaaaaaaaaaaaaaaaaaaaaaaa\\", b"\0", b"..", b"192.0.2.1\0", b"\xff\xfe", b"$(id)", b"'; --", b"../../etc/"]
    {
        attacks.push(hello_with_name(name).await);
    }
    for attack in attacks {
        let (mut near, far) = wire();
        let attacker = async {
            // The server may close in the middle of it.
            let _ = near.write_all(&attack).await;
            let _ = near.shutdown().await;
            let mut rest = Vec::new();
            let _ = near.read_to_end(&mut rest).await;
        };
        let (_, accepted) = tokio::join!(attacker, server.accept(far));
        assert!(matches!(accepted, Err(NetTrouble::Tls(_))), "{:?}", &attack[..attack.len().min(40)]);
    }
    let (near, _) = both(&client(&[]), &server, "mx.example", TlsDemand::Opportunistic).await;
    assert!(near.is_ok(), "the control: an honest client is served afterwards");
}

#[tokio::test]
async fn an_end_is_told_from_a_cut() {
    let server = server(&certificate("mx.example"));
    let (near, far) = both(&client(&[]), &server, "mx.example", TlsDemand::Opportunistic).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    near.connection.shutdown().await.unwrap();
    drop(near);
    assert_eq!(far.connection.read(&mut [0; 8]).await.unwrap(), 0, "close_notify is an end");

    let (near, far) = both(&client(&[]), &server, "mx.example", TlsDemand::Opportunistic).await;
    let (near, mut far) = (near.unwrap(), far.unwrap());
    drop(near);
    let trouble = far.connection.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(trouble.kind(), std::io::ErrorKind::UnexpectedEof, "a stop is a cut");
}

#[tokio::test]
async fn a_replaced_certificate_is_used_from_then_on() {
    let (old, new) = (certificate("mx.example"), certificate("mx.example"));
    let server = server(&old);
    let trusts = async |certificate: &(String, String)| {
        let (near, _) = both(&client(&[certificate]), &server, "mx.example", TlsDemand::Opportunistic).await;
        near.unwrap().facts.trusted
    };
    assert!(trusts(&old).await && !trusts(&new).await);
    let unfit = Certified::from_pem(&new.0, &old.1).unwrap();
    assert!(matches!(server.replace(unfit), Err(TlsSetupTrouble::Unusable(_))));
    assert!(trusts(&old).await, "a wrong pair changes nothing");
    server.replace(Certified::from_pem(&new.0, &new.1).unwrap()).unwrap();
    assert!(trusts(&new).await && !trusts(&old).await);
}

#[test]
fn setup_trouble_names_the_file() {
    use std::path::Path;
    let missing = Path::new("/nonexistent/certificate.pem");
    assert!(Certified::from_files(missing, missing).unwrap_err().to_string().contains("/nonexistent/certificate.pem"));
    let (certificate, key) = certificate("mx.example");
    assert!(matches!(Certified::from_pem("", &key), Err(TlsSetupTrouble::NoCertificate(_))));
    assert!(matches!(Certified::from_pem(&certificate, &certificate), Err(TlsSetupTrouble::NoKey(_))));
    assert!(matches!(Certified::from_pem(&key, &key), Err(TlsSetupTrouble::NoCertificate(_))));
    assert!(Certified::from_pem(&format!("{certificate}{key}"), &format!("{certificate}{key}")).is_ok(), "both may be one file");
    assert!(matches!(generate(&["not a name\u{0}ü".into()], now(), YEAR), Err(TlsSetupTrouble::Generate(_))));
    assert!(generate(&["mx.example".into(), "192.0.2.1".into()], now(), Duration::from_secs(u64::MAX)).is_ok());
}

#[test]
fn a_chain_ends_when_the_first_of_it_does() {
    let at = |ms| Timestamp::from_millis(ms);
    let (short, key) = generate(&["mx.example".into()], at(1_000_000_000_000), Duration::from_secs(86_400)).unwrap();
    let (long, _) = generate(&["ca.example".into()], at(1_000_000_000_000), YEAR).unwrap();
    let whole = Certified::from_pem(&format!("{long}{short}"), &key).unwrap();
    // Dates of certificates made here are whole days.
    assert_eq!(whole.ends_at().map(|ends| ends.to_string()).as_deref(), Some("2001-09-10T00:00:00.000Z"));
}
