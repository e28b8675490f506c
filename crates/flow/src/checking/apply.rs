//! A milter's changes, carried out.

use postrider_core::local::{self, Resolved};
use postrider_mail::edit::Header;
use postrider_model::Recipient;
use postrider_model::policy::Routing;
use postrider_smtp::milter::Change;
use postrider_smtp::parameters::RecipientParameters;
use postrider_smtp::{ForwardPath, Mailbox, ReversePath};

use super::content::Papers;
use super::conversation::Failure;
use crate::submit::push_once;

/// Recipients that a message may have after milters added some.
const RECIPIENTS_MAX: usize = 100_000;

/// Carries one change out. What cannot be, such as an address that is none, is the milter's failure.
pub(super) fn apply(
    change: &Change,
    header: &mut Header,
    papers: &mut Papers,
    held: &mut Option<String>,
    routing: &Routing,
) -> Result<(), Failure> {
    match change {
        Change::AddHeader(field) => header.insert(header.len(), &field.name, &field.value),
        // Number 0 is before our own trace field, which stands first when the message is sent, and 1 behind it: here both are the beginning.
        Change::InsertHeader(number, field) => header.insert((*number as usize).saturating_sub(1), &field.name, &field.value),
        Change::ChangeHeader(number, field) => match (header.find(&field.name, *number as usize), field.value.trim_ascii().is_empty()) {
            (Some(at), true) => header.remove(at),
            (Some(at), false) => header.replace(at, &field.value),
            (None, true) => {}
            (None, false) => header.insert(header.len(), &field.name, &field.value),
        },
        Change::ReplaceBody(_) => {}
        Change::ChangeSender(path) => {
            papers.reverse_path = ReversePath::parse(&bracketed(path)).map_err(|_| Failure::Impossible(format!("the sender {path:?}")))?;
        }
        Change::AddRecipient(path, parameters) => {
            let impossible = || Failure::Impossible(format!("the recipient {path:?} with {parameters:?}"));
            let mailbox = mailbox(path).ok_or_else(impossible)?;
            let wishes = RecipientParameters::parse(parameters).map_err(|_| impossible())?;
            let ends = match local::resolve(routing, &mailbox) {
                Resolved::Foreign => vec![mailbox],
                Resolved::To(ends) => ends,
                Resolved::Unknown => return Err(impossible()),
            };
            if papers.recipients.len() + ends.len() > RECIPIENTS_MAX {
                return Err(Failure::Impossible("too many recipients".into()));
            }
            let original = wishes.orcpt.map(Box::new);
            for end in ends {
                let recipient = Recipient { notify: wishes.notify, original: original.clone(), ..Recipient::new(end) };
                push_once(&mut papers.recipients, recipient);
            }
        }
        Change::DeleteRecipient(path) => {
            // Who is not there need not be removed (as smfi_delrcpt has it). A name of ours stands for the mailboxes it leads to.
            let Some(mailbox) = mailbox(path) else { return Ok(()) };
            let ends = match local::resolve(routing, &mailbox) {
                Resolved::To(ends) => ends,
                Resolved::Foreign | Resolved::Unknown => vec![mailbox],
            };
            papers.recipients.retain(|recipient| !ends.contains(&recipient.mailbox));
        }
        Change::Quarantine(reason) => *held = Some(reason.clone()),
    }
    Ok(())
}

fn bracketed(path: &str) -> String {
    if path.starts_with('<') { path.to_owned() } else { format!("<{path}>") }
}

fn mailbox(path: &str) -> Option<Mailbox> {
    ForwardPath::parse(&bracketed(path.trim())).ok()?.mailbox().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_smtp::milter::Field;

    #[test]
    fn changes_are_carried_out_or_are_a_failure() {
        let field = |name: &str, value: &str| Field { name: name.into(), value: value.as_bytes().to_vec() };
        let recipient = |text: &str| Recipient::new(Mailbox::parse(text).unwrap());
        let papers = || Papers { reverse_path: ReversePath::parse("<a@b.example>").unwrap(), recipients: vec![recipient("c@d.example")] };
        for (change, expected) in [
            (Change::AddHeader(field("X", " 1")), Some("A: 1\r\nB: 2\r\nX: 1\r\n\r\n|<a@b.example>|c@d.example|")),
            (Change::InsertHeader(0, field("X", " 1")), Some("X: 1\r\nA: 1\r\nB: 2\r\n\r\n|<a@b.example>|c@d.example|")),
            (Change::InsertHeader(1, field("X", " 1")), Some("X: 1\r\nA: 1\r\nB: 2\r\n\r\n|<a@b.example>|c@d.example|")),
            (Change::InsertHeader(2, field("X", " 1")), Some("A: 1\r\nX: 1\r\nB: 2\r\n\r\n|<a@b.example>|c@d.example|")),
            (Change::InsertHeader(u32::MAX, field("X", " 1")), Some("A: 1\r\nB: 2\r\nX: 1\r\n\r\n|<a@b.example>|c@d.example|")),
            (Change::ChangeHeader(1, field("b", " 3")), Some("A: 1\r\nB: 3\r\n\r\n|<a@b.example>|c@d.example|")),
            (Change::ChangeHeader(1, field("b", "")), Some("A: 1\r\n\r\n|<a@b.example>|c@d.example|")),
            (Change::ChangeHeader(2, field("b", "")), Some("A: 1\r\nB: 2\r\n|<a@b.example>|c@d.example|")),
            (Change::ChangeHeader(2, field("b", " 3")), Some("A: 1\r\nB: 2\r\nb: 3\r\n\r\n|<a@b.example>|c@d.example|")),
            (Change::ChangeSender("<>".into()), Some("A: 1\r\nB: 2\r\n|<>|c@d.example|")),
            (Change::ChangeSender("x@y.example".into()), Some("A: 1\r\nB: 2\r\n|<x@y.example>|c@d.example|")),
            (Change::ChangeSender("nobody".into()), None),
            (Change::AddRecipient("<x@y.example>".into(), String::new()), Some("A: 1\r\nB: 2\r\n|<a@b.example>|c@d.example x@y.example|")),
            (Change::AddRecipient("c@D.example".into(), String::new()), Some("A: 1\r\nB: 2\r\n|<a@b.example>|c@d.example|")),
            (Change::AddRecipient("nobody".into(), String::new()), None),
            (Change::AddRecipient("<x@y.example>".into(), "WHAT=1".into()), None),
            (Change::DeleteRecipient("<C@d.example>".into()), Some("A: 1\r\nB: 2\r\n|<a@b.example>|c@d.example|")),
            (Change::DeleteRecipient("<c@D.example>".into()), Some("A: 1\r\nB: 2\r\n|<a@b.example>||")),
            (Change::Quarantine("odd".into()), Some("A: 1\r\nB: 2\r\n|<a@b.example>|c@d.example|odd")),
        ] {
            let (mut header, mut changed, mut held) = (Header::of(b"A: 1\r\nB: 2\r\n"), papers(), None);
            let done = apply(&change, &mut header, &mut changed, &mut held, &Routing::default());
            let shown = done.ok().map(|()| {
                let mut out = Vec::new();
                header.write(false, &mut out);
                let recipients: Vec<String> = changed.recipients.iter().map(|one| one.mailbox.to_string()).collect();
                format!("{}|{}|{}|{}", String::from_utf8_lossy(&out), changed.reverse_path, recipients.join(" "), held.unwrap_or_default())
            });
            assert_eq!(shown.as_deref(), expected, "{change:?}");
        }
    }
}
