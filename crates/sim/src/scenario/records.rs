//! Scenarios of the registry's database: it does not answer, or late; and words of silence, which stand in it.

use std::time::Duration;

use postrider_lab::Chance;

use super::build::{client, mail, provider, scenario};
use super::{Change, End, How, Scenario, When};
use crate::world::acts::TELLING;
use crate::world::clients::MailPlan;
use crate::world::disk::{Crash, Loss};
use crate::world::registry::{BOUND_TENANT, SIGNED_TENANT};
use crate::world::{RegistryWeather, Unsubscriber};

/// All with a name.
pub(super) fn named() -> Vec<Scenario> {
    let mut all = vec![weather("a registry that is silent", 400, RegistryWeather::Silent)];
    all.push(weather("a registry that answers now and then", 404, RegistryWeather::Patchy));
    all.push(weather("a registry that is silent about all that is not in memory", 406, RegistryWeather::Remembered));
    all.push(weather("a registry that is slow", 402, RegistryWeather::Slow(Duration::from_secs(7))));
    all.push(words("words of silence", 410, Vec::new()));
    for (nth, loss) in [Loss::All, Loss::Tail, Loss::Sectors, Loss::Nothing].into_iter().enumerate() {
        let end = |nth| End { when: When::Disk(Crash::Amid(TELLING, nth)), how: How::Power(loss), down_ms: 500 };
        let name = format!("words of silence, and the power goes while they are told, losing {loss:?}");
        all.push(words(&name, 420 + 2 * nth as u64, [1, 1, 2, 3, 1, 2].map(end).to_vec()));
    }
    let end = |after| End { when: When::After(after), how: How::Kill, down_ms: 500 };
    all.push(words("words of silence, and the relay is killed", 430, (0..12).map(|nth| end(2_000 + nth * 331)).collect()));
    let mut silent = words("words of silence into a database that is silent", 432, vec![end(90_000)]);
    silent.changes.push((8_000, Change::Registry(RegistryWeather::Silent)));
    silent.changes.push((200_000, Change::Registry(RegistryWeather::Fine)));
    silent.changes.sort_by_key(|(at, _)| *at);
    all.push(silent);
    all
}

fn letters(count: u64, every_ms: u64, from: &str) -> Vec<MailPlan> {
    (0..count).map(|nth| mail(nth * every_ms, from, &[&format!("user{nth}@p1.example"), "friend@p1.example"])).collect()
}

/// Those who get [`letters`] and want none of these.
fn unsubscribers(user: &str, count: u64, every_ms: u64) -> Vec<Unsubscriber> {
    let one = |nth| Unsubscriber { not_before_ms: 1_000 + nth * every_ms, user: user.into(), mailbox: format!("user{nth}@p1.example") };
    (0..count).map(one).collect()
}

/// All that the registry guards, while mail waits that was taken before.
fn weather(name: &str, seed: u64, weather: RegistryWeather) -> Scenario {
    let clients = vec![
        client(0, "shop", letters(30, 2_000, "sender@p0.example")),
        client(1, SIGNED_TENANT, letters(30, 2_000, "sender@p0.example")),
        client(2, BOUND_TENANT, letters(30, 2_000, "sender@p0.example")),
        client(3, BOUND_TENANT, letters(30, 2_000, "sender@p1.example")),
    ];
    let mut scenario = scenario(name, seed, vec![provider(0), provider(1)], clients);
    scenario.providers[1].personality.greylist = Some(Duration::from_secs(40));
    scenario.unsubscribers = unsubscribers("shop", 25, 2_500);
    scenario.clear_ms = 900_000;
    scenario.changes = vec![
        (20_000, Change::Registry(weather)),
        (300_000, Change::Registry(RegistryWeather::Fine)),
        (330_000, Change::Registry(weather)),
        (900_000, Change::Registry(RegistryWeather::Fine)),
    ];
    scenario
}

/// Mail for those who ask for silence while it waits.
fn words(name: &str, seed: u64, ends: Vec<End>) -> Scenario {
    let letters = letters(30, 500, "sender@p0.example");
    let clients = vec![client(0, "shop", letters.clone()), client(1, "shop/urgent", letters)];
    let mut scenario = scenario(name, seed, vec![provider(0), provider(1)], clients);
    scenario.providers[1].personality.greylist = Some(Duration::from_secs(60));
    scenario.unsubscribers = unsubscribers("shop", 20, 700);
    scenario.journal = true;
    scenario.ends = ends;
    scenario
}

/// What a seed may add: a registry in bad weather, tenants whom it guards, and words of silence.
pub(super) fn random(chance: &mut Chance, scenario: &mut Scenario) {
    let clear_ms = scenario.clear_ms;
    if chance.percent(10) {
        for _ in 0..chance.between(1, 3) {
            let weather = match chance.below(3) {
                0 => RegistryWeather::Silent,
                1 => RegistryWeather::Patchy,
                _ => RegistryWeather::Slow(Duration::from_secs(chance.between(1, 20))),
            };
            let from = chance.below(clear_ms);
            scenario.changes.push((from, Change::Registry(weather)));
            scenario.changes.push((chance.between(from, clear_ms), Change::Registry(RegistryWeather::Fine)));
        }
        scenario.changes.push((clear_ms, Change::Registry(RegistryWeather::Fine)));
        scenario.changes.sort_by_key(|(at, _)| *at);
        let number = scenario.clients.len();
        let every_ms = chance.between(100, 10_000);
        scenario.clients.push(client(number, SIGNED_TENANT, letters(10, every_ms, "sender@p0.example")));
        scenario.clients.push(client(number + 1, BOUND_TENANT, letters(5, every_ms, "sender@p0.example")));
        scenario.clients.push(client(number + 2, BOUND_TENANT, letters(5, every_ms, "sender@p1.example")));
    }
    if chance.percent(10) {
        let users: Vec<String> = scenario.clients.iter().map(|client| client.user.clone()).collect();
        for client in &scenario.clients {
            for mailbox in client.mails.iter().filter_map(|mail| mail.recipients.first()) {
                if !chance.percent(30) {
                    continue;
                }
                let not_before_ms = chance.below(clear_ms);
                let user = chance.pick(&users).clone();
                let known = scenario.unsubscribers.iter().any(|one| one.user == user && one.mailbox == *mailbox);
                if !known {
                    scenario.unsubscribers.push(Unsubscriber { not_before_ms, user, mailbox: mailbox.clone() });
                }
            }
        }
        for _ in 0..chance.below(3) {
            let when = When::Disk(Crash::Amid(TELLING, chance.between(1, 3)));
            scenario.ends.push(End { when, how: How::Power(Loss::any(chance)), down_ms: *chance.pick(&[0, 1_000, 60_000]) });
        }
    }
}
