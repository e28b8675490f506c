//! Scenarios whose clients are strangers: servers that may send as [`HOME`], others that hand its mail on, and such as only say that they are.

use std::net::IpAddr;
use std::time::Duration;

use postrider_lab::{Chance, DnsWeather};
use postrider_model::policy::Verifying;

use super::build::domain;
use super::{Change, Scenario};
use crate::world::clients::Wish;
use crate::world::strangers::{Guise, HOME, MAY_SEND, SELECTOR, key};

/// Makes all clients strangers, whose mail to the providers' domains is taken and verified.
pub fn set_up(scenario: &mut Scenario, enforces: bool) {
    scenario.strangers = true;
    scenario.limits.relay_domains = scenario.providers.iter().flat_map(|plan| plan.domains.clone()).collect();
    scenario.snapshot.checking.verifying = Some(Verifying { enforces, timeout: Duration::from_secs(10) });
    scenario.texts = vec![
        (domain(HOME), format!("v=spf1 ip4:{MAY_SEND}.0/24 -all")),
        (domain(&format!("{SELECTOR}._domainkey.{HOME}")), key().record()),
        (domain(&format!("_dmarc.{HOME}")), "v=DMARC1; p=reject".to_owned()),
    ];
    scenario.clients.iter_mut().for_each(|client| client.user.clear());
}

/// The same, with strangers of all kinds.
pub(super) fn random(chance: &mut Chance, scenario: &mut Scenario) {
    set_up(scenario, chance.percent(50));
    if chance.percent(60) {
        let (fail_percent, slow_percent) = (chance.between(10, 60) as u8, chance.below(40) as u8);
        let weather = DnsWeather { fail_percent, slow_percent, slow: Duration::from_secs(chance.between(1, 20)), ..DnsWeather::default() };
        let from = chance.below(60_000);
        // It clears while clients still try, so that mail goes on.
        scenario.changes.extend([(from, Change::Dns(weather)), (from + 300_000, Change::Dns(DnsWeather::default()))]);
    }
    let taken: Vec<String> = scenario.limits.relay_domains.iter().map(ToString::to_string).collect();
    let is_taken = |recipient: &String| recipient.rsplit_once('@').is_some_and(|(_, host)| taken.iter().any(|domain| domain == host));
    for (number, client) in scenario.clients.iter_mut().enumerate() {
        if chance.percent(35) {
            client.address = IpAddr::from([198, 18, 0, number as u8 + 1]);
        }
        for mail in &mut client.mails {
            mail.guise = *chance.pick(&[Guise::Plain, Guise::Plain, Guise::Signed, Guise::Broken, Guise::Forging]);
            mail.recipients.retain(is_taken);
            if mail.recipients.is_empty() {
                mail.recipients.push("user1@p1.example".to_owned());
            }
            // Nobody holds mail for strangers.
            if matches!(mail.wish, Wish::Hold(_)) {
                mail.wish = Wish::None;
            }
        }
    }
}
