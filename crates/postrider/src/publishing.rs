//! What the domains of the configuration and of the registry have to publish, and what the DNS proves of them.

use std::sync::{Arc, Mutex, PoisonError};

use postrider_core::publish::drift::Standing;
use postrider_core::publish::{Face, Facts, PublicKey};
use postrider_mail::dkim::SigningKey;
use postrider_model::TenantName;
use postrider_model::policy::Snapshot;
use postrider_records::db::DatabaseTrouble;
use postrider_records::{Book, DomainRecord, Found, KeyState};
use postrider_smtp::Domain;

use crate::config::{Config, SendingDomain};

/// A domain that is to be looked at.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// What it has to publish.
    pub facts: Facts,
    /// Whose it is in the registry; `None`: the configuration's.
    pub tenant: Option<TenantName>,
    /// It has just been added, or has new keys: its owner is publishing them, and waits.
    pub pending: bool,
}

/// A domain of the configuration. Nobody asks it for a proof: whoever writes the file runs the relay.
fn of_the_file(domain: &SendingDomain, snapshot: &Snapshot) -> Publisher {
    let key = |(selector, key): &(Box<str>, SigningKey)| PublicKey { selector: selector.clone(), record: key.record().into() };
    let facts = Facts {
        domain: domain.sends_as.name.clone(),
        keys: domain.signer.keys.iter().map(key).collect(),
        return_path: domain.sends_as.return_path.clone(),
        relay: relay_name(snapshot),
        faces: faces(snapshot),
        proof: None,
    };
    Publisher { facts, tenant: None, pending: false }
}

/// A domain of the registry. The record of a retired key may stay for mail under way, and need not.
pub fn of_the_registry(domain: &DomainRecord, snapshot: &Snapshot) -> Publisher {
    let signing = domain.keys.iter().filter(|key| key.state != KeyState::Retired);
    let facts = Facts {
        domain: domain.name.clone(),
        keys: signing.map(|key| PublicKey { selector: key.selector.as_str().into(), record: key.record.as_str().into() }).collect(),
        return_path: Some(domain.return_path.clone()),
        relay: relay_name(snapshot),
        faces: faces(snapshot),
        proof: Some(domain.token.as_str().into()),
    };
    let waits_for_keys = domain.keys.iter().any(|key| key.state == KeyState::Next);
    let pending = domain.proven_at.is_none() || domain.return_path_ready_at.is_none() || waits_for_keys;
    Publisher { facts, tenant: Some(domain.tenant.clone()), pending }
}

/// The name of the relay, to which the mail of return paths goes.
fn relay_name(snapshot: &Snapshot) -> Domain {
    Domain::parse(&snapshot.host_name).unwrap_or_else(|_| Domain::parse("localhost").expect("a constant name"))
}

/// What receivers see of each Source.
pub fn faces(snapshot: &Snapshot) -> Vec<Face> {
    snapshot.sources.iter().map(Face::of).collect()
}

/// The domains of a configuration.
pub fn of_the_configuration(config: &Config) -> Vec<Publisher> {
    config.domains.iter().map(|domain| of_the_file(domain, &config.snapshot)).collect()
}

/// The registry's domains, read again only when anything there was changed: a watch asks every minute.
#[derive(Default)]
pub struct Registered(Mutex<Option<(u64, Arc<Vec<DomainRecord>>)>>);

impl Registered {
    /// All of them.
    pub async fn all(&self, book: &Book) -> Result<Arc<Vec<DomainRecord>>, DatabaseTrouble> {
        let version = book.version().await?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, domains)) = known.filter(|(of, _)| *of == version) {
            return Ok(domains);
        }
        let domains = Arc::new(book.domains(None).await?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((version, domains.clone()));
        Ok(domains)
    }
}

/// What the registry is told of a look. A key of its own in the DNS proves a domain as well as its token.
pub fn found(standing: &Standing) -> Found {
    let served: Vec<String> =
        standing.selectors.iter().filter(|(_, served)| *served == Some(true)).map(|(selector, _)| selector.to_string()).collect();
    Found {
        owned: standing.owned == Some(true) || !served.is_empty(),
        return_path_ready: standing.return_path_ready,
        selectors_served: served,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_told() {
        let standing = |owned, ready, served| Standing {
            owned,
            return_path_ready: ready,
            selectors: vec![("a".into(), served), ("b".into(), Some(false))],
        };
        for (owned, ready, served, expected) in [
            (None, None, None, (false, None, 0)),
            (Some(false), Some(false), Some(false), (false, Some(false), 0)),
            (Some(true), Some(true), None, (true, Some(true), 0)),
            (Some(false), None, Some(true), (true, None, 1)),
        ] {
            let Found { owned, return_path_ready, selectors_served } = found(&standing(owned, ready, served));
            assert_eq!((owned, return_path_ready, selectors_served.len()), expected);
        }
    }
}
