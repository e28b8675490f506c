//! C1, of strangers: what the relay says of their mail is the truth, or that the DNS did not tell; and who is refused for good deserves it.

use std::net::IpAddr;

use postrider_lab::DnsWeather;
use postrider_mail::{Field, Fields};

use super::Found;
use super::evidence::Evidence;
use crate::scenario::{Change, Scenario};
use crate::world::strangers::{Truth, truth};
use crate::world::{Offered, Verdict};

/// Strangers, as the judge knows them.
#[derive(Debug, Clone)]
pub struct Strangers {
    /// Their addresses, by client.
    pub addresses: Vec<IpAddr>,
    /// What a domain asks for is done.
    pub enforces: bool,
    /// The DNS answers always, and at once.
    pub dns_is_fine: bool,
}

impl Strangers {
    /// Those of a scenario.
    pub(super) fn of(scenario: &Scenario) -> Option<Self> {
        let bad = |change: &Change| matches!(change, Change::Dns(weather) if *weather != DnsWeather::default());
        scenario.strangers.then(|| Self {
            addresses: scenario.clients.iter().map(|client| client.address).collect(),
            enforces: scenario.snapshot.checking.verifying.is_some_and(|verifying| verifying.enforces),
            dns_is_fine: !scenario.changes.iter().any(|(_, change)| bad(change)),
        })
    }

    fn truth(&self, evidence: &Evidence, offered: &Offered) -> Option<Truth> {
        let (client, mail) = offered.mail;
        Some(truth(evidence.mails.get(client)?.get(mail)?, *self.addresses.get(client)?))
    }
}

/// Only what a domain disowns is refused for good where domains are followed, and it is never taken.
pub(super) fn verdict(strangers: &Strangers, evidence: &Evidence, offered: &Offered, found: &mut Found) {
    let Some(truth) = strangers.truth(evidence, offered) else { return };
    let is_disowned = strangers.enforces && truth.dmarc == "fail";
    match offered.verdict {
        Verdict::Refused(code @ 500..) if !is_disowned => found.say("C1", format!("{} was refused for good: {code}", offered.token)),
        Verdict::Positive(_) if is_disowned => found.say("C1", format!("{} was taken, although its domain disowns it", offered.token)),
        Verdict::Positive(_) | Verdict::Refused(_) | Verdict::Broken | Verdict::Unknown => {}
    }
}

/// What is told in front of a mail that arrived: one field of ours, and nothing that the truth is not.
pub(super) fn head(strangers: &Strangers, evidence: &Evidence, offered: &Offered, head: &[u8], found: &mut Found) {
    let (token, fields) = (&offered.token, Fields::of(head).collect::<Vec<_>>());
    let Some(told) = fields.iter().find(|field| field.is("Authentication-Results")) else { return };
    let Some(truth) = strangers.truth(evidence, offered) else { return };
    for (method, expected) in [("spf", truth.spf), ("dkim", truth.dkim), ("dmarc", truth.dmarc)] {
        let results = results(told, method);
        let is_true = |result: &String| result == expected || (!strangers.dns_is_fine && result == "temperror");
        if results.len() != 1 || !results.iter().all(is_true) {
            found.say("C1", format!("{token} arrived with {method}={results:?}, and the truth is {expected}"));
        }
    }
}

/// What a field says that a method found.
pub(crate) fn results(field: &Field<'_>, method: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(field.value);
    let results = text.split(';').skip(1).filter_map(|result| result.trim_ascii_start().strip_prefix(method)?.strip_prefix('='));
    results.map(|result| result.chars().take_while(char::is_ascii_alphabetic).collect()).collect()
}
