//! Who gets a blind copy for the archive (Postfix's `always_bcc`, `sender_bcc_maps` and `recipient_bcc_maps`).
//!
//! **Promises.** An archive that is a recipient already gets no second copy, and two rules for one archive give one. **Never** says how a copy is sent; that nobody is
//! told of its fate (NOTIFY=NEVER) is its caller's part.

use postrider_model::policy::Archive;
use postrider_model::{Recipient, StreamName};
use postrider_smtp::{Mailbox, ReversePath};

/// The archives of a message that are none of its recipients yet.
pub fn copies<'a>(
    archives: &'a [Archive],
    listener: &str,
    stream: &StreamName,
    sender: &ReversePath,
    recipients: &[Recipient],
) -> Vec<&'a Mailbox> {
    let mut copies: Vec<&Mailbox> = Vec::new();
    for Archive { to, scope, senders, recipients: wanted } in archives {
        let by_sender = senders.is_empty() || senders.iter().any(|set| set.has(sender));
        let by_recipient = wanted.is_empty()
            || recipients.iter().any(|recipient| {
                let path = ReversePath::Mailbox(recipient.mailbox.clone());
                wanted.iter().any(|set| set.has(&path))
            });
        let there = recipients.iter().any(|recipient| recipient.mailbox == *to) || copies.contains(&to);
        if scope.covers(listener, stream) && by_sender && by_recipient && !there {
            copies.push(to);
        }
    }
    copies
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_model::policy::{DomainMatch, Scope, SenderMatch};

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    #[test]
    fn copies_go_where_all_that_is_said_is_true_and_never_twice() {
        let archive = |to: &str| Archive { to: mailbox(to), scope: Scope::default(), senders: Vec::new(), recipients: Vec::new() };
        let by_sender = |to: &str, from: &str| Archive { senders: vec![SenderMatch::Mailbox(mailbox(from))], ..archive(to) };
        let by_recipient =
            |to: &str, domain: &str| Archive { recipients: vec![SenderMatch::Domain(DomainMatch::Exact(domain.into()))], ..archive(to) };
        for (archives, said) in [
            (vec![archive("all@a.example")], "all@a.example"),
            (vec![archive("all@a.example"), archive("all@A.example")], "all@a.example"),
            (vec![archive("to@b.example")], ""),
            (vec![by_sender("x@a.example", "me@here.example"), by_sender("y@a.example", "you@here.example")], "x@a.example"),
            (vec![by_recipient("x@a.example", "b.example"), by_recipient("y@a.example", "c.example")], "x@a.example"),
            (vec![Archive { scope: Scope { listeners: vec!["other".into()], streams: vec![] }, ..archive("x@a.example") }], ""),
        ] {
            let sender = ReversePath::Mailbox(mailbox("me@here.example"));
            let recipients = [Recipient::new(mailbox("to@b.example"))];
            let found = copies(&archives, "in", &StreamName::new("s"), &sender, &recipients);
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), said, "{archives:?}");
        }
    }
}
