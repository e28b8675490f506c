//! What people send another way, in a small file of the data directory, and as detours of policy (docs/adr/0013).
//!
//! **Promises.** A change is in the file, synced, before it is answered and before the relay knows it. The file names routes and never holds one: each is looked up
//! in the configuration that is in force, and one that is not there any more is passed over, and told.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use postrider_http::Reroute;
use postrider_model::doors::SenderFilter;
use postrider_model::policy::{Detour, DomainMatch, Routing, Rule, SenderMatch, Target, TlsLevel};
use postrider_model::{MessageId, StreamName, TenantName, Timestamp};
use postrider_smtp::{Host, Mailbox};
use serde::{Deserialize, Serialize};

use crate::kept::{self, About};

const ABOUT: About = About { version: 1, says: "what is sent another way", without: "with nothing sent another way" };

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    /// The number of the next.
    next: u64,
    rerouted: Vec<StoredReroute>,
}

/// One of them. Instants are milliseconds since the epoch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredReroute {
    number: u64,
    to: String,
    #[serde(default)]
    messages: Vec<String>,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    hosts: Vec<String>,
    /// `<>`, a mailbox, or a host.
    #[serde(default)]
    sender: Option<String>,
    accepted_to_ms: Option<u64>,
    since_ms: u64,
    until_ms: Option<u64>,
    reason: String,
}

/// All of them, and the number of the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reroutes {
    /// The number that the next gets.
    pub next: u64,
    /// The newest last.
    pub all: Vec<Reroute>,
}

impl Reroutes {
    /// What the file says; nothing when there is none.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let Some(stored) = kept::read::<Stored>(path, &ABOUT)? else { return Ok(Self { next: 1, all: Vec::new() }) };
        let all = stored.rerouted.into_iter().map(|one| {
            let number = one.number;
            taken(one).ok_or_else(|| {
                anyhow::anyhow!(
                    "{}: number {number} does not say whose mail it is; correct it, or remove it to start {}",
                    path.display(),
                    ABOUT.without
                )
            })
        });
        Ok(Self { next: stored.next, all: all.collect::<anyhow::Result<_>>()? })
    }

    /// Writes the file anew.
    pub fn store(&self, path: &Path) -> std::io::Result<()> {
        kept::replace(path, &Stored { version: ABOUT.version, next: self.next, rerouted: self.all.iter().map(given).collect() })
    }

    /// The same without what has ended.
    pub fn in_force(&self, now: Timestamp) -> Self {
        let all = self.all.iter().filter(|one| one.until.is_none_or(|until| until > now)).cloned().collect();
        Self { next: self.next, all }
    }

    /// When the next of them ends.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.all.iter().filter_map(|one| one.until).min()
    }

    /// As detours of this policy, the newest first. Those that lead nowhere are passed over, and told.
    pub fn detours(&self, routing: &Routing) -> Vec<Detour> {
        let mut detours = Vec::new();
        for one in self.all.iter().rev() {
            match detour(one, routing) {
                Ok(detour) => detours.push(detour),
                Err(why) => tracing::warn!("mail is not sent another way as number {} says: {why}", one.number),
            }
        }
        detours
    }
}

/// What a reroute is by this policy; or a sentence why it is nothing.
pub fn detour(one: &Reroute, routing: &Routing) -> Result<Detour, String> {
    let plain = |target| (target, TlsLevel::Opportunistic, false, None);
    let named = routing.rules.iter().find(|rule| rule.name == one.to);
    let (target, tls, tls13_only, pool) = match (named, routing.smart_hosts.get(&one.to)) {
        (Some(rule), _) => (rule.target.clone(), rule.tls, rule.tls13_only, rule.pool.clone()),
        (None, Some(host)) => plain(Target::SmartHosts(vec![host.clone()])),
        (None, None) if one.to == "mx" => plain(Target::Mx),
        (None, None) => {
            let rules = routing.rules.iter().map(|rule| rule.name.as_str());
            let names: BTreeSet<&str> = rules.chain(routing.smart_hosts.keys().map(String::as_str)).chain(["mx"]).collect();
            let names: Vec<&str> = names.into_iter().collect();
            return Err(format!("the configuration has no route or smart host of the name {:?}; it has {}", one.to, names.join(", ")));
        }
    };
    if matches!(target, Target::Reject(_)) {
        return Err(format!("the route {:?} takes no mail; `postrider queue bounce` ends what waits, and tells its senders", one.to));
    }
    let recipients = one.hosts.iter().map(|host| match host {
        Host::Domain(domain) => DomainMatch::Exact(domain.to_ascii().into_owned()),
        Host::Literal(address) => DomainMatch::Address(*address),
    });
    let senders = one.sender.iter().map(|sender| match sender {
        SenderFilter::Null => SenderMatch::Null,
        SenderFilter::Mailbox(mailbox) => SenderMatch::Mailbox(mailbox.clone()),
        SenderFilter::Host(Host::Domain(domain)) => SenderMatch::Domain(DomainMatch::Exact(domain.to_ascii().into_owned())),
        SenderFilter::Host(Host::Literal(address)) => SenderMatch::Domain(DomainMatch::Address(*address)),
    });
    let rule = Rule {
        name: one.to.clone(),
        recipients: recipients.collect(),
        senders: senders.collect(),
        tenants: one.tenant.iter().cloned().collect(),
        streams: one.stream.iter().cloned().collect(),
        target,
        tls,
        tls13_only,
        pool,
    };
    Ok(Detour { rule, messages: Arc::new(one.messages.clone()), accepted_to: one.accepted_to })
}

fn given(one: &Reroute) -> StoredReroute {
    StoredReroute {
        number: one.number,
        to: one.to.clone(),
        messages: one.messages.iter().map(ToString::to_string).collect(),
        tenant: one.tenant.as_ref().map(ToString::to_string),
        stream: one.stream.as_ref().map(ToString::to_string),
        hosts: one.hosts.iter().map(ToString::to_string).collect(),
        sender: one.sender.as_ref().map(ToString::to_string),
        accepted_to_ms: one.accepted_to.map(Timestamp::millis),
        since_ms: one.since.millis(),
        until_ms: one.until.map(Timestamp::millis),
        reason: one.reason.to_string(),
    }
}

fn taken(stored: StoredReroute) -> Option<Reroute> {
    let sender = match stored.sender.as_deref() {
        None => None,
        Some("<>") => Some(SenderFilter::Null),
        Some(mailbox) if mailbox.contains('@') => Some(SenderFilter::Mailbox(Mailbox::parse(mailbox).ok()?)),
        Some(host) => Some(SenderFilter::Host(Host::parse(host).ok()?)),
    };
    Some(Reroute {
        number: stored.number,
        to: stored.to,
        messages: stored.messages.iter().map(|id| id.parse::<MessageId>().ok()).collect::<Option<_>>()?,
        tenant: stored.tenant.as_deref().map(TenantName::new),
        stream: stored.stream.as_deref().map(StreamName::new),
        hosts: stored.hosts.iter().map(|host| Host::parse(host).ok()).collect::<Option<_>>()?,
        sender,
        accepted_to: stored.accepted_to_ms.map(Timestamp::from_millis),
        since: Timestamp::from_millis(stored.since_ms),
        until: stored.until_ms.map(Timestamp::from_millis),
        reason: stored.reason.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reroute(number: u64, to: &str) -> Reroute {
        Reroute {
            number,
            to: to.to_owned(),
            messages: BTreeSet::new(),
            tenant: None,
            stream: None,
            hosts: Vec::new(),
            sender: None,
            accepted_to: None,
            since: Timestamp::from_millis(5),
            until: None,
            reason: "".into(),
        }
    }

    #[test]
    fn what_is_stored_is_loaded_and_what_is_not_understood_is_refused() {
        let root = std::env::temp_dir().join(format!("postrider-rerouted-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let path = root.join("rerouted.json");
        assert_eq!(Reroutes::load(&path).unwrap(), Reroutes { next: 1, all: Vec::new() });
        let senders = [
            SenderFilter::Null,
            SenderFilter::Mailbox(Mailbox::parse("a@b.example").unwrap()),
            SenderFilter::Host(Host::parse("c.example").unwrap()),
        ];
        let all = senders.into_iter().zip(1..).map(|(sender, number)| Reroute {
            messages: BTreeSet::from([MessageId::new(Timestamp::from_millis(7), [1; 10])]),
            tenant: Some("shop".into()),
            stream: Some("news".into()),
            hosts: vec![Host::parse("d.example").unwrap(), Host::parse("[192.0.2.1]").unwrap()],
            sender: Some(sender),
            accepted_to: Some(Timestamp::from_millis(9)),
            until: Some(Timestamp::from_millis(11)),
            reason: "a \"reason\"".into(),
            ..reroute(number, "away")
        });
        let reroutes = Reroutes { next: 4, all: all.collect() };
        reroutes.store(&path).unwrap();
        assert_eq!(Reroutes::load(&path).unwrap(), reroutes);
        assert_eq!(reroutes.in_force(Timestamp::from_millis(10)), reroutes);
        assert_eq!(reroutes.in_force(Timestamp::from_millis(11)).all, []);
        let damaged = std::fs::read_to_string(&path).unwrap().replace("d.example", "d example");
        for (text, said) in [("{\"version\":9}", "another release (form 9"), ("{", "does not say"), (damaged.as_str(), "number 1")] {
            std::fs::write(&path, text).unwrap();
            let refused = Reroutes::load(&path).unwrap_err().to_string();
            assert!(refused.contains(said) && refused.contains("remove"), "{refused}");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_newest_goes_first_and_what_leads_nowhere_is_passed_over() {
        let routing = Routing::default();
        let all = vec![reroute(1, "mx"), reroute(2, "gone"), Reroute { tenant: Some("shop".into()), ..reroute(3, "mx") }];
        let detours = Reroutes { next: 4, all }.detours(&routing);
        assert_eq!(detours.iter().map(|detour| detour.rule.tenants.len()).collect::<Vec<_>>(), [1, 0]);
        let refused = detour(&reroute(2, "gone"), &routing).unwrap_err();
        assert!(refused.contains("\"gone\"") && refused.contains("mx"), "{refused}");
    }
}
