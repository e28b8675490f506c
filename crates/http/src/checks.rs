//! What must hold for any octets on the control socket: the check behind the fuzz target, also run over the corpus as an ordinary test. Not an interface.

use axum::extract::Query;
use axum::http::Uri;
use bytes::Bytes;
use postrider_smtp::{Mailbox, ReversePath};

use crate::queue::{PageQuery, delivery_id, message_id};
use crate::{submit, wire};

/// A request's parts: the first octet says which.
pub fn control(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    match choice % 4 {
        0 => submission(rest),
        1 => {
            if let Ok(retry) = serde_json::from_slice::<wire::Retry>(rest) {
                let again = serde_json::to_vec(&retry).expect("what was read can be written");
                assert!(serde_json::from_slice::<wire::Retry>(&again).is_ok());
            }
        }
        2 => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            if let Ok(id) = message_id(text) {
                assert_eq!(message_id(&id.to_string()).ok(), Some(id));
            }
            if let Ok(id) = delivery_id(text) {
                assert_eq!(delivery_id(&id.to_string()).ok(), Some(id));
            }
        }
        _ => {
            let text = String::from_utf8_lossy(rest);
            if let Ok(uri) = format!("/v1/queue?{text}").parse::<Uri>() {
                let _ = Query::<PageQuery>::try_from_uri(&uri);
            }
        }
    }
}

/// What is taken has recipients that read back, and lines that smuggle nothing.
fn submission(body: &[u8]) {
    let Ok(mail) = submit::decode(&Bytes::copy_from_slice(body)) else { return };
    assert!(!mail.recipients.is_empty());
    for mailbox in &mail.recipients {
        assert_eq!(Mailbox::parse(&mailbox.to_string()).as_ref(), Ok(mailbox));
    }
    assert_eq!(ReversePath::parse(&mail.reverse_path.to_string()).as_ref(), Ok(&mail.reverse_path));
    assert!(body.ends_with(&mail.content));
    let content = &mail.content;
    let is_mended = content.iter().enumerate().all(|(at, octet)| match octet {
        0 => false,
        b'\n' => at > 0 && content[at - 1] == b'\r',
        b'\r' => content.get(at + 1) == Some(&b'\n'),
        _ => true,
    });
    assert!(is_mended, "{}", content.escape_ascii());
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_passes() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/control");
        let mut replayed = 0;
        for entry in std::fs::read_dir(folder).expect("the corpus is there") {
            let input = std::fs::read(entry.expect("readable").path()).expect("readable");
            super::control(&input);
            for at in 0..input.len() {
                for odd in *b"\0\r\n\"\\{}[]/,%&=@\xff" {
                    let mut damaged = input.clone();
                    damaged[at] = odd;
                    super::control(&damaged);
                }
                super::control(&input[..at]);
            }
            replayed += 1;
        }
        assert!(replayed >= 6, "{replayed}");
    }
}
