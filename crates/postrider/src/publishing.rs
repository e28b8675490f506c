//! What the domains of a configuration have to publish.

use postrider_core::publish::{Face, Facts, PublicKey};
use postrider_model::policy::Snapshot;
use postrider_smtp::Domain;

use crate::config::{Config, SendingDomain};

/// What is known of a domain of the configuration. Nobody asks it for a proof: whoever writes the file runs the relay.
pub fn facts(domain: &SendingDomain, snapshot: &Snapshot) -> Facts {
    let key = |(selector, key): &(Box<str>, postrider_mail::dkim::SigningKey)| PublicKey {
        selector: selector.clone(),
        record: key.record().into(),
    };
    Facts {
        domain: domain.sends_as.name.clone(),
        keys: domain.signer.keys.iter().map(key).collect(),
        return_path: domain.sends_as.return_path.clone(),
        relay: relay_name(snapshot),
        faces: faces(snapshot),
        proof: None,
    }
}

/// The name of the relay, to which the mail of return paths goes.
pub fn relay_name(snapshot: &Snapshot) -> Domain {
    Domain::parse(&snapshot.host_name).unwrap_or_else(|_| Domain::parse("localhost").expect("a constant name"))
}

/// What receivers see of each Source.
pub fn faces(snapshot: &Snapshot) -> Vec<Face> {
    snapshot.sources.iter().map(Face::of).collect()
}

/// All domains of a configuration.
pub fn all(config: &Config) -> Vec<Facts> {
    config.domains.iter().map(|domain| facts(domain, &config.snapshot)).collect()
}
