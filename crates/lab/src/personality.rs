//! How a provider behaves: data only.

use std::time::Duration;

use crate::throttle::Throttle;

/// A provider's manners. [`Personality::honest`] is the neutral one; others differ from it in some fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Personality {
    /// The name it says in its greeting.
    pub host_name: String,
    /// What its EHLO offers.
    pub offers: Offers,
    /// 450 for a (peer, from, to) that was first seen less than this ago.
    pub greylist: Option<Duration>,
    /// A limit that nobody was told.
    pub throttle: Option<Throttle>,
    /// Whether there is room for mail.
    pub space: Space,
    /// How fast it speaks.
    pub pace: Pace,
    /// Recipients of one transaction; the rest hear 452 4.5.3.
    pub recipients_max: usize,
    /// What goes wrong, and how often. The first that strikes at a moment counts.
    pub faults: Vec<Fault>,
}

/// Extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// EHLO is understood at all.
    pub esmtp: bool,
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870, with its limit in octets.
    pub size: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 2034.
    pub enhanced_status: bool,
}

/// Whether there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Yes.
    Enough,
    /// RCPT hears 452 4.2.2.
    MailboxFull,
    /// RCPT hears 552 5.2.2, as some servers say it.
    MailboxOver,
    /// MAIL hears 452 4.3.1.
    DiskFull,
}

/// How fast it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// The pause before each reply (tarpit).
    pub reply: Duration,
    /// The pause after each octet (drip).
    pub octet: Duration,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: Moment,
    /// What.
    pub kind: FaultKind,
    /// In how many of a hundred cases.
    pub percent: u8,
}

impl Fault {
    /// Its kind, for people who count.
    pub fn manner(&self) -> &'static str {
        let end_of_data = self.at == Moment::EndOfData;
        match &self.kind {
            FaultKind::TakeAndDrop if end_of_data => "takes the mail and hangs up",
            FaultKind::TakeAndSilence if end_of_data => "takes the mail and says nothing",
            FaultKind::Drop | FaultKind::TakeAndDrop => "hangs up",
            FaultKind::Silence | FaultKind::TakeAndSilence => "falls silent",
            FaultKind::Reply(text) if text.starts_with('5') => "says never",
            FaultKind::Reply(_) => "says not now",
            FaultKind::ReplyAndDrop(_) => "says so and hangs up",
            FaultKind::Hostile(_) => "says what no server should say",
        }
    }
}

/// Moments of a session at which a reply is due; `Content` is the middle of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The greeting.
    Connect,
    /// EHLO, HELO.
    Hello,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA.
    Data,
    /// Some content came.
    Content,
    /// The final dot came.
    EndOfData,
    /// QUIT.
    Quit,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// It hangs up without a word, and has taken nothing.
    Drop,
    /// It says nothing more, ever, and has taken nothing.
    Silence,
    /// It took the mail, and hangs up without a word (at `EndOfData`; elsewhere as `Drop`).
    TakeAndDrop,
    /// It took the mail, and says nothing (at `EndOfData`; elsewhere as `Silence`).
    TakeAndSilence,
    /// It says this, code first, and means it.
    Reply(String),
    /// It says this and hangs up.
    ReplyAndDrop(String),
    /// What no server should say.
    Hostile(Hostile),
}

/// Replies of a server that is broken, or means harm. With none of them is mail taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hostile {
    /// `550` without text.
    Bare550,
    /// `250-` for ever.
    Endless,
    /// A code that does not exist.
    Code999,
    /// A reply of lines with differing codes.
    Differing,
    /// One line that does not end.
    LongLine,
    /// Octets of no alphabet.
    Garbage,
    /// An extra, unasked reply behind a 451.
    Double,
}

impl Personality {
    /// Takes what comes, at once, with all extensions but TLS.
    pub fn honest(host_name: &str) -> Self {
        Self {
            host_name: host_name.to_owned(),
            offers: Offers {
                esmtp: true,
                pipelining: true,
                size: Some(64 * 1024 * 1024),
                eight_bit_mime: true,
                smtputf8: true,
                starttls: false,
                enhanced_status: true,
            },
            greylist: None,
            throttle: None,
            space: Space::Enough,
            pace: Pace::default(),
            recipients_max: 100,
            faults: Vec::new(),
        }
    }

    /// The same, with a fault.
    #[must_use]
    pub fn with(mut self, at: Moment, kind: FaultKind, percent: u8) -> Self {
        self.faults.push(Fault { at, kind, percent });
        self
    }
}
