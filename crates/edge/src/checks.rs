//! What must hold for any answer of the DNS, and for any words of a SOCKS proxy: the checks behind the fuzz targets, also run over the corpora as ordinary tests.
//! Not an interface.

use hickory_resolver::proto::op::Message;
use postrider_model::limits::{TEXT_RECORD_OCTETS_MAX, TEXT_RECORDS_MAX};
use postrider_smtp::Domain;
use postrider_smtp::sasl::Credentials;

use crate::proxy::socks::{Act, Socks};
use crate::resolver::{address_record, alias_record, mx_record, pointer_record, text_records};

/// A DNS message as it comes: whatever its records say, what mail sees of them is a clean name that reads back, the root, or an address.
pub fn dns(input: &[u8]) {
    let Ok(message) = Message::from_vec(input) else { return };
    for record in &message.answers {
        let _ = address_record(&record.data);
        let name =
            mx_record(&record.data).and_then(|mx| mx.host).or_else(|| pointer_record(&record.data)).or_else(|| alias_record(&record.data));
        let Some(host) = name else { continue };
        assert!(
            host.as_str().len() <= 255 && !host.as_str().chars().any(|letter| letter.is_control() || letter.is_whitespace()),
            "{host:?}"
        );
        assert_eq!(Domain::parse(host.as_str()).as_ref(), Ok(&host));
    }
    if let Ok(texts) = text_records(message.answers.iter().map(|record| &record.data)) {
        assert!((1..=TEXT_RECORDS_MAX).contains(&texts.len()) && texts.iter().all(|text| text.len() <= TEXT_RECORD_OCTETS_MAX));
    }
}

/// The words of a SOCKS proxy, behind an octet that steers: the exchange ends, what is read is bounded, and a password is shown only to a proxy that asked for it.
pub fn socks(input: &[u8]) {
    let Some((steer, mut rest)) = input.split_first() else { return };
    let login = Credentials { authzid: String::new(), authcid: "ann".into(), password: b"secret".to_vec() };
    let with_login = steer & 1 != 0;
    let to = if steer & 2 != 0 { "[2001:db8::1]:25" } else { "192.0.2.1:25" };
    let mut socks = Socks::new(to.parse().expect("an address"), with_login.then_some(&login));
    let asked = rest.starts_with(&[5, 2]);
    for _ in 0..16 {
        match socks.next() {
            Act::Write(said) => {
                let shows = said.windows(6).any(|octets| octets == b"secret");
                assert!(said.len() <= 515 && (!shows || (with_login && asked)));
            }
            Act::Connected => return,
            Act::Read(octets) => {
                assert!((1..=257).contains(&octets));
                let Some((read, later)) = rest.split_at_checked(octets) else { return };
                rest = later;
                if socks.heard(read).is_err() {
                    return;
                }
            }
        }
    }
    panic!("the exchange does not end");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpora_pass() {
        replay("dns", super::dns);
        replay("socks", super::socks);
    }

    fn replay(target: &str, check: fn(&[u8])) {
        let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let mut replayed = 0;
        for entry in std::fs::read_dir(folder).expect("the corpus is there") {
            let input = std::fs::read(entry.expect("readable").path()).expect("readable");
            check(&input);
            for at in 0..input.len() {
                for odd in [0, 1, 15, 63, 64, 0xc0, 0xff, b' ', b'.', b'\n'] {
                    let mut damaged = input.clone();
                    damaged[at] = odd;
                    check(&damaged);
                }
                check(&input[..at]);
            }
            replayed += 1;
        }
        assert!(replayed >= 4, "{replayed}");
    }
}
