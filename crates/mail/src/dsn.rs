//! The delivery status notification (RFC 3464; RFC 3834 for its manners, RFC 6522 for its shape, RFC 6533 for addresses in UTF-8).
//!
//! **Promises.** [`Report::render`] gives a whole message: CR LF line ends and no other CR or LF, no NUL, lines within RFC 5322 §2.1.1, and no field or
//! part that an argument forged, whatever the arguments. It is 7-bit unless its own address needs UTF-8 ([`Report::needs_smtputf8`]) or the mail is returned
//! as a whole and is 8-bit itself: who can be reached without SMTPUTF8 is told without it, whatever the addresses that are reported. Its first part tells a person which address failed, why, what the other server said, and what to do; the second tells a
//! machine; the third is the header of the mail in question, as it was, at most 64 KiB of it, or all of it where that was asked for (RFC 3461 §4.3)
//! and it can stand in a report as it is: no larger than that, and with lines as they should be.
//!
//! **Never** returns the body unasked, and never decides whether a report is due: a null reverse-path gets none (RFC 5321 §6.1), and the caller knows it.
//!
//! **Does badly.** It speaks English only.

mod encode;
mod people;

use std::fmt::Write as _;

use crate::date::date_time;
use crate::header;
use crate::text::{Fold, ascii, printable};

use encode::{Encoding, Part};

/// Octets of the original that are returned, header or whole.
pub const RETURNED_OCTETS_MAX: usize = 64 * 1024;
/// Octets of an address, a name or an id that are shown.
const NAME_OCTETS_MAX: usize = 320;
/// Octets of a remote's words that are shown. A reply of 64 lines fits; a flood does not.
const WORDS_OCTETS_MAX: usize = 4096;
/// Octets of a boundary (RFC 2046 §5.1.1 allows 70), with room for a suffix.
const BOUNDARY_OCTETS_MAX: usize = 56;

/// A report about one message.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Letters and digits that nobody could guess when the original was written.
    pub boundary: &'a str,
    /// The report's own Message-ID, in its angle brackets.
    pub message_id: &'a str,
    /// When it is made, in seconds since 1970-01-01T00:00:00Z.
    pub date: u64,
    /// Who it is from, `MAILER-DAEMON@mx.example`.
    pub from: &'a str,
    /// Who it goes to: the original's reverse-path, without brackets.
    pub to: &'a str,
    /// Our name.
    pub reporting_mta: &'a str,
    /// When we took the original, in seconds since 1970-01-01T00:00:00Z.
    pub arrival_date: u64,
    /// Our id of the original, for whoever asks us about it.
    pub id: &'a str,
    /// ENVID, decoded (RFC 3461 §4.4).
    pub envelope_id: Option<&'a str>,
    /// The original's Message-ID, in its angle brackets.
    pub original_message_id: Option<&'a str>,
    /// What became of each recipient that is reported. At least one.
    pub recipients: Vec<RecipientReport<'a>>,
    /// The original, or as much of its beginning as is at hand.
    pub original: &'a [u8],
    /// `original` is all of it, and is to be returned whole; else its header is.
    pub returns_content: bool,
}

/// What became of one recipient (RFC 3464 §2.3).
#[derive(Clone, Debug)]
pub struct RecipientReport<'a> {
    /// The address, without brackets.
    pub final_recipient: &'a str,
    /// ORCPT, decoded: its type and address, `rfc822;a@b.example` (RFC 3461 §4.2).
    pub original_recipient: Option<&'a str>,
    /// What became of it.
    pub action: Action,
    /// The enhanced status: class, subject, detail (RFC 3463).
    pub status: (u8, u16, u16),
    /// The server that said so.
    pub remote_mta: Option<&'a str>,
    /// What was said.
    pub words: Option<Words<'a>>,
    /// When it was tried last, in seconds since 1970-01-01T00:00:00Z.
    pub last_attempt: Option<u64>,
    /// For a delay: until when it is tried, in seconds since 1970-01-01T00:00:00Z.
    pub will_retry_until: Option<u64>,
}

/// RFC 3464 §2.3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not yet.
    Delayed,
    /// The next hop took it, and reports itself what comes later.
    Delivered,
    /// The next hop took it, and will not report.
    Relayed,
}

/// Who explains an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words<'a> {
    /// The remote's reply, `550 5.1.1 no such user`.
    Remote(&'a str),
    /// Our own account of what went wrong, `connection refused`.
    Ours(&'a str),
}

impl Report<'_> {
    /// Whether the report must be sent with SMTPUTF8: who it goes to, or who it is from, is not ASCII. The recipients it tells of have a form for either
    /// way (RFC 6533 §3).
    pub fn needs_smtputf8(&self) -> bool {
        !self.to.is_ascii() || !self.from.is_ascii()
    }

    /// The whole message.
    pub fn render(&self) -> Vec<u8> {
        let utf8 = self.needs_smtputf8();
        let kind = |global: &'static str, plain: &'static str| if utf8 { global } else { plain };
        let parts = [
            Part::new("text/plain", people::text(self).into_bytes(), "Notification", utf8),
            Part::new(kind("message/global-delivery-status", "message/delivery-status"), self.status_fields(utf8), "Delivery report", utf8),
            self.returned(utf8),
        ];
        let boundary = self.boundary(&parts);
        let mut out = Vec::with_capacity(4096 + parts.iter().map(|part| part.body.len()).sum::<usize>());
        self.write_header(&mut out, &boundary, parts.iter().any(|part| part.encoding == Encoding::EightBit));
        for part in &parts {
            out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
            part.write(&mut out);
        }
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        out
    }

    fn write_header(&self, out: &mut Vec<u8>, boundary: &str, eight_bit: bool) {
        let utf8 = self.needs_smtputf8();
        let plain = |text: &str| word(text, utf8);
        let mut field = |name: &str, words: &[&str]| {
            let mut fold = Fold::new(out, name);
            words.iter().filter(|word| !word.is_empty()).for_each(|word| fold.word(word));
            fold.end();
        };
        field("From:", &["Mail Delivery System", &format!("<{}>", plain(self.from))]);
        field("To:", &[&format!("<{}>", plain(self.to))]);
        field("Subject:", &[people::subject(self)]);
        field("Date:", &[&date_time(self.date)]);
        field(
            "Message-ID:",
            &[&message_id(self.message_id, utf8).unwrap_or_else(|| format!("<{}@{}>", token(self.boundary), token(self.reporting_mta)))],
        );
        if let Some(original) = self.original_message_id.and_then(|id| message_id(id, utf8)) {
            field("References:", &[&original]);
        }
        // RFC 3834 §5: other machines must not answer this.
        field("Auto-Submitted:", &["auto-replied"]);
        field("MIME-Version:", &["1.0"]);
        field("Content-Type:", &["multipart/report; report-type=delivery-status;", &format!("boundary=\"{boundary}\"")]);
        if eight_bit {
            field("Content-Transfer-Encoding:", &["8bit"]);
        }
        out.extend_from_slice(b"\r\nThis is a report in MIME format.\r\n");
    }

    /// RFC 3464 §2.2, §2.3; RFC 6533 §3 for the address type.
    fn status_fields(&self, utf8: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 * (1 + self.recipients.len()));
        let mut field = |name: &str, text: &str| {
            let mut fold = Fold::new(&mut out, name);
            fold.words(text);
            fold.end();
        };
        field("Reporting-MTA:", &format!("dns; {}", token(self.reporting_mta)));
        if let Some(id) = self.envelope_id {
            field("Original-Envelope-Id:", &word(id, utf8));
        }
        field("X-Postrider-Id:", &token(self.id));
        field("Arrival-Date:", &date_time(self.arrival_date));
        for recipient in &self.recipients {
            out.extend_from_slice(b"\r\n");
            recipient.write_fields(&mut out, utf8);
        }
        out
    }

    /// The third part: the message where it can be returned whole, else its header.
    fn returned(&self, utf8: bool) -> Part {
        let kind = |global: &'static str, plain: &'static str| if utf8 { global } else { plain };
        let whole = self.returns_content && self.original.len() <= RETURNED_OCTETS_MAX;
        let header_utf8 = !self.returned_header().is_ascii() && std::str::from_utf8(self.original).is_ok();
        let message = whole.then(|| match header_utf8 && !utf8 {
            // A header in UTF-8 cannot stand in a message/rfc822, and a message/global may be encoded (RFC 6532 §3.7).
            true => Some(Part::new("message/global", self.original.to_vec(), "The message", false)),
            false => Part::unencoded(kind("message/global", "message/rfc822"), self.original.to_vec(), "The message"),
        });
        let message = message.flatten();
        message.unwrap_or_else(|| {
            Part::new(kind("message/global-headers", "text/rfc822-headers"), self.returned_header(), "Header of the message", utf8)
        })
    }

    /// Whether the message itself is in the report.
    fn has_content(&self) -> bool {
        self.returned(self.needs_smtputf8()).is_message()
    }

    /// The original's header, cut at a line, without the empty line.
    fn returned_header(&self) -> Vec<u8> {
        let fields: usize = header::Fields::of(self.original).map(|field| field.whole.len()).sum();
        let mut returned = &self.original[..fields];
        if returned.len() > RETURNED_OCTETS_MAX {
            let cut = &returned[..RETURNED_OCTETS_MAX];
            returned = &cut[..memchr::memrchr(b'\n', cut).map_or(0, |at| at + 1)];
        }
        let mut returned = returned.to_vec();
        if !returned.is_empty() && !returned.ends_with(b"\n") {
            returned.extend_from_slice(b"\r\n");
        }
        returned
    }

    /// A boundary that no part holds.
    fn boundary(&self, parts: &[Part]) -> String {
        let mut base = token(self.boundary);
        base.truncate(BOUNDARY_OCTETS_MAX);
        let mut boundary = format!("=_{base}");
        let mut suffix = 0_u32;
        while parts.iter().any(|part| memchr::memmem::find(&part.body, boundary.as_bytes()).is_some()) {
            suffix += 1;
            boundary = format!("=_{base}_{suffix}");
        }
        boundary
    }
}

impl RecipientReport<'_> {
    fn write_fields(&self, out: &mut Vec<u8>, utf8: bool) {
        let mut field = |name: &str, first: &str, text: &str| {
            let mut fold = Fold::new(out, name);
            fold.words(first);
            fold.words(text);
            fold.end();
        };
        if let Some((kind, address)) = self.original_recipient.and_then(|original| original.split_once(';')) {
            field("Original-Recipient:", &format!("{};", token(kind)), &reported(address, utf8));
        }
        let kind = if self.final_recipient.is_ascii() { "rfc822;" } else { "utf-8;" };
        field("Final-Recipient:", kind, &reported(self.final_recipient, utf8));
        field("Action:", self.action.word(), "");
        field("Status:", &self.status_text(), "");
        if let Some(remote) = self.remote_mta {
            field("Remote-MTA:", "dns;", &word(remote, utf8));
        }
        match self.words {
            Some(Words::Remote(said)) => field("Diagnostic-Code:", "smtp;", &phrase(said, utf8)),
            Some(Words::Ours(said)) => field("Diagnostic-Code:", "X-Postrider;", &phrase(said, utf8)),
            None => {}
        }
        if let Some(at) = self.last_attempt {
            field("Last-Attempt-Date:", &date_time(at), "");
        }
        if let Some(at) = self.will_retry_until.filter(|_| self.action == Action::Delayed) {
            field("Will-Retry-Until:", &date_time(at), "");
        }
    }

    /// RFC 3464 §2.3.4: the class agrees with the action, whatever it was derived from.
    fn status_text(&self) -> String {
        let (_, subject, detail) = self.status;
        let class = match self.action {
            Action::Failed => 5,
            Action::Delayed => 4,
            Action::Delivered | Action::Relayed => 2,
        };
        format!("{class}.{}.{}", subject.min(999), detail.min(999))
    }
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
        }
    }
}

/// An argument that stands as one word: harmless, bounded, and ASCII in a report that is.
fn word(text: &str, utf8: bool) -> String {
    let text = printable(text.as_bytes(), NAME_OCTETS_MAX);
    if utf8 { text } else { ascii(&text) }
}

/// An address that is reported. In a report that is ASCII, one that is not stands as RFC 6533 §3 writes it for such ways (`utf-8-addr-xtext`).
fn reported(address: &str, utf8: bool) -> String {
    let address = printable(address.as_bytes(), NAME_OCTETS_MAX);
    if utf8 || address.is_ascii() {
        return address;
    }
    let mut written = String::with_capacity(2 * address.len());
    for letter in address.chars() {
        if letter.is_ascii() && !"\\+=".contains(letter) {
            written.push(letter);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(written, "\\x{{{:X}}}", letter as u32);
        }
    }
    written
}

/// An argument that stands as several words.
fn phrase(text: &str, utf8: bool) -> String {
    let text = printable(text.as_bytes(), WORDS_OCTETS_MAX);
    if utf8 { text } else { ascii(&text) }
}

/// An argument that can hold nothing but letters, digits, dots, hyphens and underscores; never empty.
fn token(text: &str) -> String {
    let text: String =
        text.chars().take(NAME_OCTETS_MAX).filter(|letter| letter.is_ascii_alphanumeric() || "-._".contains(*letter)).collect();
    if text.is_empty() { "unknown".into() } else { text }
}

/// A Message-ID that may stand in a field: brackets around one word (RFC 5322 §3.6.4); none otherwise.
fn message_id(text: &str, utf8: bool) -> Option<String> {
    let inside = text.trim().strip_prefix('<')?.strip_suffix('>')?;
    let fit = |letter: char| !crate::text::deceives(letter) && !" <>(),;".contains(letter) && (utf8 || letter.is_ascii());
    (!inside.is_empty() && inside.len() <= NAME_OCTETS_MAX && inside.chars().all(fit)).then(|| format!("<{inside}>"))
}
