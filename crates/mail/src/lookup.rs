//! What a verdict needs to know of the DNS, as data.
//!
//! A verdict is a pure function of a message and of what is known. Where something is missing it says what, its caller asks, and it is reached again from
//! the start with one answer more: so there is no state between, and the same answers always give the same verdict.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is to be asked. Names are in lower case, without the dot at their end, and may be such as no DNS holds: then there is nothing there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// The TXT records of a name.
    Texts(String),
    /// The addresses of a name, of one family.
    Addresses {
        /// The name.
        name: String,
        /// AAAA instead of A.
        ipv6: bool,
    },
    /// The mail exchangers of a name.
    Exchangers(String),
    /// The names that an address points back to.
    Pointers(IpAddr),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// TXT records, each with its strings joined.
    Texts(Vec<Vec<u8>>),
    /// Addresses.
    Addresses(Vec<IpAddr>),
    /// Names, of exchangers or that pointers lead to, in lower case without a dot at the end.
    Names(Vec<String>),
    /// There is no such name, or nothing of this kind.
    Nothing,
    /// Nobody knows now. Never a fact.
    Failed,
}

/// What is known.
pub type Known = BTreeMap<Question, Answer>;

/// What is known of a question; `Err` with the question where nothing is.
pub(crate) fn ask(known: &Known, question: Question) -> Result<&Answer, Question> {
    known.get(&question).ok_or(question)
}

/// Whether the DNS can hold a name (RFC 1035 §2.3.4).
pub(crate) fn is_possible(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}
