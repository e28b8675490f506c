//! What the relay meets in the random scenarios, counted: the proof that the seeds reach what they are for. The judge does not look at this.

use std::collections::BTreeSet;

use postrider_mail::Fields;
use postrider_model::Timestamp;

use crate::judge::told::results;
use crate::judge::{Evidence, reports_taken, successes_told};
use crate::scenario::Scenario;
use crate::world::book::Outcome;
use crate::world::clients::{MailPlan, Wish};
use crate::world::strangers::Guise;
use crate::world::{BreakAt, Cause, Fact, Verdict, World, lock};

/// Everything a scenario can hold, and in how many of 300 seeds it is met at least (`tests/scenarios.rs` demands it).
pub const INGREDIENTS: &[(&str, usize)] = &[
    // The disk kills the relay in the midst of this.
    ("crash while recovering", 50),
    ("crash in two recoveries in a row", 10),
    ("crash while accepting", 10),
    ("crash while settling", 30),
    ("crash while compacting", 10),
    ("crash while sealing", 6),
    ("crash while beginning or freeing a segment", 9),
    ("crash while making a segment or giving it back", 9),
    ("crash while staging a large content", 5),
    ("crash while archiving", 8),
    ("crash while draining", 8),
    ("crash while keeping counts", 20),
    ("crash while telling a word of silence", 3),
    // What it loses, refuses and fails.
    ("loses a write", 55),
    ("tears a write", 25),
    ("writes some sectors, not others", 20),
    ("loses a name", 25),
    ("loses or tears an acceptance", 10),
    ("fails a sync of the log", 10),
    ("fails a sync of the journal", 1),
    ("fails a sync of a large content", 1),
    ("fails a sync of the counts", 1),
    ("fails the sync of a folder", 2),
    ("fails a sync while recovering", 4),
    ("is full, and refuses to write", 7),
    // How lives end and begin.
    ("the power goes", 90),
    ("the process is killed", 15),
    ("SIGTERM: it drains", 7),
    ("the power goes while it drains", 8),
    ("a poisoned log, and a restart", 10),
    ("it does not open on a full disk", 1),
    ("a restart with a backlog", 75),
    ("a reload of the policy", 30),
    ("it compacts", 35),
    // Mailbox providers.
    ("greylists", 25),
    ("throttles", 7),
    ("tarpits", 35),
    ("drips", 35),
    ("its mailboxes are full", 5),
    ("its mailboxes are full, said as 552", 5),
    ("its disk is full", 10),
    ("takes the mail and hangs up", 10),
    ("takes the mail and says nothing", 6),
    ("hangs up", 45),
    ("falls silent", 25),
    ("says never", 20),
    ("says not now", 20),
    ("says so and hangs up", 15),
    ("says what no server should say", 20),
    ("several share permits", 25),
    ("a smart host takes mail", 50),
    ("a smart host's limit of an hour makes mail wait", 25),
    ("a route falls back to its second smart host", 20),
    // Wires and the DNS.
    ("hosts refuse connections", 30),
    ("hosts do not answer", 35),
    ("hosts cannot be reached", 40),
    ("connections break", 35),
    ("TLS is used", 80),
    ("TLS handshakes fail", 5),
    ("DNS look-ups fail", 60),
    ("the DNS denies a name", 30),
    ("DNS answers are slow", 60),
    ("a domain says that it takes no mail", 100),
    // The registry.
    ("the registry is silent", 5),
    ("the registry answers now and then", 5),
    ("the registry is slow", 5),
    ("who asked for silence has it", 15),
    ("mail ends for want of a reader", 5),
    // Clients and their mail.
    ("a client breaks off before the content", 100),
    ("a client breaks off in the content", 75),
    ("a client breaks off behind the final dot", 85),
    ("a client hears no reply to the final dot", 100),
    ("a client hears that the disk is full", 3),
    ("a large content is taken", 95),
    ("a null reverse-path", 100),
    ("8-bit content", 100),
    ("a sender asks for silence", 100),
    ("a sender asks for all news", 100),
    ("mail is held for its sender", 100),
    ("success is told", 20),
    // Strangers.
    ("a stranger's mail is verified and taken", 20),
    ("a stranger's mail arrives without what it forged", 10),
    ("who only says that he may send is refused", 5),
    ("the DNS does not tell about a stranger", 10),
    // What becomes of mail.
    ("deferred", 100),
    ("given up at the give-up time", 100),
    ("a report arrives", 100),
    ("a report is lost for want of a sender", 100),
    ("two copies of one mail", 20),
];

/// What was met in this run.
pub fn met(world: &World, scenario: &Scenario, evidence: &Evidence) -> BTreeSet<&'static str> {
    let mut met = world.disk.met();
    met.extend(lock(&world.net).felt());
    met.extend(lock(&world.zones).felt.iter());
    met.extend(lock(&world.records).felt.iter());
    for remote in lock(&world.remotes).iter() {
        met.extend(remote.provider.ledger.felt.keys());
    }
    let mut queue = 0;
    for (at, fact) in &evidence.facts {
        if let Fact::Queue(deliveries) = fact {
            queue = *deliveries;
        }
        met.extend(of_fact(*at, fact, queue, evidence));
    }
    met.extend(of_mail(scenario, evidence));
    if scenario.providers.iter().any(|plan| plan.policy.shared) {
        met.insert("several share permits");
    }
    met.extend(of_routes(scenario, evidence));
    if scenario.strangers {
        met.extend(of_strangers(evidence));
    }
    if successes_told(evidence) > 0 {
        met.insert("success is told");
    }
    if reports_taken(evidence) > 0 {
        met.insert("a report arrives");
    }
    if evidence.copies().values().any(|copies| copies.len() > 1) {
        met.insert("two copies of one mail");
    }
    met
}

fn of_fact(at: Timestamp, fact: &Fact, queue: u64, evidence: &Evidence) -> Option<&'static str> {
    match fact {
        Fact::LifeBegan(life) if *life > 0 && queue > 0 => Some("a restart with a backlog"),
        Fact::LifeEnded(how) if how == "drained" => Some("SIGTERM: it drains"),
        Fact::LifeEnded(how) if how == "the power went while draining" => Some("the power goes while it drains"),
        Fact::LifeEnded(how) if how == "Kill" => Some("the process is killed"),
        Fact::LifeEnded(how) if how.starts_with("poisoned") => Some("a poisoned log, and a restart"),
        Fact::LifeEnded(how) if how.starts_with("did not open: the disk is full") => Some("it does not open on a full disk"),
        Fact::LifeEnded(how) if how.starts_with("Power") || how.starts_with("the power") => Some("the power goes"),
        Fact::Reloaded(_) => Some("a reload of the policy"),
        Fact::Silenced { .. } => Some("who asked for silence has it"),
        Fact::Attempted { cause: Cause::Silence, .. } => Some("mail ends for want of a reader"),
        Fact::Attempted { report: true, outcome: Outcome::Bounced, .. } => Some("a report is lost for want of a sender"),
        Fact::Attempted { message, outcome: Outcome::Bounced, cause, .. } => {
            let old = at.since(message.accepted_at()).as_millis() as u64 >= evidence.give_up_ms;
            (old || *cause == Cause::Late).then_some("given up at the give-up time")
        }
        Fact::Attempted { outcome: Outcome::Deferred(_), .. } => Some("deferred"),
        _ => None,
    }
}

/// What smart hosts took.
fn of_routes(scenario: &Scenario, evidence: &Evidence) -> BTreeSet<&'static str> {
    let mut met = BTreeSet::new();
    let taken =
        |remote| -> usize { evidence.told.iter().filter(|told| told.remote == remote).map(|told| told.taken.recipients.len()).sum() };
    let hosts = scenario.providers.iter().map(|plan| scenario.snapshot.routing.rules.iter().find_map(|rule| plan.place_in(&rule.target)));
    for (remote, place) in hosts.enumerate() {
        let (Some(place), taken) = (place, taken(remote)) else { continue };
        let facts = [
            (taken > 0, "a smart host takes mail"),
            (evidence.quotas[remote].per_hour.is_some_and(|max| taken > max as usize), "a smart host's limit of an hour makes mail wait"),
            (taken > 0 && place > 0, "a route falls back to its second smart host"),
        ];
        met.extend(facts.iter().filter(|(holds, _)| *holds).map(|(_, what)| *what));
    }
    met
}

/// What strangers sent, and what was told of it.
fn of_strangers(evidence: &Evidence) -> BTreeSet<&'static str> {
    let mut met = BTreeSet::new();
    for (_, offered) in evidence.offered() {
        let (client, mail) = offered.mail;
        let forges = evidence.mails.get(client).and_then(|mails| mails.get(mail)).is_some_and(|plan| plan.guise == Guise::Forging);
        match offered.verdict {
            Verdict::Positive(_) if forges => drop(met.insert("a stranger's mail arrives without what it forged")),
            Verdict::Positive(_) => drop(met.insert("a stranger's mail is verified and taken")),
            Verdict::Refused(550) => drop(met.insert("who only says that he may send is refused")),
            Verdict::Refused(_) | Verdict::Broken | Verdict::Unknown => {}
        }
    }
    let fields = evidence.told.iter().flat_map(|told| Fields::of(&told.taken.content));
    if fields.filter(|field| field.is("Authentication-Results")).any(|field| results(&field, "spf") == ["temperror"]) {
        met.insert("the DNS does not tell about a stranger");
    }
    met
}

/// What clients sent, and heard.
fn of_mail(scenario: &Scenario, evidence: &Evidence) -> BTreeSet<&'static str> {
    let mut met = BTreeSet::new();
    for (_, offered) in evidence.offered() {
        let plan = |(client, mail): (usize, usize)| -> Option<&MailPlan> { scenario.clients.get(client)?.mails.get(mail) };
        let Some(plan) = plan(offered.mail) else { continue };
        let positive = matches!(offered.verdict, Verdict::Positive(_));
        let breaks = plan.break_at.filter(|_| offered.token.ends_with("t0"));
        let facts = [
            (positive && plan.body_octets >= 256 * 1024, "a large content is taken"),
            (positive && plan.reverse_path.is_empty(), "a null reverse-path"),
            (positive && plan.eight_bit, "8-bit content"),
            (positive && plan.wish == Wish::Silence, "a sender asks for silence"),
            (positive && plan.wish == Wish::AllNews, "a sender asks for all news"),
            (positive && matches!(plan.wish, Wish::Hold(_)), "mail is held for its sender"),
            (offered.verdict == Verdict::Unknown, "a client hears no reply to the final dot"),
            (offered.verdict == Verdict::Refused(452), "a client hears that the disk is full"),
            (matches!(breaks, Some(BreakAt::Mail | BreakAt::Recipients)), "a client breaks off before the content"),
            (breaks == Some(BreakAt::Content), "a client breaks off in the content"),
            (breaks == Some(BreakAt::FinalDot), "a client breaks off behind the final dot"),
        ];
        met.extend(facts.iter().filter(|(holds, _)| *holds).map(|(_, what)| *what));
    }
    met
}
