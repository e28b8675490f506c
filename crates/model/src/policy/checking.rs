//! Who looks at mail before it is taken, and what may be changed in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Remote;
use crate::StreamName;

/// The name of the listener that mail has which no listener took: handed over on this machine, or by HTTP.
pub const LOCAL_LISTENER: &str = "local";

/// All of it, in the order in which it works.
#[derive(Debug, Clone, Default)]
pub struct Checking {
    /// Foreign judges, each of which sees what the one before changed.
    pub milters: Vec<Arc<Milter>>,
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
