//! Header rules and other addresses, carried out on a draft.

use postrider_core::header_rules::{self, Edit};
use postrider_core::rewrite::{self, Whose};
use postrider_mail::edit::{Header, Turn};
use postrider_mail::{Field, addresses, words};
use postrider_model::MessageId;
use postrider_model::doors::{Judged, Judgement};
use postrider_model::policy::{Checking, HeaderRule, Rewriting, Routing};
use postrider_smtp::{Host, Mailbox, Reply, ReversePath};

use super::{Judges, Word};
use crate::receive::reply;

/// Lines in the log about one message, however many of its fields a rule warns of.
const WARNINGS_MAX: usize = 20;

/// Fields whose addresses are a sender's, and a recipient's.
pub(crate) const OF_SENDERS: [&str; 6] = ["From", "Sender", "Reply-To", "Resent-From", "Resent-Sender", "Resent-Reply-To"];
pub(crate) const OF_RECIPIENTS: [&str; 6] = ["To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"];

impl Judges {
    /// Carries the header rules out.
    pub(super) fn header_rules(&mut self, id: MessageId, header: &mut Header) -> Word {
        let snapshot = self.snapshot.clone();
        let fields = header.fields().map(|field| (field.name, field.value));
        let plan = header_rules::judge(&snapshot.checking.header_rules, &self.listener, &self.stream, fields);
        let mut warned = plan.warned.iter().take(WARNINGS_MAX).peekable();
        for (at, field) in header.fields().enumerate() {
            while let Some((rule, _)) = warned.next_if(|(_, number)| *number == at) {
                self.say_rule(rule, Judgement::Warned, id, &words::decoded(field.value));
            }
            if warned.peek().is_none() {
                break;
            }
        }
        if let Some((rule, text)) = plan.rejected {
            self.say_rule(rule, Judgement::Rejected, id, text);
            return Word::Refuse(refusal(text));
        }
        if let Some(rule) = plan.discarded {
            self.discard.get_or_insert_with(|| format!("rule:{}", rule.name));
        }
        if let Some((rule, why)) = plan.held {
            self.say_rule(rule, Judgement::Held, id, why);
            self.hold.get_or_insert_with(|| format!("header rule {}: {why}", rule.name));
        }
        let mut edits = plan.edits.iter().peekable();
        if edits.peek().is_some() {
            header.turn(|at, _| match edits.next_if(|(number, _)| *number == at) {
                None => Turn::Keep,
                Some((_, Edit::Remove)) => Turn::Remove,
                Some((_, Edit::Replace(name, value))) => Turn::Other(name, value),
                Some((_, Edit::Prepend(name, value))) => Turn::Before(name, value),
            });
        }
        for (name, value) in &plan.added {
            header.insert(header.len(), name, format!(" {value}").as_bytes());
        }
        Word::Go
    }

    fn say_rule(&self, rule: &HeaderRule, judgement: Judgement, id: MessageId, text: &str) {
        let peer = self.address.map(|address| address.ip());
        self.doors.log.judged(&Judged { judge: &format!("rule:{}", rule.name), judgement, peer, message: Some(id), text });
    }
}

/// The words of a rule, which may begin with a code and a status of their own.
fn refusal(text: &str) -> Reply {
    let usual = || reply(550, (5, 7, 1), text);
    let Some((code, rest)) = text.split_once(' ') else { return usual() };
    let Some(code) = code.parse().ok().filter(|code| (400..=599).contains(code) && *code != 421 && *code != 521) else { return usual() };
    match postrider_smtp::EnhancedStatus::split_off(rest) {
        Some((status, rest)) if u16::from(status.class) == code / 100 => Reply::new(code, Some(status), rest),
        _ => reply(code, (if code < 500 { 4 } else { 5 }, 7, 1), rest),
    }
}

/// Whether anything of it is asked of a listener's mail, so that its header must be looked at.
pub(super) fn concern(checking: &Checking, listener: &str) -> bool {
    let Rewriting { canonical, sender_canonical, recipient_canonical, .. } = &checking.rewriting;
    let rewrites = [canonical, sender_canonical, recipient_canonical].iter().any(|map| !map.0.is_empty());
    let here = |rule: &HeaderRule| rule.scope.listeners.is_empty() || rule.scope.listeners.iter().any(|name| **name == *listener);
    rewrites || checking.header_rules.iter().any(here)
}

/// Other addresses in the header of mail from clients of ours. What is no list of addresses stays as it is.
pub(super) fn rewrite_header(header: &mut Header, rewriting: &Rewriting, routing: &Routing) {
    let new = |whose| move |text: &str| canonical(rewriting, routing, whose, &Mailbox::parse(text).ok()?).map(|new| new.to_string());
    let whose = |field: &Field<'_>| match field {
        field if OF_SENDERS.iter().any(|name| field.is(name)) => Some(Whose::Sender),
        field if OF_RECIPIENTS.iter().any(|name| field.is(name)) => Some(Whose::Recipient),
        _ => None,
    };
    header.turn(|_, field| {
        let value = whose(&field).and_then(|whose| addresses::replace(field.value, new(whose)));
        value.map_or(Turn::Keep, Turn::Value)
    });
}

/// Another reverse-path.
pub(super) fn rewrite_sender(path: &mut ReversePath, rewriting: &Rewriting, routing: &Routing) {
    if let Some(new) = path.mailbox().and_then(|mailbox| canonical(rewriting, routing, Whose::Sender, mailbox)) {
        *path = ReversePath::Mailbox(new);
    }
}

/// The address that stands in the place of another.
pub(crate) fn canonical(rewriting: &Rewriting, routing: &Routing, whose: Whose, mailbox: &Mailbox) -> Option<Mailbox> {
    rewrite::canonical(rewriting, whose, mailbox, is_ours(rewriting, routing, mailbox.host()))
}

/// Whether a domain is one of ours, so that names without a domain mean its users: the origin, and the domains whose mail ends here.
pub(crate) fn is_ours(rewriting: &Rewriting, routing: &Routing, host: &Host) -> bool {
    match host {
        Host::Domain(domain) => {
            let name = domain.to_ascii();
            *name == *rewriting.origin || routing.local.contains_key(&*name)
        }
        Host::Literal(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_model::policy::AddressMap;

    #[test]
    fn headers_get_other_addresses_and_keep_the_rest() {
        let map = |lines: &[(&str, &str)]| AddressMap(lines.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect());
        let rewriting = Rewriting {
            canonical: map(&[("@host.here.example", "@here.example")]),
            recipient_canonical: map(&[("root", "admin@here.example")]),
            origin: "here.example".into(),
            ..Rewriting::default()
        };
        let mut header = Header::of(
            b"From: \"A, B\" <a@host.here.example>\r\nTo: root@here.example,\r\n g: x@y.example;\r\nCc: broken <a@host.here.example\r\n\
            Subject: a@host.here.example\r\nreply-to : root@here.example\r\n",
        );
        rewrite_header(&mut header, &rewriting, &Routing::default());
        let mut out = Vec::new();
        header.write(false, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "From: \"A, B\" <a@here.example>\r\nTo: admin@here.example,\r\n g: x@y.example;\r\nCc: broken <a@host.here.example\r\n\
            Subject: a@host.here.example\r\nreply-to : root@here.example\r\n\r\n"
        );
    }

    #[test]
    fn a_rule_may_choose_its_reply() {
        for (text, said) in [
            ("no programs", "550 5.7.1 no programs"),
            ("554 5.7.9 no", "554 5.7.9 no"),
            ("451 later", "451 4.7.1 later"),
            ("451 5.7.1 odd", "451 4.7.1 5.7.1 odd"),
            ("421 4.7.0 bye", "550 5.7.1 421 4.7.0 bye"),
            ("42 is the answer", "550 5.7.1 42 is the answer"),
        ] {
            assert_eq!(refusal(text).to_string(), said);
        }
    }
}
