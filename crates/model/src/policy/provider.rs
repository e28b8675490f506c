//! What one mailbox provider accepts. Data, never code branches.

use std::sync::LazyLock;
use std::time::Duration;

use crate::{ProviderName, SiteName};

/// A named rule set for the Sites of one operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// How people call it.
    pub name: ProviderName,
    /// Which Sites it rules.
    pub matches: ProviderMatch,
    /// Whether all its Sites share one set of permits (Google), or each Site has its own.
    pub shared: bool,
    /// Connections at once, for each Source.
    pub connections_max: u32,
    /// Messages in one connection.
    pub messages_per_connection_max: u32,
    /// Messages in a time; `None` is no limit.
    pub message_rate: Option<Rate>,
    /// New connections in a time; `None` is no limit.
    pub connection_rate: Option<Rate>,
    /// Recipients in one transaction.
    pub recipients_per_message_max: u32,
    /// The concurrency window's first size (Postfix: initial_destination_concurrency, 5).
    pub window_initial: u32,
    /// Failed cohorts in a row after which the Site rests (Postfix: 1).
    pub failed_cohorts_max: u32,
    /// How long it rests, at first; doubled with each further failure up to `rest_max`.
    pub rest: Duration,
    /// The longest rest.
    pub rest_max: Duration,
    /// What its replies tell us to do.
    pub rules: Vec<ReplyRule>,
}

/// Which Sites a rule set is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderMatch {
    /// Every Site.
    All,
    /// Sites with an MX host that ends in one of these (lower case, with the leading dot, or whole).
    HostSuffix(Vec<String>),
    /// One Site that policy names itself: smart hosts, mailboxes.
    Site(SiteName),
}

impl ProviderMatch {
    /// Whether a Site is meant.
    pub fn matches_site(&self, site: &SiteName) -> bool {
        match self {
            ProviderMatch::All => true,
            ProviderMatch::Site(name) => name.as_str() == site.hosts(),
            // `smarthost:gw.google.com` is no host of that name.
            ProviderMatch::HostSuffix(_) if site.hosts().contains(':') && !site.hosts().starts_with('[') => false,
            ProviderMatch::HostSuffix(suffixes) => site
                .hosts()
                .split(',')
                .any(|host| suffixes.iter().any(|s| host == s.trim_start_matches('.') || s.starts_with('.') && host.ends_with(s.as_str()))),
        }
    }
}

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
    /// How many may go at once after a pause.
    pub burst: u32,
}

/// A reply and what it tells us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyRule {
    /// The reply's code, or its first digits (`4`, `42`, `421`); zero is any.
    pub code: u16,
    /// The enhanced status it must have, as text (`4.7.28`); `None` is any.
    pub status: Option<String>,
    /// Lower-case text that must occur in it; empty is any.
    pub contains: String,
    /// What to do.
    pub action: RuleAction,
}

/// What a matching reply makes of the delivery and of the Site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleAction {
    /// The Site rests that long for this Source; the delivery is deferred, whatever the code's class.
    Rest(Duration),
    /// The message rate is cut to this for that long; the delivery is deferred.
    Slow(Rate, Duration),
    /// One connection only, for that long; the delivery is deferred.
    OneConnection(Duration),
    /// The delivery is deferred although the code is permanent (some providers say "too fast" with 5xx).
    Defer,
    /// The delivery is bounced although the code is transient.
    Bounce,
}

impl Provider {
    /// What holds where nothing else is said.
    pub fn fallback() -> Self {
        Self {
            name: ProviderName::new("default"),
            matches: ProviderMatch::All,
            shared: false,
            connections_max: 20,
            messages_per_connection_max: 100,
            message_rate: None,
            connection_rate: None,
            recipients_per_message_max: 50,
            window_initial: 5,
            failed_cohorts_max: 1,
            rest: Duration::from_secs(60),
            rest_max: Duration::from_secs(3600),
            rules: Vec::new(),
        }
    }

    pub(super) fn default_ref() -> &'static Self {
        static FALLBACK: LazyLock<Provider> = LazyLock::new(Provider::fallback);
        &FALLBACK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_matches_whole_labels_only() {
        let google = ProviderMatch::HostSuffix(vec![".google.com".into(), "mx.example".into()]);
        for (site, matched) in [
            ("aspmx.l.google.com", true),
            ("alt1.aspmx.l.google.com,aspmx.l.google.com", true),
            ("google.com", true),
            ("evilgoogle.com", false),
            ("mx.example", true),
            ("a.mx.example", false),
            ("google.com.evil.example", false),
            ("bank@alt1.aspmx.l.google.com,aspmx.l.google.com", true),
            ("smarthost:gw.google.com", false),
            ("lmtp:mx.example", false),
        ] {
            assert_eq!(google.matches_site(&SiteName::new(site)), matched, "{site}");
        }
    }
}
