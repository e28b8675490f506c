//! Which address stands in the place of another (Postfix's canonical(5) and generic(5)).
//!
//! **Promises.** The look-ups are Postfix's, in its order: `user+detail@domain`, `user@domain`, `user+detail` and `user` where the domain is one of ours, `@domain`. A
//! detail that the look-up left away is put back. `@other` as a result keeps the user. It is one pass: what came out is not looked up again, so there is
//! no loop. Letters have no case in keys.
//!
//! **Never** gives an address that cannot be parsed; where a map says such a thing, the address stays as it is.

use postrider_model::policy::{AddressMap, Rewriting};
use postrider_smtp::Mailbox;

/// Whose address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A sender's: the reverse-path, From, Sender, Reply-To.
    Sender,
    /// A recipient's: RCPT, To, Cc.
    Recipient,
}

/// The address that mail is taken with; `None`: as it is.
pub fn canonical(rewriting: &Rewriting, whose: Whose, mailbox: &Mailbox, is_ours: bool) -> Option<Mailbox> {
    let own = match whose {
        Whose::Sender => &rewriting.sender_canonical,
        Whose::Recipient => &rewriting.recipient_canonical,
    };
    // As in Postfix, what the map for senders or recipients gave goes through the one for both.
    let first = look_up(own, rewriting, mailbox, is_ours, true);
    let then = look_up(&rewriting.canonical, rewriting, first.as_ref().unwrap_or(mailbox), is_ours, true);
    then.or(first).filter(|new| new != mailbox)
}

/// The address that mail leaves with; `None`: as it is. A detail is not put back (`propagate_unmatched_extensions`).
pub fn generic(rewriting: &Rewriting, mailbox: &Mailbox, is_ours: bool) -> Option<Mailbox> {
    look_up(&rewriting.generic, rewriting, mailbox, is_ours, false).filter(|new| new != mailbox)
}

fn look_up(map: &AddressMap, rewriting: &Rewriting, mailbox: &Mailbox, is_ours: bool, keeps_detail: bool) -> Option<Mailbox> {
    if map.0.is_empty() {
        return None;
    }
    let (local, host) = (mailbox.local_part().to_lowercase(), mailbox.host().to_string().to_lowercase());
    // A quoted local part is what stands between its quotes, and has no detail.
    let split = rewriting.delimiter.and_then(|delimiter| local.find(delimiter)).filter(|at| *at > 0 && !local.starts_with('"'));
    let user = split.map(|at| &local[..at]);
    let detail = split.map(|at| &mailbox.local_part()[at..]).filter(|_| keeps_detail);
    let mut keys = vec![(format!("{local}@{host}"), None)];
    keys.extend(user.map(|user| (format!("{user}@{host}"), detail)));
    if is_ours {
        keys.push((local.clone(), None));
        keys.extend(user.map(|user| (user.to_owned(), detail)));
    }
    keys.push((format!("@{host}"), None));
    let (found, detail) = keys.into_iter().find_map(|(key, detail)| Some((map.0.get(key.as_str())?, detail)))?;
    let whole = match found.split_once('@') {
        Some(("", domain)) => format!("{}@{domain}", mailbox.local_part()),
        Some((user, domain)) => format!("{user}{}@{domain}", detail.unwrap_or_default()),
        None => format!("{found}{}@{}", detail.unwrap_or_default(), rewriting.origin),
    };
    Mailbox::parse(&whole).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> AddressMap {
        AddressMap(lines.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    fn rewriting() -> Rewriting {
        Rewriting {
            canonical: map(&[
                ("ann+shop@here.example", "shop@here.example"),
                ("ann@here.example", "Ann.Smith@here.example"),
                ("bob", "robert"),
                ("@old.example", "@new.example"),
                ("new@old.example", "x@old.example"),
                ("x@old.example", "loop@old.example"),
                ("broken@here.example", "no domain@@"),
            ]),
            sender_canonical: map(&[("carl@here.example", "bob@here.example"), ("@in.example", "@old.example")]),
            recipient_canonical: map(&[("carl@here.example", "dora@here.example")]),
            generic: map(&[("ann@here.example", "me@isp.example"), ("@here.example", "box@isp.example")]),
            delimiter: Some('+'),
            origin: "here.example".into(),
        }
    }

    #[test]
    fn look_ups_are_in_postfix_order_and_once() {
        for (address, ours, sender, recipient) in [
            ("ann@here.example", true, "Ann.Smith@here.example", "Ann.Smith@here.example"),
            ("ANN@Here.Example", true, "Ann.Smith@here.example", "Ann.Smith@here.example"),
            ("ann+shop@here.example", true, "shop@here.example", "shop@here.example"),
            ("ann+Bank@here.example", true, "Ann.Smith+Bank@here.example", "Ann.Smith+Bank@here.example"),
            ("bob@here.example", true, "robert@here.example", "robert@here.example"),
            ("bob+x@here.example", true, "robert+x@here.example", "robert+x@here.example"),
            ("bob@far.example", false, "-", "-"),
            ("any+one@old.example", false, "any+one@new.example", "any+one@new.example"),
            ("new@old.example", false, "x@old.example", "x@old.example"),
            ("carl@here.example", true, "robert@here.example", "dora@here.example"),
            ("someone@in.example", false, "someone@new.example", "-"),
            ("broken@here.example", true, "-", "-"),
            ("\"a b+c\"@old.example", false, "\"a b+c\"@new.example", "\"a b+c\"@new.example"),
            ("+x@here.example", true, "-", "-"),
        ] {
            let mailbox = Mailbox::parse(address).unwrap();
            let shown = |whose| canonical(&rewriting(), whose, &mailbox, ours).map_or("-".to_owned(), |new| new.to_string());
            assert_eq!((shown(Whose::Sender).as_str(), shown(Whose::Recipient).as_str()), (sender, recipient), "{address}");
        }
    }

    #[test]
    fn what_leaves_goes_by_the_generic_map() {
        for (address, expected) in [
            ("ann@here.example", "me@isp.example"),
            ("ann+x@here.example", "me@isp.example"),
            ("x@here.example", "box@isp.example"),
            ("x@far.example", "-"),
        ] {
            let mailbox = Mailbox::parse(address).unwrap();
            assert_eq!(generic(&rewriting(), &mailbox, true).map_or("-".to_owned(), |new| new.to_string()), expected);
        }
        assert_eq!(generic(&Rewriting::default(), &Mailbox::parse("a@b.example").unwrap(), true), None);
    }
}
