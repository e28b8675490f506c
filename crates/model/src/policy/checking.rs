//! Who looks at mail before it is taken, and what may be changed in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postrider_smtp::Mailbox;
use regex::{Regex, RegexBuilder};

use super::{Remote, SenderMatch};
use crate::StreamName;

/// Octets that a pattern may take when it is compiled: a pattern above this is a mistake, or an attack on whoever wrote it.
const PATTERN_OCTETS_MAX: usize = 1 << 20;

/// The name of the listener that mail has which no listener took: handed over on this machine, or by HTTP.
pub const LOCAL_LISTENER: &str = "local";

/// All of it, in the order in which it works.
#[derive(Debug, Clone, Default)]
pub struct Checking {
    /// Other addresses for some.
    pub rewriting: Rewriting,
    /// Foreign judges, each of which sees what the one before changed.
    pub milters: Vec<Arc<Milter>>,
    /// What is done about fields, before milters see them.
    pub header_rules: Vec<HeaderRule>,
    /// Who gets a blind copy, in the end.
    pub archives: Vec<Archive>,
    /// How mail of strangers is verified, before anybody else sees it; `None`: it is not.
    pub verifying: Option<Verifying>,
}

/// How mail of strangers is verified: SPF, DKIM, DMARC and ARC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verifying {
    /// What a domain asks for by its DMARC policy is done; else it is only told.
    pub enforces: bool,
    /// How long all look-ups of one message may take. What is not known then counts as temporary failure. RFC 7208 §4.6.4 would give SPF alone 20 s; but the client waits
    /// for its 250 meanwhile, and a temporary failure refuses nothing for good.
    pub timeout: Duration,
}

impl Default for Verifying {
    fn default() -> Self {
        Self { enforces: false, timeout: Duration::from_secs(10) }
    }
}

/// Which mail: by the listener it came to, and by its stream. What is empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Listeners by name.
    pub listeners: Vec<Box<str>>,
    /// Streams by name.
    pub streams: Vec<StreamName>,
}

impl Scope {
    /// Whether mail of this stream that came to this listener is meant.
    pub fn covers(&self, listener: &str, stream: &StreamName) -> bool {
        (self.listeners.is_empty() || self.listeners.iter().any(|name| **name == *listener))
            && (self.streams.is_empty() || self.streams.contains(stream))
    }
}

/// A foreign judge that speaks the milter protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Milter {
    /// How the configuration calls it.
    pub name: Box<str>,
    /// Where it listens.
    pub server: MilterServer,
    /// Which mail it sees.
    pub scope: Scope,
    /// How long a connection to it may take.
    pub connect_timeout: Duration,
    /// How long an answer to a command may take.
    pub command_timeout: Duration,
    /// How long its judgement of a content may take.
    pub content_timeout: Duration,
    /// What becomes of mail that it cannot judge.
    pub on_failure: OnFailure,
    /// The same, of streams that have a rule of their own.
    pub on_failure_of: Vec<(StreamName, OnFailure)>,
}

impl Milter {
    /// What becomes of a stream's mail when this milter fails.
    pub fn on_failure_for(&self, stream: &StreamName) -> OnFailure {
        self.on_failure_of.iter().find(|(of, _)| of == stream).map_or(self.on_failure, |(_, choice)| *choice)
    }
}

/// Other addresses for some (Postfix's canonical and generic maps).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewriting {
    /// For senders and recipients, in the envelope and in the header, when mail is taken.
    pub canonical: AddressMap,
    /// For senders alone, before the other.
    pub sender_canonical: AddressMap,
    /// For recipients alone, before the other.
    pub recipient_canonical: AddressMap,
    /// For all addresses, when mail leaves for another server by SMTP.
    pub generic: AddressMap,
    /// What stands between a user and a detail.
    pub delimiter: Option<char>,
    /// The domain of names that a map gives without one.
    pub origin: Box<str>,
}

/// Addresses and what stands in their place. Keys are in lower case: `user@domain`, `user`, `@domain`; values may lack a domain (`user`) or a user (`@domain`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressMap(pub BTreeMap<Box<str>, Box<str>>);

/// A rule about header fields.
#[derive(Debug, Clone)]
pub struct HeaderRule {
    /// How the configuration calls it.
    pub name: Box<str>,
    /// Which mail it is for.
    pub scope: Scope,
    /// Which fields, by their name; `None` is all.
    pub field: Option<Box<str>>,
    /// What their value is like.
    pub pattern: Pattern,
    /// The pattern sees encoded words decoded (RFC 2047), as a person does.
    pub decoded: bool,
    /// What is done.
    pub action: HeaderAction,
}

/// A regular expression, of linear time; letters have no case in it unless it says so.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads it; `Err` tells what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text).case_insensitive(true).size_limit(PATTERN_OCTETS_MAX).build();
        built.map(Self).map_err(|trouble| trouble.to_string().lines().last().unwrap_or_default().trim().to_owned())
    }

    /// Whether it is found in a text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// What a header rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderAction {
    /// The client is refused, with these words.
    Reject(Box<str>),
    /// The message is taken and held, for this reason.
    Hold(Box<str>),
    /// The message is taken and thrown away.
    Discard,
    /// The field goes.
    Remove,
    /// Another field, name and value, stands in its place.
    Replace(Box<str>, Box<str>),
    /// Another field stands before it.
    Prepend(Box<str>, Box<str>),
    /// Another field stands behind the last one.
    Add(Box<str>, Box<str>),
    /// A line in the mail log.
    Warn,
}

/// Who gets a blind copy of which mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The archive.
    pub to: Mailbox,
    /// Which mail.
    pub scope: Scope,
    /// From these senders; empty is all.
    pub senders: Vec<SenderMatch>,
    /// With one of these recipients; empty is all.
    pub recipients: Vec<SenderMatch>,
}

/// Where a milter listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MilterServer {
    /// On a socket of this machine.
    Unix(PathBuf),
    /// On a port.
    Tcp(Remote, u16),
}

impl std::fmt::Display for MilterServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MilterServer::Unix(path) => write!(f, "unix:{}", path.display()),
            MilterServer::Tcp(host, port) => write!(f, "inet:{port}@{host}"),
        }
    }
}

/// What becomes of mail that nobody could judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It is taken without that judgement: fail open.
    Accept,
    /// The client is told to come again: fail closed, and nothing is lost.
    TempFail,
    /// The client is refused for good.
    Reject,
    /// It is taken and held until a person looks at it.
    Hold,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_all_that_is_said() {
        let (a, b) = (StreamName::new("a"), StreamName::new("b"));
        for (listeners, streams, covered) in [
            (&[][..], &[][..], [true, true, true]),
            (&["in"], &[], [true, true, false]),
            (&[], &["a"], [true, false, true]),
            (&["in"], &["a"], [true, false, false]),
        ] {
            let scope = Scope {
                listeners: listeners.iter().map(|name| (*name).into()).collect(),
                streams: streams.iter().map(|name| StreamName::new(name)).collect(),
            };
            assert_eq!([scope.covers("in", &a), scope.covers("in", &b), scope.covers("out", &a)], covered, "{scope:?}");
        }
    }
}
