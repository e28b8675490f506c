//! Certificates that are renewed, and certificates that are broken, under a relay that runs.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use crate::harness::{Folder, Relay, config};
use crate::tls::{Tls, with_implicit_tls};

/// A relay that looks at its certificate often, and another pair that was made elsewhere.
fn start(look_every: &str) -> (Relay, Folder) {
    let text = format!("{}[tls]\nlook_every = \"{look_every}\"\n", with_implicit_tls(1));
    (Relay::start(&text), Relay::start(&config(1)).kill())
}

/// As those who renew certificates do it: a new file takes the name of the old one.
fn put(from: &Path, to: &Path) {
    let aside = to.with_extension("new");
    fs::copy(from, &aside).unwrap();
    fs::rename(aside, to).unwrap();
}

/// A handshake with whoever has this certificate.
fn greets_with(relay: &Relay, certificate: &Path) {
    Tls::trusting(TcpStream::connect(relay.address("submissions")).unwrap(), certificate);
}

#[test]
fn a_renewed_certificate_is_noticed_and_a_broken_one_is_not_taken() {
    let (mut relay, other) = start("100ms");
    let (ours, theirs) = (relay.folder.data().join("tls"), other.data().join("tls"));
    let first = relay.folder.0.join("first.pem");
    fs::copy(ours.join("certificate.pem"), &first).unwrap();
    greets_with(&relay, &first);

    // Half a renewal: the two do not fit together.
    put(&theirs.join("key.pem"), &ours.join("key.pem"));
    relay.said.wait("cannot be used: certificate and key cannot be used");
    greets_with(&relay, &first);
    put(&theirs.join("certificate.pem"), &ours.join("certificate.pem"));
    relay.said.wait("has changed, and is in force for new sessions");
    greets_with(&relay, &theirs.join("certificate.pem"));

    for broken in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(ours.join("certificate.pem"), broken).unwrap();
        let line = relay.said.wait("the old one stays in force");
        assert!(line.contains("certificate.pem"), "{line}");
        greets_with(&relay, &theirs.join("certificate.pem"));
    }
    fs::remove_file(ours.join("key.pem")).unwrap();
    relay.said.wait("key.pem: No such file");
    greets_with(&relay, &theirs.join("certificate.pem"));
}

#[test]
fn a_reload_takes_a_new_certificate_at_once_and_keeps_the_old_one_for_a_broken_one() {
    let (mut relay, other) = start("1h");
    let (ours, theirs) = (relay.folder.data().join("tls"), other.data().join("tls"));
    put(&theirs.join("key.pem"), &ours.join("key.pem"));
    put(&theirs.join("certificate.pem"), &ours.join("certificate.pem"));
    relay.signal("HUP");
    relay.said.wait("is in force");
    greets_with(&relay, &theirs.join("certificate.pem"));
    fs::write(ours.join("certificate.pem"), "nonsense").unwrap();
    relay.signal("HUP");
    relay.said.wait("no certificate in");
    relay.said.wait("the old configuration stays in force");
    greets_with(&relay, &theirs.join("certificate.pem"));
}
