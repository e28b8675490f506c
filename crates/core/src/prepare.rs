//! What is done to a client's message on its way out, because its stream asks for it (RFC 8058, RFC 5322 §3.6).
//!
//! **Promises.** The plan follows from the stream, the author's domain and the header alone, so every attempt makes the same, and [`Preparation::words`] tells it
//! before anything is sent. A stream that asks for nothing has no plan, and costs no look at a header ([`concerns`]). What a client has put there itself
//! stays: its Feedback-ID, its one-click link. Fields that may stand once are never chosen among: one that says the same as another goes, and two that differ
//! both stay, for the judge of the providers' rules to refuse. A null reverse-path stays null (RFC 5321 §4.5.5).
//!
//! **Never** touches what is relayed or what we say ourselves, and never adds what it could not honour: no link without an address of ours, no return path
//! without a domain that leads to us.

use std::collections::BTreeSet;

use postrider_mail::encoded::encoded;
use postrider_mail::fold::folded;
use postrider_mail::{Field, Fields, words};
use postrider_model::policy::{Preparing, SendingDomain, Stream, StreamClass, Strictness};
use postrider_model::{BodyType, Mend, Role, StreamName, TenantName};
use postrider_smtp::{Domain, ReversePath};

/// Fields that may stand once (RFC 5322 §3.6, RFC 2045 §3). Gmail refuses mail that doubles one.
const ONCE: [&str; 15] = [
    "Date",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Subject",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Feedback-ID",
];

/// Fields that no stream may have taken away: without them the message is another one, or none (RFC 5322 §3.6, RFC 2045 §3).
pub const KEPT: [&str; 10] =
    ["Date", "From", "Sender", "To", "Subject", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Received"];

/// Fields of ours for our own use; they leave with nothing that is prepared.
const OWN_PREFIX: &str = "x-postrider-";

/// What the plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Whose mail.
    pub tenant: &'a TenantName,
    /// Its class, by name.
    pub stream_name: &'a StreamName,
    /// What is known of it.
    pub stream: &'a Stream,
    /// What is known of the author's domain.
    pub domain: Option<&'a SendingDomain>,
    /// Who hears of failures.
    pub reverse_path: &'a ReversePath,
    /// The header, as it is stored.
    pub header: &'a [u8],
    /// The name we are known by.
    pub host_name: &'a str,
    /// Tokens can be made.
    pub has_keys: bool,
    /// We can be reached on the web.
    pub has_web: bool,
    /// The header may hold letters beyond ASCII (RFC 6532).
    pub smtputf8: bool,
    /// The body has a line of more than 998 octets; looked for only where [`mends_lines`] says so.
    pub has_long_lines: bool,
}

/// What is done to a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preparation {
    /// Failures come back to a token at this domain, another one for each recipient.
    pub return_path: Option<Domain>,
    /// List-Unsubscribe with one click, a token for each recipient.
    pub one_click: Option<OneClick>,
    /// The value of Feedback-ID.
    pub feedback_id: Option<String>,
    /// MIME-Version stands in front.
    pub mime_version: bool,
    /// Parts that are not encoded are, because a line of the body is too long (RFC 5322 §2.1.1).
    pub short_lines: bool,
    /// Fields that go, by their place in the header, counted from 0.
    pub removed: Vec<Removed>,
    /// Fields that are written in encoded words (RFC 2047), by their place.
    pub encoded: Vec<usize>,
    /// Fields with a line that is too long, folded where they have blanks, by their place.
    pub folded: Vec<usize>,
    /// What was asked for and cannot be done.
    pub missing: Vec<&'static str>,
}

/// A link of ours in List-Unsubscribe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OneClick {
    /// The message's own addresses for letters, which stand behind our link.
    pub mailto: Vec<String>,
}

/// A field that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its place.
    pub place: usize,
    /// Its name, in ASCII.
    pub name: String,
    /// Why.
    pub why: Why,
}

/// Why a field goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It names who must not be seen (RFC 5322 §3.6.3).
    Blind,
    /// The stream says that it is nobody's business.
    Internal,
    /// One before it says the same.
    Double,
    /// It stands in our field now.
    Joined,
}

/// Whether mail of this role is a client's, whose stream may ask for something.
pub fn is_ours(role: Role) -> bool {
    match role {
        Role::Submission | Role::Local => true,
        Role::Relay | Role::Report => false,
    }
}

/// Whether anything is done to mail of this stream.
pub fn concerns(role: Role, stream: &Stream) -> bool {
    is_ours(role) && (stream.preparing != Preparing::default() || mends(stream))
}

/// Whether lines that are too long are encoded. Binary content has none, and travels otherwise.
pub fn mends_lines(stream: &Stream, body: BodyType) -> bool {
    mends(stream) && body != BodyType::BinaryMime
}

fn mends(stream: &Stream) -> bool {
    stream.strictness >= Strictness::Mend
}

/// The plan for a message that [`concerns`] said yes to.
pub fn preparation(subject: &Subject<'_>) -> Preparation {
    let mut plan = Preparation::default();
    let fields: Vec<Field<'_>> = Fields::of(subject.header).collect();
    let has = |name: &str| fields.iter().any(|field| field.is(name));
    let asked = &subject.stream.preparing;
    if asked.own_return_path && !subject.reverse_path.is_null() {
        let path = subject.domain.and_then(|domain| domain.return_path.clone());
        match path.filter(|_| subject.has_keys) {
            Some(path) => plan.return_path = Some(path),
            None => plan
                .missing
                .push("own_return_path: the author's domain has no return_path ([[domain]]), so failures go to the reverse-path that came"),
        }
    }
    if asked.one_click {
        plan.one_click(subject, &fields);
    }
    if asked.feedback_id && !has("Feedback-ID") {
        plan.feedback_id = Some(feedback_id(subject));
    }
    let says_mime = has("Content-Type") || has("Content-Transfer-Encoding");
    plan.mime_version = says_mime && !has("MIME-Version");
    plan.short_lines = subject.has_long_lines;
    let mut said = BTreeSet::new();
    let encodes = mends(subject.stream) && !subject.smtputf8 && !subject.header.is_ascii();
    for (place, field) in fields.iter().enumerate() {
        let joined = (plan.one_click.is_some() && field.is("List-Unsubscribe")).then_some(Why::Joined);
        if let Some(why) = joined.or_else(|| goes(subject.stream, &mut said, field)) {
            plan.removed.push(Removed { place, name: String::from_utf8_lossy(field.name).into_owned(), why });
            continue;
        }
        let written = if encodes { encoded(field.name, field.value) } else { None };
        if written.is_some() {
            plan.encoded.push(place);
        }
        if mends(subject.stream) && folded(field.name, written.as_deref().unwrap_or(field.value)).is_some() {
            plan.folded.push(place);
        }
    }
    plan
}

impl Preparation {
    /// Whether each recipient has a transaction of its own: what differs by recipient cannot be said to two at once.
    pub fn is_for_one(&self) -> bool {
        self.return_path.is_some() || self.one_click.is_some()
    }

    fn one_click(&mut self, subject: &Subject<'_>, fields: &[Field<'_>]) {
        if fields.iter().any(|field| field.is("List-Unsubscribe-Post")) {
            return;
        }
        let own = fields.iter().filter(|field| field.is("List-Unsubscribe"));
        let links: Vec<String> = own.flat_map(|field| links(field.value)).collect();
        if links.iter().any(|link| !is_letter(link)) {
            // It is on the web, and only its owner knows whether it takes a POST (RFC 8058 §3.1).
            self.missing.push("one_click: the message has a link of its own, without List-Unsubscribe-Post; it stays as it is");
        } else if !(subject.has_web && subject.has_keys) {
            self.missing.push("one_click: this relay has no address on the web ([web] public_url)");
        } else {
            self.one_click = Some(OneClick { mailto: links });
        }
    }

    /// Each thing that is done, in a sentence, with what the message was given for what it lacked.
    pub fn words(&self, mend: Mend) -> Vec<String> {
        let mut said = Vec::new();
        for (lacks, name) in
            [(mend.date, "Date"), (mend.from, "From"), (mend.message_id, "Message-ID"), (self.mime_version, "MIME-Version")]
        {
            if lacks {
                said.push(format!("{name} is added: the message has none"));
            }
        }
        if let Some(domain) = &self.return_path {
            said.push(format!("the reverse-path is a token at {domain}, another one for each recipient; failures come back to us there"));
        }
        if self.one_click.is_some() {
            said.push("List-Unsubscribe with one click is added, another link for each recipient".to_owned());
        }
        if let Some(value) = &self.feedback_id {
            said.push(format!("Feedback-ID: {value} is added"));
        }
        if !self.encoded.is_empty() {
            said.push(format!(
                "{} fields are written in encoded words: the header holds letters beyond ASCII, without SMTPUTF8",
                self.encoded.len()
            ));
        }
        if !self.folded.is_empty() {
            said.push(format!("{} fields are folded: a line of theirs is longer than 998 octets", self.folded.len()));
        }
        if self.short_lines {
            said.push("the text is encoded: a line of it is longer than 998 octets".to_owned());
        }
        for removed in &self.removed {
            said.push(match removed.why {
                Why::Blind => format!("{} is taken away: it names blind copies", removed.name),
                Why::Internal => format!("{} is taken away: the stream strips it", removed.name),
                Why::Double => format!("{} is taken away: one before it says the same", removed.name),
                Why::Joined => format!("{} of the message is joined to ours", removed.name),
            });
        }
        said.extend(self.missing.iter().map(|missing| (*missing).to_owned()));
        said
    }
}

/// Why a field goes, if it does; `said` holds what fields before it said, so that the work is linear in the header.
fn goes(stream: &Stream, said: &mut BTreeSet<Vec<u8>>, field: &Field<'_>) -> Option<Why> {
    if field.is("Bcc") || field.is("Resent-Bcc") {
        return Some(Why::Blind);
    }
    let begins = |prefix: &str| field.name.get(..prefix.len()).is_some_and(|name| name.eq_ignore_ascii_case(prefix.as_bytes()));
    let strips = || stream.preparing.strips.iter().any(|prefix| begins(prefix)) && !KEPT.iter().any(|name| field.is(name));
    if begins(OWN_PREFIX) || strips() {
        return Some(Why::Internal);
    }
    let once = mends(stream) && ONCE.iter().any(|name| field.is(name));
    (once && !said.insert(sense(field))).then_some(Why::Double)
}

/// What a field says, without the case of its name, its folds, and how many blanks there are.
fn sense(field: &Field<'_>) -> Vec<u8> {
    let mut sense = field.name.to_ascii_lowercase();
    for part in field.value.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()) {
        sense.push(b' ');
        sense.extend_from_slice(part);
    }
    sense
}

/// What stands in angle brackets (RFC 2369 §2).
fn links(value: &[u8]) -> Vec<String> {
    let text = words::unfolded(value);
    let found = text.split('<').skip(1).filter_map(|rest| rest.split_once('>'));
    found.map(|(link, _)| link.split_whitespace().collect::<String>()).filter(|link| !link.is_empty()).collect()
}

fn is_letter(link: &str) -> bool {
    link.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:"))
}

/// `campaign:customer:type:sender`: Gmail counts complaints by each, and wants the last to have 5 to 15 letters and to stay.
fn feedback_id(subject: &Subject<'_>) -> String {
    let class = match subject.stream.class {
        StreamClass::Transactional => "transactional",
        StreamClass::Bulk => "bulk",
    };
    let plain = |name: &str| {
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' }).collect::<String>()
    };
    let sender = sender_id(subject.host_name, subject.tenant.as_str());
    format!("{}:{}:{class}:{sender}", plain(subject.stream_name.as_str()), plain(subject.tenant.as_str()))
}

/// Twelve hexadecimal digits that stay the same for a tenant of a relay (FNV-1a: it hides nothing, and need not).
fn sender_id(host_name: &str, tenant: &str) -> String {
    let octets = host_name.bytes().map(|octet| octet.to_ascii_lowercase()).chain([0]).chain(tenant.bytes());
    let sum = octets.fold(0xcbf2_9ce4_8422_2325_u64, |sum, octet| (sum ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{:012x}", sum >> 16)
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
mod tests;
