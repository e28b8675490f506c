//! Why something may not go now, as data, and as one sentence.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postrider_model::doors::Suspended;
use postrider_model::policy::Rate;
use postrider_model::{ProviderName, SourceName, Timestamp};

/// What holds a connection or a message back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What.
    pub reason: HoldReason,
    /// Since when.
    pub since: Timestamp,
    /// Until when, where time alone ends it. Otherwise a connection must close first.
    pub until: Option<Timestamp>,
}

/// The reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldReason {
    /// Nobody could be reached; the Site rests for this Source.
    Resting {
        /// Rests in a row, this one included.
        rests: u32,
    },
    /// A reply matched a rule of the provider that says so.
    AdvisedRest {
        /// Whose rule.
        provider: ProviderName,
    },
    /// A reply matched a rule of the provider that allows one connection for now.
    OneConnection {
        /// Whose rule.
        provider: ProviderName,
    },
    /// As many connections as the policy allows.
    Connections {
        /// Open now.
        used: u32,
        /// Allowed.
        max: u32,
        /// The provider, when its Sites share them.
        shared: Option<ProviderName>,
    },
    /// As many connections as the concurrency window allows.
    Window {
        /// Open now.
        used: u32,
        /// Allowed now.
        window: u32,
    },
    /// As many connections as the relay may have in all.
    Total {
        /// Allowed.
        max: u32,
    },
    /// A connection is free, but others have waited for it longer.
    Line {
        /// The provider whose connections they wait for; `None` for the relay's own.
        shared: Option<ProviderName>,
    },
    /// The relay's connections are scarce, others have none, and this Route has its part.
    Share {
        /// Open now.
        used: u32,
        /// Its part.
        share: u32,
    },
    /// New connections come too fast.
    ConnectionRate {
        /// The limit.
        rate: Rate,
        /// Whose.
        provider: ProviderName,
    },
    /// Messages come too fast.
    MessageRate {
        /// The limit.
        rate: Rate,
        /// Whose.
        provider: ProviderName,
    },
    /// Messages come too fast for the rate that a rule of the provider set for now.
    Slowed {
        /// The limit.
        rate: Rate,
        /// Whose rule.
        provider: ProviderName,
    },
    /// It has a connection, took no message on it yet, and half of the relay's connections are in use.
    Unproven,
    /// Every smart host has been given what it lets through in a time; this one is the first that takes more.
    Quota {
        /// Its name.
        host: String,
        /// `hour` or `day`.
        span: &'static str,
        /// Recipients in that time.
        max: u32,
    },
    /// A person suspended it.
    Suspended {
        /// What.
        what: Suspended,
        /// Why, as the person said; may be empty.
        why: Arc<str>,
    },
    /// The Source cannot be used, because of the proxy that dials for it.
    SourceDown {
        /// Its name.
        source: SourceName,
        /// What is wrong.
        why: Arc<str>,
    },
    /// This connection has carried all it may; another can be opened.
    UsedUp {
        /// Messages in one connection.
        messages: u32,
    },
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HoldReason::Resting { rests: 1 } => write!(f, "resting after a failed cohort of connections"),
            HoldReason::Resting { rests } => write!(f, "resting after {rests} failed cohorts of connections in a row"),
            HoldReason::AdvisedRest { provider } => write!(f, "resting because of a reply of provider {provider}"),
            HoldReason::OneConnection { provider } => write!(f, "one connection only for now, because of a reply of provider {provider}"),
            HoldReason::Connections { used, max, shared: None } => write!(f, "{used} of {max} connections in use"),
            HoldReason::Connections { used, max, shared: Some(provider) } => {
                write!(f, "{used} of {max} connections of provider {provider} in use")
            }
            HoldReason::Window { used, window } => write!(f, "{used} of {window} connections of the concurrency window in use"),
            HoldReason::Total { max } => write!(f, "all {max} connections out are in use"),
            HoldReason::Line { shared: None } => write!(f, "others have waited longer for a connection out"),
            HoldReason::Unproven => {
                f.write_str("its first connection has not delivered anything yet, and half of the relay's connections are in use")
            }
            HoldReason::Share { used, share } => {
                write!(f, "{used} connections are open, its part of the relay's is {share}, and others have none yet")
            }
            HoldReason::Line { shared: Some(provider) } => write!(f, "others have waited longer for a connection of provider {provider}"),
            HoldReason::ConnectionRate { rate, provider } => {
                write!(f, "connection rate {} of provider {provider} reached", Spoken(rate))
            }
            HoldReason::MessageRate { rate, provider } => write!(f, "message rate {} of provider {provider} reached", Spoken(rate)),
            HoldReason::Slowed { rate, provider } => {
                write!(f, "slowed to {} because of a reply of provider {provider}", Spoken(rate))
            }
            HoldReason::Quota { host, span, max } => write!(f, "smart host {host} has been given its {max} recipients of this {span}"),
            HoldReason::Suspended { what, why } if why.is_empty() => write!(f, "{what} is suspended by hand"),
            HoldReason::Suspended { what, why } => write!(f, "{what} is suspended by hand: {why}"),
            HoldReason::SourceDown { source, why } => write!(f, "source {source} cannot be used: {why}"),
            HoldReason::UsedUp { messages: 1 } => write!(f, "this connection has carried its one message"),
            HoldReason::UsedUp { messages } => write!(f, "this connection has carried its {messages} messages"),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

/// A rate as people write it: `10/min`.
struct Spoken<'a>(&'a Rate);

impl fmt::Display for Spoken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(1, "s"), (60, "min"), (3_600, "h"), (86_400, "day")];
        let Rate { count, per, .. } = self.0;
        match UNITS.iter().find(|(seconds, _)| *per == Duration::from_secs(*seconds)) {
            Some((_, unit)) => write!(f, "{count}/{unit}"),
            None => write!(f, "{count} in {} s", per.as_secs_f64()),
        }
    }
}
