//! The rules that a header can be judged by alone.

use postrider_mail::fold::{fits, folded};
use postrider_mail::{Field, Fields, mailboxes, words};
use postrider_model::policy::StreamClass;
use postrider_smtp::Domain;

use super::{Facts, Rule};

/// Octets of a line without its end (RFC 5322 §2.1.1).
const LINE_OCTETS_MAX: usize = 998;

/// Octets of a message that every provider takes, the encoding of its files counted; Orange says 45 MB.
const CONTENT_OCTETS_MAX: u64 = 45_000_000;

/// Letters of a foreign text in a sentence.
const SHOWN_LETTERS_MAX: usize = 60;

/// Fields that may stand once (RFC 5322 §3.6, RFC 2045 §3).
const ONCE: [&str; 14] = [
    "Date",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Subject",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Feedback-ID",
];

/// Fields in which no text stands, and so no encoded word (RFC 2047 §5).
const NO_TEXT: [&str; 7] =
    ["Date", "Message-ID", "In-Reply-To", "References", "MIME-Version", "Content-Transfer-Encoding", "List-Unsubscribe-Post"];

/// Mailbox providers whose users write through them and nobody else.
const MAILBOX_PROVIDERS: [&str; 12] = [
    "gmail.com",
    "googlemail.com",
    "yahoo.com",
    "aol.com",
    "outlook.com",
    "hotmail.com",
    "live.com",
    "msn.com",
    "icloud.com",
    "me.com",
    "gmx.net",
    "web.de",
];

/// Judges what came.
pub(super) fn judge(facts: &Facts<'_>, breach: &mut impl FnMut(Rule, bool, String, String)) {
    if facts.content_octets > CONTENT_OCTETS_MAX {
        let said = format!("the message has {} octets, and {CONTENT_OCTETS_MAX} are the most that is taken", facts.content_octets);
        breach(Rule::Size, false, said, "send a link to the file instead".to_owned());
    }
    let Some(header) = facts.header else {
        return breach(
            Rule::HeaderSize,
            false,
            "the header is too long".to_owned(),
            "leave fields away; no program for people reads so much".to_owned(),
        );
    };
    if let Some(line) = header.split(|octet| *octet == b'\n').find(|line| line.trim_ascii_end().len() > LINE_OCTETS_MAX) {
        let said = format!("a line of the header has {} octets, and {LINE_OCTETS_MAX} are allowed", line.len());
        let is_mended = |field: Field<'_>| fits(field.name, folded(field.name, field.value).as_deref().unwrap_or(field.value));
        breach(Rule::LineLength, facts.mended.folds && Fields::of(header).all(is_mended), said, "fold it: CR LF and a blank".to_owned());
    }
    let fields: Vec<Field<'_>> = Fields::of(header).collect();
    of_from(facts, &fields, breach);
    of_single_instances(facts, &fields, breach);
    of_ids(facts, &fields, breach);
    let says_type = fields.iter().any(|field| field.is("Content-Type") || field.is("Content-Transfer-Encoding"));
    if says_type && !fields.iter().any(|field| field.is("MIME-Version")) {
        let said = "there are fields of MIME, and no MIME-Version".to_owned();
        breach(Rule::MimeVersion, facts.mended.mime_version, said, "write MIME-Version: 1.0".to_owned());
    }
    if let Some(name) = NO_TEXT.iter().find(|name| fields.iter().any(|field| field.is(name) && holds(field.value, b"=?"))) {
        breach(Rule::EncodedWord, false, format!("{name} holds an encoded word"), format!("write {name} in plain ASCII"));
    }
    if facts.class == StreamClass::Bulk {
        of_bulk(facts, &fields, breach);
    }
}

fn of_from(facts: &Facts<'_>, fields: &[Field<'_>], breach: &mut impl FnMut(Rule, bool, String, String)) {
    let from: Vec<_> = fields.iter().filter(|field| field.is("From")).collect();
    let named: Vec<String> = from.iter().flat_map(|field| mailboxes(field.value)).collect();
    let is_address = |text: &String| text.rsplit_once('@').is_some_and(|(left, right)| !left.trim().is_empty() && !right.trim().is_empty());
    let addresses = named.iter().filter(|text| is_address(text)).count();
    let one = "write one From, with one address".to_owned();
    match (from.len(), addresses) {
        (0, _) => breach(Rule::From, facts.mended.from, "there is no From".to_owned(), one),
        (1, 1) if named.len() == 1 => {}
        (1, many) => breach(Rule::From, false, format!("From names {many} addresses"), one),
        // Doubles that say the same are one.
        (many, _) => breach(Rule::From, facts.mended.doubles && all_say_the_same(&from), format!("there are {many} From fields"), one),
    }
    if let Some(domain) = facts.from.as_ref().map(Domain::to_ascii)
        && MAILBOX_PROVIDERS.iter().any(|provider| domain.eq_ignore_ascii_case(provider))
    {
        let said = format!("From is of {domain}, whose mail comes from its own servers only");
        breach(Rule::MailboxProvider, false, said, "write From with a domain of your own, and the other address in Reply-To".to_owned());
    }
}

fn of_single_instances(facts: &Facts<'_>, fields: &[Field<'_>], breach: &mut impl FnMut(Rule, bool, String, String)) {
    for name in ONCE {
        let found: Vec<_> = fields.iter().filter(|field| field.is(name)).collect();
        if found.len() > 1 && name != "From" {
            let said = format!("{name} is there {} times", found.len());
            breach(Rule::SingleInstance, facts.mended.doubles && all_say_the_same(&found), said, format!("write {name} once"));
        }
    }
}

fn all_say_the_same(fields: &[&Field<'_>]) -> bool {
    let sense = |field: &Field<'_>| -> Vec<Vec<u8>> {
        field.value.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
    };
    fields.windows(2).all(|two| sense(two[0]) == sense(two[1]))
}

fn of_ids(facts: &Facts<'_>, fields: &[Field<'_>], breach: &mut impl FnMut(Rule, bool, String, String)) {
    if !fields.iter().any(|field| field.is("Date")) {
        breach(Rule::Date, facts.mended.date, "there is no Date".to_owned(), "write the time of writing".to_owned());
    }
    let Some(id) = fields.iter().find(|field| field.is("Message-ID")) else {
        let said = "there is no Message-ID".to_owned();
        return breach(Rule::MessageId, facts.mended.message_id, said, "write one, another one for each message".to_owned());
    };
    let text = words::unfolded(id.value);
    let text = text.trim();
    if !is_id(text) {
        let said = format!("Message-ID is {:?}", short(text));
        return breach(Rule::MessageId, false, said, "write it as <something@your.domain>".to_owned());
    }
    if facts.reused {
        let said = format!("the Message-ID {} was another message's", short(text));
        breach(Rule::MessageIdReuse, false, said, "write another one for each message".to_owned());
    }
}

/// `<left@right>`, of letters that are seen (RFC 5322 §3.6.4).
fn is_id(text: &str) -> bool {
    let inside = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    let parts = inside.and_then(|inside| inside.rsplit_once('@'));
    parts.is_some_and(|(left, right)| {
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'<' | b'>'));
        plain(left) && plain(right)
    })
}

fn of_bulk(facts: &Facts<'_>, fields: &[Field<'_>], breach: &mut impl FnMut(Rule, bool, String, String)) {
    let link = fields.iter().any(|field| field.is("List-Unsubscribe") && holds(field.value, b"<https:"));
    let post = fields.iter().find(|field| field.is("List-Unsubscribe-Post"));
    let one_click = post.is_some_and(|field| field.value.trim_ascii().eq_ignore_ascii_case(b"List-Unsubscribe=One-Click"));
    if !(link && one_click) {
        let said = match (link, post) {
            (false, _) => "List-Unsubscribe has no https link",
            (true, None) => "List-Unsubscribe-Post is missing, so the link is not one click",
            (true, Some(_)) => "List-Unsubscribe-Post does not say List-Unsubscribe=One-Click",
        };
        let remedy = "write both fields (RFC 8058), or have the relay write them: one_click = true for the stream, and [web] public_url for the relay";
        breach(Rule::OneClick, facts.mended.one_click, said.to_owned(), remedy.to_owned());
    }
    if !fields.iter().any(|field| field.is("Feedback-ID")) {
        let remedy = "write it, or have the relay write it: feedback_id = true for the stream";
        breach(Rule::FeedbackId, facts.mended.feedback_id, "there is no Feedback-ID".to_owned(), remedy.to_owned());
    }
}

fn holds(value: &[u8], part: &[u8]) -> bool {
    value.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn short(text: &str) -> String {
    let clean = text.chars().map(|letter| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '?' });
    clean.take(SHOWN_LETTERS_MAX).collect()
}
