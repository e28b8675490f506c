//! The report's words for people: which address, why, what the other server said, what to do.

use crate::date::date_time;

use super::{Action, RecipientReport, Report, Words, phrase, token, word};

/// Octets of a line of text.
const TEXT_OCTETS: usize = 74;

/// The report's subject.
pub(super) fn subject(report: &Report) -> &'static str {
    match report.recipients.iter().map(|recipient| recipient.action).min() {
        Some(Action::Failed) | None => "Your message could not be delivered",
        Some(Action::Delayed) => "Your message is delayed",
        Some(Action::Delivered | Action::Relayed) => "Your message was delivered",
    }
}

/// The first part.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    paragraph(&mut text, "", &format!("This is the mail server {}.", token(report.reporting_mta)));
    for (action, opening) in [
        (Action::Failed, "Your message could not be delivered to:"),
        (Action::Delayed, "Your message could not be delivered yet to the following. You need not send it again; we keep trying:"),
        (Action::Delivered, "Your message was delivered to:"),
        (Action::Relayed, "Your message was handed to the next mail server, which sends no further reports, for:"),
    ] {
        let mut recipients = report.recipients.iter().filter(|recipient| recipient.action == action).peekable();
        if recipients.peek().is_some() {
            paragraph(&mut text, "", opening);
            recipients.for_each(|recipient| tell(&mut text, recipient));
        }
    }
    let attached = if report.has_content() { "It is attached as it was." } else { "Its header is attached; its text is not." };
    let reference = format!(
        "If you ask us about this message, please name {}. We received it on {}. {attached}",
        token(report.id),
        date_time(report.arrival_date)
    );
    paragraph(&mut text, "", &reference);
    text
}

fn tell(text: &mut String, recipient: &RecipientReport) {
    paragraph(text, "  ", &format!("<{}>", word(recipient.final_recipient, true)));
    if matches!(recipient.action, Action::Delivered | Action::Relayed) {
        return;
    }
    let (why, advice) = explain(recipient);
    paragraph(text, "    ", why);
    match recipient.words {
        Some(Words::Remote(said)) => {
            let by = recipient.remote_mta.map(|name| format!(" {}", word(name, true))).unwrap_or_default();
            paragraph(text, "    ", &format!("The server{by} said: {}", phrase(said, true)));
        }
        Some(Words::Ours(said)) => paragraph(text, "    ", &format!("What happened: {}", phrase(said, true))),
        None => {}
    }
    match (recipient.action, recipient.will_retry_until) {
        (Action::Delayed, Some(until)) => paragraph(text, "    ", &format!("We keep trying until {}.", date_time(until))),
        (Action::Delayed, None) => {}
        _ => paragraph(text, "    ", advice),
    }
}

/// Why, and what to do, from the status' subject and detail (RFC 3463 §3; RFC 7505, RFC 7372, RFC 6531 for later ones).
fn explain(recipient: &RecipientReport) -> (&'static str, &'static str) {
    const CHECK: &str = "Please check the address for typing mistakes, and send the message again if you find one.";
    const OTHER_WAY: &str = "Please reach this person in another way, or try again later.";
    const POSTMASTER: &str = "Please show this report to the administrator of your mail server.";
    let (_, subject, detail) = recipient.status;
    match (subject, detail) {
        (1, 1) => ("There is no such mailbox at the receiving server.", CHECK),
        (1, 2) => ("The part of the address behind the @ does not exist.", CHECK),
        (1, 3) => ("The address is not a valid mail address.", CHECK),
        (1, 10) => ("This domain takes no mail at all.", CHECK),
        (1, 6) => ("The mailbox has moved, and left no new address.", OTHER_WAY),
        (1, 7 | 8) => ("The receiving server does not accept your sender address.", POSTMASTER),
        (1, _) => ("The receiving server does not accept this address.", CHECK),
        (2, 1) => ("The mailbox is switched off.", OTHER_WAY),
        (2, 2) => ("The mailbox is full.", OTHER_WAY),
        (2, 3) | (3, 4) => {
            ("The message is too large for the receiving server.", "Please send it again with less, for example without attachments.")
        }
        (2, _) => ("The mailbox cannot take the message.", OTHER_WAY),
        (3, _) => ("The receiving server has a fault or is too busy.", OTHER_WAY),
        (4, 4) => ("No mail server could be found for this address.", CHECK),
        (4, 6) => ("The message went in circles between mail servers.", POSTMASTER),
        (4, 7) => ("We tried for as long as we keep mail, without success.", OTHER_WAY),
        (4, _) => ("The receiving server could not be reached.", OTHER_WAY),
        (5, 3) => ("The message had too many recipients.", "Please send it again to fewer people at a time."),
        (5, _) => ("The two mail servers did not understand each other.", POSTMASTER),
        (6, 7) => ("The receiving server cannot handle this address, or one in the message.", POSTMASTER),
        (6, _) => ("The receiving server cannot handle the message's form.", POSTMASTER),
        (7, _) => ("The receiving server refused the message by its rules, for example as unwanted mail.", POSTMASTER),
        _ => ("The receiving server did not take the message.", OTHER_WAY),
    }
}

/// Appends a paragraph, every line behind `indent`, and an empty line. A word that fills no line stands alone, in pieces where it must.
fn paragraph(text: &mut String, indent: &str, words: &str) {
    let mut column = 0;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let mut rest = word;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(900));
            rest = after;
            if column > 0 && column + 1 + piece.len() > TEXT_OCTETS {
                text.push_str("\r\n");
                column = 0;
            }
            text.push_str(if column == 0 { indent } else { " " });
            text.push_str(piece);
            column += 1 + piece.len();
        }
    }
    text.push_str("\r\n\r\n");
}
