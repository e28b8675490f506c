//! What must hold for any answer of the DNS: the check behind the fuzz target, also run over the corpus as an ordinary test. Not an interface.

use hickory_resolver::proto::op::Message;
use postrider_smtp::Domain;

use crate::resolver::{address_record, mx_record};

/// A DNS message as it comes: whatever its records say, what mail sees of them is a clean name that reads back, the root, or an address.
pub fn dns(input: &[u8]) {
    let Ok(message) = Message::from_vec(input) else { return };
    for record in &message.answers {
        let _ = address_record(&record.data);
        let Some(host) = mx_record(&record.data).and_then(|mx| mx.host) else { continue };
        assert!(
            host.as_str().len() <= 255 && !host.as_str().chars().any(|letter| letter.is_control() || letter.is_whitespace()),
            "{host:?}"
        );
        assert_eq!(Domain::parse(host.as_str()).as_ref(), Ok(&host));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_passes() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/dns");
        let mut replayed = 0;
        for entry in std::fs::read_dir(folder).expect("the corpus is there") {
            let input = std::fs::read(entry.expect("readable").path()).expect("readable");
            super::dns(&input);
            for at in 0..input.len() {
                for odd in [0, 1, 15, 63, 64, 0xc0, 0xff, b' ', b'.', b'\n'] {
                    let mut damaged = input.clone();
                    damaged[at] = odd;
                    super::dns(&damaged);
                }
                super::dns(&input[..at]);
            }
            replayed += 1;
        }
        assert!(replayed >= 4, "{replayed}");
    }
}
