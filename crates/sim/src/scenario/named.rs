//! Scenarios with a name: each personality, each kind of crash, each kind of trouble, and every seed that ever failed.

use std::sync::Arc;
use std::time::Duration;

use postrider_lab::{DnsWeather, FaultKind, Hostile, Manner, Moment, MxData, Pace, Personality, Space, Throttle};
use postrider_model::policy::Rate;

use super::build::{ROOMY, client, domain, mail, provider, scenario};
use super::{Change, End, How, Scenario, When, strangers};
use crate::world::TOKENS_TENANT;
use crate::world::clients::MailPlan;
use crate::world::disk::{Crash, Failing, Loss};
use crate::world::net::Reach;

/// Seeds that found something once, with what it was.
pub const KEPT_SEEDS: &[(u64, &str)] = &[];

/// All of them.
pub fn named() -> Vec<Scenario> {
    let mut all = vec![fine()];
    all.extend(personalities());
    all.extend(crashes());
    all.extend(disks());
    all.extend([tarpit_beside_healthy(), flood_beside_small(), reports(), dns_outage(), backlog(), large(), secret_limit(), rate()]);
    all.extend([long_absence(), reload(), slow_queue(), tokens()]);
    all.extend(super::pools::named());
    all.extend(super::routes::named());
    all.extend(super::records::named());
    all.extend([known("strangers are verified while the DNS fails", false), known("DMARC is enforced while the DNS fails", true)]);
    all
}

fn letters(count: u64, every_ms: u64, to: &str) -> Vec<MailPlan> {
    (0..count).map(|nth| mail(nth * every_ms, "sender@p0.example", &[&format!("user{nth}@{to}")])).collect()
}

fn fine() -> Scenario {
    let mails = letters(20, 100, "p1.example");
    scenario("fine weather", 1, vec![provider(0), provider(1)], vec![client(0, "shop", mails.clone()), client(1, "bank", mails)])
}

fn with_personality(name: &str, change: impl FnOnce(&mut Personality)) -> Scenario {
    let mut scenario = scenario(
        name,
        2,
        vec![provider(0), provider(1), provider(2)],
        vec![client(0, "shop", letters(10, 1_000, "p1.example")), client(1, "bank", letters(10, 1_000, "p2.example"))],
    );
    let fine = scenario.providers[1].personality.clone();
    change(&mut scenario.providers[1].personality);
    scenario.clear_ms = 1_800_000;
    scenario.changes = vec![(scenario.clear_ms, Change::Personality(1, Box::new(fine)))];
    scenario
}

fn personalities() -> Vec<Scenario> {
    let fault = |name: &str, at: Moment, kind: FaultKind, percent: u8| {
        with_personality(name, |personality| *personality = personality.clone().with(at, kind, percent))
    };
    let pace = |reply, octet| Pace { reply: Duration::from_secs(reply), octet: Duration::from_millis(octet) };
    let mut all = vec![
        with_personality("greylisting", |p| p.greylist = Some(Duration::from_secs(300))),
        with_personality("tarpitting", |p| p.pace = pace(100, 0)),
        with_personality("tarpitting beyond all patience", |p| p.pace = pace(2_000, 0)),
        with_personality("dripping", |p| p.pace = pace(0, 2_000)),
        with_personality("mailboxes full", |p| p.space = Space::MailboxFull),
        with_personality("mailboxes full, said as 552", |p| p.space = Space::MailboxOver),
        with_personality("disk full over there", |p| p.space = Space::DiskFull),
        fault("lying: takes and hangs up", Moment::EndOfData, FaultKind::TakeAndDrop, 50),
        fault("lying: takes and says nothing", Moment::EndOfData, FaultKind::TakeAndSilence, 50),
        fault("hangs up behind the dot", Moment::EndOfData, FaultKind::Drop, 50),
    ];
    for moment in [Moment::Connect, Moment::Hello, Moment::Mail, Moment::Recipient, Moment::Data, Moment::Content, Moment::Quit] {
        all.push(fault(&format!("hangs up at {moment:?}"), moment, FaultKind::Drop, 60));
        all.push(fault(&format!("silent at {moment:?}"), moment, FaultKind::Silence, 60));
    }
    let hostile =
        [Hostile::Bare550, Hostile::Endless, Hostile::Code999, Hostile::Differing, Hostile::LongLine, Hostile::Garbage, Hostile::Double];
    for kind in hostile {
        for moment in [Moment::Connect, Moment::Hello, Moment::Recipient, Moment::EndOfData] {
            all.push(fault(&format!("hostile at {moment:?}: {kind:?}"), moment, FaultKind::Hostile(kind), 60));
        }
    }
    all
}

/// A crash at each of the first operations of the disk, whatever they do: preparing, recovering, accepting, settling.
fn crashes() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (nth, loss) in [Loss::All, Loss::Tail, Loss::Sectors, Loss::Nothing].into_iter().enumerate() {
        for operation in (1..60).step_by(4) {
            let mut scenario = fine();
            scenario.name = format!("crash at operation {operation} losing {loss:?}");
            scenario.seed = 100 + nth as u64;
            scenario.clients[0].mails.push(MailPlan { body_octets: 400_000, ..mail(500, "sender@p0.example", &["user@p1.example"]) });
            // The first recovery may die, too.
            let end = |operation| End { when: When::Disk(Crash::Operation(operation)), how: How::Power(loss), down_ms: 100 };
            scenario.ends = vec![end(operation), end(operation / 2 + 1), end(operation + 30)];
            all.push(scenario);
        }
    }
    for (name, how) in [("killed again and again", How::Kill), ("drained again and again", How::Drain)] {
        let mut scenario = fine();
        scenario.name = name.into();
        scenario.ends = (0..8).map(|nth| End { when: When::After(150 + nth * 40), how, down_ms: 100 }).collect();
        all.push(scenario);
    }
    all.push(compaction());
    all.extend((1..14).map(recoveries));
    all
}

/// Settled mail in the tail and its acceptance in an older segment, which others keep alive; then the power goes again and again while recovering
/// (seed 1985: what a superseded tail had ended was raised from the dead by the second recovery after it).
fn recoveries(operation: u64) -> Scenario {
    let mut mails = letters(60, 60, "p1.example");
    mails.iter_mut().for_each(|mail| mail.body_octets = 3_000);
    mails.extend(
        (0..30).map(|nth| mail(nth * 120, "sender@p0.example", &[&format!("later{nth}@p1.example"), &format!("user{nth}@p1.example")])),
    );
    mails.sort_by_key(|mail| mail.not_before_ms);
    let name = format!("the power goes in recoveries, at operation {operation}");
    let mut scenario = scenario(&name, 12 + operation, vec![provider(0), provider(1)], vec![client(0, "shop", mails)]);
    scenario.segment_octets = 64 * 1024;
    // Greylisting puts ten seconds between an acceptance and its end, and so a segment or two.
    scenario.providers[1].personality.greylist = Some(Duration::from_secs(5));
    let end = |when, how| End { when, how, down_ms: 100 };
    let recovering = end(When::Disk(Crash::Operation(operation)), How::Power(Loss::All));
    let working = |ms| end(When::After(ms), How::Kill);
    scenario.ends = vec![working(11_000), recovering, working(800), working(800), working(800), recovering, recovering, working(800)];
    scenario
}

/// Segments fill up and empty, while one recipient stays unreachable; crashes all along.
fn compaction() -> Scenario {
    let mut mails = letters(150, 200, "p1.example");
    for mail in mails.iter_mut() {
        mail.body_octets = 6_000;
    }
    mails.extend((0..5).map(|nth| mail(nth * 6_000, "sender@p0.example", &["later@p1.example"])));
    mails.sort_by_key(|mail| mail.not_before_ms);
    let mut scenario = scenario("crashes while compacting", 5, vec![provider(0), provider(1)], vec![client(0, "shop", mails)]);
    scenario.segment_octets = 64 * 1024;
    let losses = [Loss::All, Loss::Sectors, Loss::Tail];
    scenario.ends = (0..9)
        .map(|nth| End { when: When::Disk(Crash::Operation(60 + nth * 17)), how: How::Power(losses[nth as usize % 3]), down_ms: 200 })
        .collect();
    scenario
}

fn disks() -> Vec<Scenario> {
    let mut full = fine();
    full.name = "disk full, and room again".into();
    full.segment_octets = 64 * 1024;
    full.clients[0].mails.iter_mut().for_each(|mail| mail.body_octets = 20_000);
    full.clear_ms = 1_200_000;
    full.changes = vec![(300, Change::Disk(full.reserve_octets + 3 * 64 * 1024)), (full.clear_ms, Change::Disk(ROOMY))];
    let mut failing = fine();
    failing.name = "a failing sync poisons the log, and a restart mends it".into();
    failing.changes = vec![
        (400, Change::FailSync(Some(Failing::Next))),
        (1_500, Change::FailSync(Some(Failing::Next))),
        (90_000, Change::FailSync(Some(Failing::Next))),
    ];
    failing.clear_ms = 90_000;
    let mut failing_and_power = failing.clone();
    failing_and_power.name = "a failing sync, then the power".into();
    let end = |when| End { when: When::After(when), how: How::Power(Loss::All), down_ms: 1_000 };
    failing_and_power.ends = vec![end(3_600_000), end(500), end(700), end(500)];
    let mut all = vec![full, failing, failing_and_power];
    all.extend((1..14).flat_map(|operation| [Failing::Next, Failing::Recovering].map(|failing| lies(failing, operation))));
    all
}

/// A sync fails, the process is started again on what the kernel still shows, and the power goes while it recovers from that (seed 4230 of a former
/// mixture: the journal told of a message that no disk had).
fn lies(failing: Failing, operation: u64) -> Scenario {
    let mut scenario = recoveries(operation);
    scenario.name = format!("{failing:?} sync fails, a restart, and the power goes at operation {operation}");
    scenario.seed = 60 + 2 * operation;
    scenario.journal = true;
    scenario.changes = vec![(1_000, Change::FailSync(Some(failing)))];
    let end = |when, how| End { when, how, down_ms: 100 };
    let power = end(When::Disk(Crash::Operation(operation)), How::Power(Loss::All));
    let working = end(When::After(1_500), How::Kill);
    scenario.ends = vec![working, working, power, power, working, power];
    if failing == Failing::Next {
        scenario.ends.remove(0);
    }
    scenario
}

fn tarpit_beside_healthy() -> Scenario {
    let mut scenario = scenario(
        "a tarpit beside a healthy provider",
        7,
        vec![provider(0), provider(1), provider(2)],
        vec![client(0, "shop", letters(60, 100, "p1.example")), client(1, "bank", letters(60, 100, "p2.example"))],
    );
    scenario.providers[1].personality.pace = Pace { reply: Duration::from_secs(60), octet: Duration::ZERO };
    scenario.fair = Some(("bank".into(), 5_000));
    scenario
}

fn flood_beside_small() -> Scenario {
    let flood = (0..15).map(|number| client(number, "flood", letters(40, 0, "p1.example")));
    let mut clients: Vec<_> = flood.collect();
    clients.push(client(
        20,
        "small",
        letters(10, 2_000, "p1.example").into_iter().map(|m| MailPlan { not_before_ms: m.not_before_ms + 3_000, ..m }).collect(),
    ));
    let mut scenario = scenario("a small tenant beside a flood", 8, vec![provider(0), provider(1)], clients);
    scenario.providers[1].policy.connections_max = 1;
    scenario.providers[1].latency = Duration::from_millis(50);
    scenario.snapshot = super::build::snapshot(&scenario.providers);
    // A flood of 600 takes minutes over two connections; the small tenant takes turns with it.
    scenario.fair = Some(("small".into(), 15_000));
    scenario
}

fn reports() -> Scenario {
    let all = ["unknown@p1.example", "user@p1.example", "unknown@q1.example", "spam@p2.example", "x@null.example", "y@nowhere.example"];
    let froms = ["sender@p0.example", "", "unknown-sender@p0.example", "sender@nowhere.example", "sender@null.example", "full@p0.example"];
    let mails = froms.iter().enumerate().map(|(nth, from)| mail(nth as u64 * 500, from, &all)).collect();
    let mut scenario = scenario("reports", 9, vec![provider(0), provider(1), provider(2)], vec![client(0, "shop", mails)]);
    scenario.domains.push((domain("null.example"), MxData::Null));
    scenario
}

fn dns_outage() -> Scenario {
    let mut scenario = with_personality("the DNS is down", |_| {});
    let weather = DnsWeather { fail_percent: 100, ..DnsWeather::default() };
    scenario.changes = vec![(2_000, Change::Dns(weather)), (scenario.clear_ms, Change::Dns(DnsWeather::default()))];
    scenario.dns_ttl = Duration::from_secs(1);
    scenario
}

/// Mail of servers that may send it, verified while look-ups fail or are slow, and the power goes: it is taken or put off, and never refused for good.
fn known(name: &str, enforces: bool) -> Scenario {
    let mut scenario = scenario(
        name,
        11,
        vec![provider(0), provider(1), provider(2)],
        vec![client(0, "", letters(25, 1_000, "p1.example")), client(1, "", letters(25, 1_000, "p2.example"))],
    );
    strangers::set_up(&mut scenario, enforces);
    scenario.clear_ms = 1_200_000;
    let weather = DnsWeather { fail_percent: 50, slow_percent: 30, slow: Duration::from_secs(8), ..DnsWeather::default() };
    scenario.changes = vec![(0, Change::Dns(weather)), (scenario.clear_ms, Change::Dns(DnsWeather::default()))];
    scenario.dns_ttl = Duration::from_secs(1);
    let end = |ms| End { when: When::After(ms), how: How::Power(Loss::Tail), down_ms: 5_000 };
    scenario.ends = vec![end(12_000), end(40_000)];
    scenario
}

fn backlog() -> Scenario {
    let mut scenario = scenario(
        "a restart with a backlog",
        10,
        vec![provider(0), provider(1)],
        vec![client(0, "shop", letters(150, 10, "p1.example")), client(1, "bank", letters(150, 10, "q1.example"))],
    );
    scenario.clear_ms = 3_000_000;
    scenario.changes = vec![(0, Change::Reach(1, Reach::Refuses)), (scenario.clear_ms, Change::Reach(1, Reach::Up))];
    let end = |ms| End { when: When::After(ms), how: How::Power(Loss::Tail), down_ms: 30_000 };
    scenario.ends = vec![end(60_000), end(600_000), end(3_000_000)];
    scenario
}

/// Contents in files of their own wait for a host that is down, and the power goes: what was acknowledged is on the disk.
fn large() -> Scenario {
    let mut scenario = with_personality("large contents, and the power goes", |_| {});
    scenario.changes = vec![(0, Change::Reach(1, Reach::Refuses)), (scenario.clear_ms, Change::Reach(1, Reach::Up))];
    scenario.clients[0].mails.iter_mut().for_each(|mail| mail.body_octets = 400_000);
    scenario.ends = [60_000, 900_000].map(|ms| End { when: When::After(ms), how: How::Power(Loss::All), down_ms: 1_000 }).to_vec();
    scenario
}

fn secret_limit() -> Scenario {
    with_personality("a secret limit", |p| {
        p.throttle =
            Some(Throttle { sessions_max: Some(1), sessions_per_minute: Some(6), messages_per_minute: Some(4), manner: Manner::Close });
    })
}

fn rate() -> Scenario {
    let mut scenario = scenario(
        "a rate in the policy, and restarts",
        11,
        vec![provider(0), provider(1)],
        vec![client(0, "shop", letters(60, 10, "p1.example"))],
    );
    let rate = |count, burst| Some(Rate { count, per: Duration::from_secs(60), burst });
    let policy = &mut scenario.providers[1].policy;
    (policy.message_rate, policy.connection_rate, policy.connections_max) = (rate(10, 3), rate(6, 2), 2);
    scenario.snapshot = super::build::snapshot(&scenario.providers);
    scenario.ends = vec![End { when: When::After(100_000), how: How::Kill, down_ms: 100 }];
    scenario
}

/// A return path for each recipient: each has a transaction of its own, and counts in every limit, over kills and power cuts; beside it mail that rides together.
fn tokens() -> Scenario {
    let crowd: Vec<String> = (0..40).map(|nth| format!("user{nth}@p1.example")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    let mails = |count: u64| (0..count).map(|nth| mail(nth * 2_000, "sender@p0.example", &crowd)).collect::<Vec<_>>();
    let mut scenario = scenario(
        "a return path for each recipient",
        15,
        vec![provider(0), provider(1)],
        vec![client(0, TOKENS_TENANT, mails(4)), client(1, "shop", mails(4))],
    );
    let policy = &mut scenario.providers[1].policy;
    policy.message_rate = Some(Rate { count: 600, per: Duration::from_secs(60), burst: 5 });
    (policy.messages_per_connection_max, policy.connections_max, policy.recipients_per_message_max) = (7, 3, 25);
    scenario.snapshot = super::build::snapshot(&scenario.providers);
    let end = |after, how| End { when: When::After(after), how, down_ms: 100 };
    scenario.ends =
        vec![end(1_500, How::Kill), end(2_500, How::Power(Loss::All)), end(3_000, How::Power(Loss::Sectors)), end(2_000, How::Drain)];
    scenario
}

/// The relay is down until the mail is too old for a last attempt: its senders are told, and nobody is sent it.
fn long_absence() -> Scenario {
    let mut scenario = with_personality("down for longer than mail lives", |_| {});
    scenario.changes = vec![(0, Change::Reach(1, Reach::Refuses)), (scenario.clear_ms, Change::Reach(1, Reach::Up))];
    scenario.ends = vec![End { when: When::After(60_000), how: How::Power(Loss::All), down_ms: 3 * 3_600_000 }];
    scenario
}

/// Fewer connections are allowed from now on, and much later there is much mail.
fn reload() -> Scenario {
    let mails =
        |from_ms| letters(60, 10, "p1.example").into_iter().map(move |m| MailPlan { not_before_ms: m.not_before_ms + from_ms, ..m });
    let clients = (0..4).map(|number| client(number, "shop", mails(0).chain(mails(900_000)).collect())).collect();
    let mut scenario = scenario("a reload narrows the way", 40, vec![provider(0), provider(1)], clients);
    scenario.providers[1].policy.connections_max = 8;
    scenario.providers[1].latency = Duration::from_millis(150);
    scenario.snapshot = super::build::snapshot(&scenario.providers);
    let mut narrow = scenario.snapshot.clone();
    narrow.providers.iter_mut().for_each(|policy| policy.connections_max = 1);
    scenario.changes = vec![(5_000, Change::Reload(Arc::new(narrow)))];
    scenario
}

/// More mail than a slow host takes in a mail's whole life: what waits in line for a connection grows too old there.
fn slow_queue() -> Scenario {
    let mut scenario = with_personality("a line longer than mail lives", |p| p.pace.reply = Duration::from_secs(250));
    scenario.providers[1].policy.connections_max = 1;
    scenario.snapshot = super::build::snapshot(&scenario.providers);
    scenario.clients[0].mails = letters(60, 100, "p1.example");
    scenario.clear_ms = 6 * 3_600_000;
    scenario.changes.iter_mut().for_each(|(at, _)| *at = scenario.clear_ms);
    scenario
}
