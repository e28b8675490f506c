//! A scenario from a seed: providers of all kinds, weather, crashes.

use std::sync::Arc;
use std::time::Duration;

use postrider_lab::{Chance, DnsWeather, FaultKind, Hostile, Manner, Moment, MxData, Pace, Personality, Space, Throttle};
use postrider_model::policy::{ProviderMatch, Rate, ReplyRule, RuleAction};

use super::build::{client, domain, nameless, provider, scenario};
use super::named::KEPT_SEEDS;
use super::{Change, End, How, ProviderPlan, Scenario, When, records, routes, strangers};
use crate::world::BreakAt;
use crate::world::acts::WORKS;
use crate::world::clients::{ClientPlan, MailPlan, Wish};
use crate::world::disk::{Crash, Failing, Loss};
use crate::world::net::Reach;
use crate::world::strangers::Guise;

/// The scenario of a seed.
pub fn random(seed: u64) -> Scenario {
    let mut chance = Chance::new(seed);
    let count = chance.between(2, 6) as usize;
    let mut providers: Vec<ProviderPlan> = (0..count).map(provider).collect();
    for plan in &mut providers {
        policy(plan, &mut chance);
        plan.latency = Duration::from_millis(*chance.pick(&[1, 5, 20, 150]));
        plan.personality.offers.pipelining = chance.percent(70);
        plan.personality.offers.starttls = chance.percent(20);
        plan.personality.offers.esmtp = !chance.percent(5);
        plan.personality.recipients_max = chance.between(2, 100) as usize;
    }
    if count > 2 && chance.percent(25) {
        share(&mut providers);
    }
    let fine: Vec<Personality> = providers.iter().map(|plan| plan.personality.clone()).collect();
    let busy_ms = chance.between(10, 1_200) * 1000;
    let clear_ms = chance.between(60, 3_600) * 1000;
    let clients = clients(&mut chance, count, busy_ms);
    providers.push(nameless());
    let mut scenario = scenario(&format!("seed {seed}"), seed, providers, clients);
    scenario.clear_ms = clear_ms;
    scenario.domains.push((domain("null.example"), MxData::Null));
    scenario.dns_ttl = Duration::from_secs(chance.between(0, 900));
    if chance.percent(20) {
        scenario.tls_breaks.push("mx1.net1.example".into());
        scenario.snapshot.providers.iter_mut().for_each(|policy| policy.connection_rate = None);
        scenario.providers.iter_mut().for_each(|plan| plan.policy.connection_rate = None);
    }
    scenario.commit_pause = Duration::from_millis(chance.between(1, 10));
    scenario.segment_octets = *chance.pick(&[64, 128, 512]) * 1024;
    // From a chance of its own, so that the other seeds stay what they were.
    let mut beside = Chance::new(seed ^ 0x0007_0a7e);
    let routed = beside.percent(30);
    if routed {
        routes::random(&mut beside, &mut scenario);
    }
    let mut unknown = Chance::new(seed ^ 0x057a_49e5);
    // A seed that failed once stays what it was.
    if !routed && unknown.percent(20) && KEPT_SEEDS.iter().all(|(kept, _)| *kept != seed) {
        strangers::random(&mut unknown, &mut scenario);
    }
    weather(&mut chance, &mut scenario, &fine);
    scenario.ends = ends(&mut chance);
    if routed && beside.percent(60) {
        scenario.ends.push(routes::end(&mut beside));
    }
    // Strangers have no tenant, and prove nothing: whom the registry knows is not among them.
    if !scenario.strangers {
        records::random(&mut Chance::new(seed ^ 0x005e_c0cd), &mut scenario);
    }
    let compacts = |end: &End| matches!(end.when, When::Disk(Crash::Amid("compacting" | "sealing", _)));
    if scenario.ends.iter().any(compacts) {
        // Small segments and much mail, so that it comes to that.
        scenario.segment_octets = 64 * 1024;
        let mails = scenario.clients.iter_mut().flat_map(|client| &mut client.mails);
        mails.filter(|mail| mail.body_octets < 256 * 1024).for_each(|mail| mail.body_octets = mail.body_octets * 4 + 1_000);
    }
    scenario
}

fn policy(plan: &mut ProviderPlan, chance: &mut Chance) {
    let policy = &mut plan.policy;
    policy.connections_max = chance.between(1, 8) as u32;
    policy.messages_per_connection_max = chance.between(1, 20) as u32;
    policy.recipients_per_message_max = chance.between(1, 50) as u32;
    policy.window_initial = chance.between(1, 5) as u32;
    if chance.percent(30) {
        let count = chance.between(5, 60) as u32;
        policy.message_rate = Some(Rate { count, per: Duration::from_secs(60), burst: chance.between(1, 10) as u32 });
    }
    if chance.percent(20) {
        let count = chance.between(3, 30) as u32;
        // One attempt may try every host, and each connection counts over there, but one permit is taken: with one host they are the same.
        plan.hosts.truncate(1);
        policy.connection_rate = Some(Rate { count, per: Duration::from_secs(60), burst: chance.between(1, 5) as u32 });
    }
    if chance.percent(40) {
        let rule = |code, contains: &str, action| ReplyRule { code, status: None, contains: contains.into(), action };
        policy.rules.push(rule(421, "unusual rate", RuleAction::Rest(Duration::from_secs(60))));
        policy.rules.push(rule(550, "rate limited", RuleAction::OneConnection(Duration::from_secs(120))));
    }
}

/// Providers 1 and 2 are of one operator, who counts us once.
fn share(providers: &mut [ProviderPlan]) {
    let mut policy = providers[1].policy.clone();
    (policy.name, policy.shared) = ("operator".into(), true);
    policy.matches = ProviderMatch::HostSuffix(vec![".net1.example".into(), ".net2.example".into()]);
    if policy.connection_rate.is_some() {
        providers[2].hosts.truncate(1);
    }
    providers[1].policy = policy.clone();
    providers[2].policy = policy;
}

fn clients(chance: &mut Chance, providers: usize, busy_ms: u64) -> Vec<ClientPlan> {
    let count = chance.between(1, 6) as usize;
    let tenants: [&str; 4] = ["shop", "bank", "club", "shop/urgent"];
    (0..count)
        .map(|number| {
            let mails = chance.between(1, 25);
            let mut mails: Vec<MailPlan> = (0..mails).map(|_| mail(chance, providers, busy_ms)).collect();
            mails.sort_by_key(|mail| mail.not_before_ms);
            client(number, tenants[chance.below(4) as usize], mails)
        })
        .collect()
}

fn mail(chance: &mut Chance, providers: usize, busy_ms: u64) -> MailPlan {
    let from = match chance.below(12) {
        0 => String::new(),
        1 => "unknown-sender@p0.example".to_owned(),
        2 => "sender@nowhere.example".to_owned(),
        _ => format!("sender{}@p0.example", chance.below(5)),
    };
    let mut recipients: Vec<String> = (0..chance.between(1, 6)).map(|_| recipient(chance, providers)).collect();
    recipients.sort();
    recipients.dedup();
    let break_at = *chance.pick(&[BreakAt::Mail, BreakAt::Recipients, BreakAt::Content, BreakAt::FinalDot]);
    MailPlan {
        not_before_ms: chance.below(busy_ms),
        reverse_path: from,
        recipients,
        body_octets: if chance.percent(3) { 300_000 } else { chance.between(0, 4_000) as usize },
        eight_bit: chance.percent(20),
        break_at: chance.percent(8).then_some(break_at),
        wish: *chance.pick(&[Wish::None, Wish::None, Wish::None, Wish::None, Wish::Silence, Wish::AllNews, Wish::Hold(90)]),
        guise: Guise::Plain,
    }
}

fn recipient(chance: &mut Chance, providers: usize) -> String {
    let host = match chance.below(40) {
        0 => "nowhere.example".to_owned(),
        1 => "null.example".to_owned(),
        2 => "[198.51.0.9]".to_owned(),
        nth => format!("{}{}.example", if nth % 2 == 0 { 'p' } else { 'q' }, chance.below(providers as u64)),
    };
    let local = match chance.below(20) {
        0 => "unknown",
        1 => "full",
        2 => "spam",
        3 => "later",
        4 => "over",
        _ => "user",
    };
    format!("{local}{}@{host}", chance.below(30))
}

/// Bad weather from somewhere until `clear_ms`, when all turns fine.
fn weather(chance: &mut Chance, scenario: &mut Scenario, fine: &[Personality]) {
    let clear_ms = scenario.clear_ms;
    let mut changes = std::mem::take(&mut scenario.changes);
    for (number, fine) in fine.iter().enumerate() {
        for _ in 0..chance.below(4) {
            let at = chance.below(clear_ms);
            let change = if chance.percent(75) {
                Change::Personality(number, Box::new(moody(chance, fine)))
            } else {
                Change::Reach(number, *chance.pick(&[Reach::Refuses, Reach::Black, Reach::Unreachable, Reach::Up]))
            };
            changes.push((at, change));
        }
        changes.push((clear_ms, Change::Personality(number, Box::new(fine.clone()))));
        changes.push((clear_ms, Change::Reach(number, Reach::Up)));
    }
    if chance.percent(40) {
        let weather = DnsWeather {
            fail_percent: chance.below(60) as u8,
            no_name_percent: chance.below(5) as u8,
            slow_percent: chance.below(50) as u8,
            slow: Duration::from_secs(chance.between(1, 30)),
        };
        // What is denied of a stranger's domain is no truth that anybody could be held to.
        let weather = if scenario.strangers { DnsWeather { no_name_percent: 0, ..weather } } else { weather };
        changes.push((chance.below(clear_ms), Change::Dns(weather)));
    }
    if chance.percent(40) {
        changes.push((chance.below(clear_ms), Change::Breaks(chance.below(50) as u8)));
    }
    if chance.percent(25) {
        // With the reserve on top mail is refused in time; without it the disk itself refuses.
        let reserve = if chance.percent(50) { scenario.reserve_octets } else { 0 };
        let room = chance.between(3, 12) * u64::from(scenario.segment_octets) + reserve;
        changes.push((chance.below(clear_ms), Change::Disk(room)));
    }
    if chance.percent(30) {
        let failing = [
            Failing::Next,
            Failing::Next,
            Failing::Of("contents"),
            Failing::Of("journal"),
            Failing::Folder,
            Failing::Recovering,
            Failing::Recovering,
        ];
        let at = chance.below(clear_ms.min(1_200_000));
        changes.push((at, Change::FailSync(Some(*chance.pick(&failing)))));
    }
    if chance.percent(20) {
        let mut narrow = scenario.snapshot.clone();
        narrow.providers.iter_mut().for_each(|policy| policy.connections_max = policy.connections_max.div_ceil(3));
        changes.push((chance.below(clear_ms), Change::Reload(Arc::new(narrow))));
        changes.push((clear_ms, Change::Reload(Arc::new(scenario.snapshot.clone()))));
    }
    changes.push((clear_ms, Change::Dns(DnsWeather::default())));
    changes.push((clear_ms, Change::Breaks(0)));
    changes.push((clear_ms, Change::Disk(super::build::ROOMY)));
    changes.push((clear_ms, Change::FailSync(None)));
    changes.sort_by_key(|(at, _)| *at);
    scenario.changes = changes;
}

/// A provider in a bad mood.
fn moody(chance: &mut Chance, fine: &Personality) -> Personality {
    let mut personality = fine.clone();
    match chance.below(10) {
        0 => personality.greylist = Some(Duration::from_secs(chance.between(10, 600))),
        1 => personality.throttle = Some(throttle(chance)),
        2 => personality.space = *chance.pick(&[Space::MailboxFull, Space::MailboxOver, Space::DiskFull]),
        3 => personality.pace = Pace { reply: Duration::from_secs(chance.between(1, 400)), octet: Duration::ZERO },
        4 => personality.pace = Pace { reply: Duration::ZERO, octet: Duration::from_millis(chance.between(10, 3_000)) },
        _ => {
            for _ in 0..chance.between(1, 3) {
                personality = fault(chance, personality);
            }
        }
    }
    personality
}

fn throttle(chance: &mut Chance) -> Throttle {
    let maybe = |chance: &mut Chance, most| chance.percent(60).then(|| chance.between(1, most) as u32);
    Throttle {
        sessions_max: maybe(chance, 4),
        sessions_per_minute: maybe(chance, 20),
        messages_per_minute: maybe(chance, 30),
        manner: *chance.pick(&[Manner::Close, Manner::Transient, Manner::Permanent]),
    }
}

fn fault(chance: &mut Chance, personality: Personality) -> Personality {
    let moments = [
        Moment::Connect,
        Moment::Hello,
        Moment::Mail,
        Moment::Recipient,
        Moment::Data,
        Moment::Content,
        Moment::EndOfData,
        Moment::EndOfData,
        Moment::EndOfData,
        Moment::Quit,
    ];
    let hostile =
        [Hostile::Bare550, Hostile::Endless, Hostile::Code999, Hostile::Differing, Hostile::LongLine, Hostile::Garbage, Hostile::Double];
    let kind = match chance.below(9) {
        0 => FaultKind::Drop,
        1 => FaultKind::Silence,
        2 | 3 => FaultKind::TakeAndDrop,
        4 => FaultKind::TakeAndSilence,
        5 => FaultKind::Reply("451 4.3.0 try later".into()),
        6 => FaultKind::Reply("554 5.7.1 no".into()),
        7 => FaultKind::ReplyAndDrop("421 4.3.2 closing".into()),
        _ => FaultKind::Hostile(*chance.pick(&hostile)),
    };
    let at = *chance.pick(&moments);
    // Behind its 354, a server that says something in the middle of the content has lost its way; only hanging up happens there.
    let at = if at == Moment::Content && !matches!(kind, FaultKind::Drop | FaultKind::Silence) { Moment::EndOfData } else { at };
    let percent = *chance.pick(&[5, 20, 50, 100]);
    personality.with(at, kind, percent)
}

fn ends(chance: &mut Chance) -> Vec<End> {
    let count = *chance.pick(&[0, 0, 1, 1, 2, 3, 6]);
    let mut ends = Vec::new();
    for _ in 0..count {
        ends.push(end(chance));
        // What recovers from it may die, too, and again.
        for _ in 0..chance.between(1, 2) {
            if chance.percent(20) {
                ends.push(End { when: When::Disk(Crash::Operation(chance.between(1, 12))), ..end(chance) });
            }
        }
    }
    ends.iter_mut().for_each(|end| {
        // Only the power goes at an operation of the disk.
        if let (When::Disk(_), How::Kill | How::Drain | How::DrainAndPower(..)) = (end.when, end.how) {
            end.how = How::Power(Loss::any(chance));
        }
    });
    ends
}

fn end(chance: &mut Chance) -> End {
    let when = match chance.below(14) {
        0 => When::Disk(Crash::Operation(chance.between(1, 12))),
        1..=3 => When::Disk(Crash::Operation(chance.between(1, 200))),
        4 => When::Disk(Crash::Operation(chance.between(1, 2_000))),
        5 => When::Disk(Crash::Amid("compacting", chance.between(1, 3))),
        6..=9 => When::Disk(Crash::Amid(chance.pick(&WORKS[..WORKS.len() - 2]).0, chance.between(1, 5))),
        _ => When::After(chance.below(600_000)),
    };
    let how = match chance.below(10) {
        0 => How::Drain,
        1 => How::DrainAndPower(Loss::any(chance), chance.between(1, 4)),
        2..=4 => How::Kill,
        _ => How::Power(Loss::any(chance)),
    };
    End { when, how, down_ms: *chance.pick(&[0, 10, 1_000, 60_000, 600_000]) }
}
