//! Each check has a control: forged evidence that it must not let pass.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use postrider_lab::{SessionId, Taken};
use postrider_model::policy::{Provider, QuotaLimits, Rate};
use postrider_model::{DeliveryId, MessageId, Timestamp};

use super::evidence::{Evidence, Policy, Told};
use super::judge;
use super::told::Strangers;
use crate::world::EPOCH_MS;
use crate::world::Unsubscriber;
use crate::world::book::{Cause, Fact, JournalEvent, Offered, Outcome, Verdict};
use crate::world::clients::{MailPlan, Wish, content};
use crate::world::registry::{BOUND_TENANT, SIGNED_TENANT};
use crate::world::strangers::Guise;

const TRACE: &[u8] = b"Received: from client.example\r\n\tby relay.example\r\n";

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(EPOCH_MS + ms)
}

fn source() -> IpAddr {
    "192.0.2.25".parse().unwrap()
}

fn plan(reverse_path: &str) -> MailPlan {
    MailPlan {
        not_before_ms: 0,
        reverse_path: reverse_path.into(),
        recipients: vec!["a@p1.example".into(), "b@p1.example".into()],
        body_octets: 50,
        eight_bit: false,
        break_at: None,
        wish: Wish::None,
        guise: Guise::Plain,
    }
}

fn id() -> MessageId {
    MessageId::new(at(10), [1; 10])
}

fn offered(reverse_path: &str, verdict: Verdict) -> Fact {
    let recipients = plan("").recipients;
    Fact::Offered(Box::new(Offered {
        token: "t".into(),
        mail: (0, 0),
        tenant: "shop".into(),
        reverse_path: reverse_path.into(),
        recipients,
        verdict,
    }))
}

fn taken(at_ms: u64, recipients: &[&str], reverse_path: &str) -> Told {
    let mut content_octets = TRACE.to_vec();
    content_octets.extend(content(&plan(reverse_path), "t"));
    Told {
        remote: 0,
        taken: Taken {
            at: at(at_ms),
            session: SessionId(0),
            peer: source(),
            reverse_path: reverse_path.into(),
            recipients: recipients.iter().map(|r| (*r).to_owned()).collect(),
            token: Some("t".into()),
            content: content_octets,
            said: true,
        },
        confirmed: Some(at(at_ms + 5)),
    }
}

fn report(at_ms: u64, id: &str, quoted: &str, failed: &str, to: &str) -> Told {
    let text = format!("Message-ID: <{id}@relay.example>\r\n\r\nFinal-Recipient: rfc822; {failed}\r\n\r\n{quoted}\r\n");
    let mut told = taken(at_ms, &[to], "");
    (told.taken.token, told.taken.content) = (None, text.into_bytes());
    told
}

fn attempted(index: u32, outcome: Outcome, report: bool) -> Fact {
    let recipient = plan("").recipients[index as usize].clone();
    let cause = if outcome == Outcome::Delivered { Cause::None } else { Cause::Reply { code: 550, before_mail: false } };
    let (reverse_path, why) = (String::new(), String::new());
    Fact::Attempted { message: id(), index, report, reverse_path, recipient, outcome, why, cause, began: Some(at(20)) }
}

fn settled(sequence: u64, index: u32, outcome: Outcome) -> Fact {
    let delivery = DeliveryId { message: id(), index };
    Fact::Journal { sequence, event: JournalEvent::Settled { delivery, outcome } }
}

fn accepted(sequence: u64, reports_on: Option<MessageId>) -> Fact {
    Fact::Journal { sequence, event: JournalEvent::Accepted { message: id(), recipients: 2, reports_on } }
}

/// One message, accepted, delivered to both recipients, confirmed, settled.
fn good() -> Evidence {
    Evidence {
        facts: vec![
            (at(0), Fact::LifeBegan(0)),
            (at(10), accepted(1, None)),
            (at(10), Fact::Accepted(id())),
            (at(12), offered("s@p0.example", Verdict::Positive(Some(id())))),
            (at(15), Fact::Opened { remote: 0, source: source(), connection: 0 }),
            (at(25), attempted(0, Outcome::Delivered, false)),
            (at(25), attempted(1, Outcome::Delivered, false)),
            (at(26), settled(2, 0, Outcome::Delivered)),
            (at(26), settled(3, 1, Outcome::Delivered)),
            (at(30), Fact::Closed { connection: 0 }),
        ],
        told: vec![taken(20, &["a@p1.example", "b@p1.example"], "s@p0.example")],
        transactions: vec![vec![(at(16), source(), 0)]],
        complaints: Vec::new(),
        policies: vec![Policy { provider: Provider { connections_max: 1, messages_per_connection_max: 2, ..Provider::fallback() } }],
        connections_out_max: 3,
        left: Some(Vec::new()),
        refused_to_open: None,
        mails: vec![vec![plan("s@p0.example")]],
        users: vec!["shop".into()],
        unsubscribers: Vec::new(),
        strangers: None,
        fair: Some(("shop".into(), 1_000)),
        patient_domains: BTreeSet::from(["p1.example".to_owned()]),
        give_up_ms: 60_000,
        unsynced_ms: 30,
        journal: true,
        homes: vec![BTreeSet::from(["p0.example".to_owned(), "p1.example".to_owned()])],
        quotas: vec![QuotaLimits::default()],
        dns_lies: false,
        dns_slow: false,
    }
}

/// The named check, and only it, finds something.
fn trips(check: &str, words: &str, forge: impl FnOnce(&mut Evidence)) {
    let mut evidence = good();
    forge(&mut evidence);
    let found = judge(&evidence);
    assert!(found.iter().any(|violation| violation.check == check && violation.what.contains(words)), "{check} {words}: {found:?}");
}

fn passes(forge: impl FnOnce(&mut Evidence)) {
    let mut evidence = good();
    forge(&mut evidence);
    assert_eq!(judge(&evidence), []);
}

fn verdict(evidence: &mut Evidence, verdict: Verdict) {
    evidence.facts[3].1 = offered("s@p0.example", verdict);
}

#[test]
fn what_is_well_is_let_pass() {
    passes(|_| {});
}

fn strangers(address: &str, enforces: bool) -> Strangers {
    Strangers { addresses: vec![address.parse().unwrap()], enforces, dns_is_fine: true }
}

/// A stranger's mail, with what was told of it.
fn stranger(evidence: &mut Evidence, address: &str, told: &str) {
    evidence.strangers = Some(strangers(address, false));
    let told = format!("Authentication-Results: relay.example;\r\n {told}\r\n");
    evidence.told[0].taken.content.splice(TRACE.len()..TRACE.len(), told.bytes());
}

#[test]
fn c1_sees_what_is_told_of_strangers() {
    let (own, other) = ("203.0.113.1", "198.18.0.1");
    passes(|e| stranger(e, own, "spf=pass smtp.mailfrom=s@p0.example; dkim=none; dmarc=pass"));
    passes(|e| stranger(e, other, "spf=fail; dkim=none; dmarc=fail"));
    trips("C1", "spf=[\"pass\"], and the truth is fail", |e| stranger(e, other, "spf=pass; dkim=none; dmarc=fail"));
    trips("C1", "dmarc=[\"pass\"], and the truth is fail", |e| stranger(e, other, "spf=fail; dkim=none; dmarc=pass"));
    trips("C1", "dkim=[], and the truth is none", |e| stranger(e, own, "spf=pass; dmarc=pass"));
    trips("C1", "dmarc=[\"temperror\"], and the truth is pass", |e| stranger(e, own, "spf=pass; dkim=none; dmarc=temperror"));
    passes(|e| {
        stranger(e, own, "spf=temperror; dkim=none; dmarc=temperror");
        e.strangers.iter_mut().for_each(|strangers| strangers.dns_is_fine = false);
    });
    trips("C1", "although its domain disowns it", |e| {
        stranger(e, other, "spf=fail; dkim=none; dmarc=fail");
        e.strangers.iter_mut().for_each(|strangers| strangers.enforces = true);
    });
    trips("C1", "was refused for good: 550", |e| {
        e.strangers = Some(strangers(own, true));
        verdict(e, Verdict::Refused(550));
    });
}

#[test]
fn c1_sees_what_is_lost_changed_or_invented() {
    trips("C1", "neither delivered nor told", |e| e.told[0].taken.recipients.truncate(1));
    trips("C1", "and yet sent", |e| verdict(e, Verdict::Refused(451)));
    trips("C1", "and yet sent", |e| verdict(e, Verdict::Broken));
    trips("C1", "nobody ever handed in", |e| e.told[0].taken.token = Some("other".into()));
    trips("C1", "arrived changed", |e| e.told[0].taken.content.pop().map_or((), |_| ()));
    trips("C1", "strange head", |e| e.strangers = Some(strangers("203.0.113.1", true)));
    trips("C1", "strange head", |e| e.told[0].taken.content.splice(..9, *b"Sneaked: ").for_each(drop));
    trips("C1", "for whom it was not taken", |e| e.told[0].taken.recipients.push("c@p1.example".into()));
    trips("C1", "with reverse-path", |e| e.told[0].taken.reverse_path = "x@p0.example".into());
    trips("C1", "no token of its recipient", |e| {
        let Fact::Offered(offered) = &mut e.facts.iter_mut().find(|(_, fact)| matches!(fact, Fact::Offered(_))).unwrap().1 else { return };
        offered.tenant = crate::world::TOKENS_TENANT.into();
    });
    trips("C1", "and yet bounced", |e| e.told.push(report(40, "r", "X-Token: t", "a@p1.example", "s@p0.example")));
    // A report that came tells; a log line alone tells only where no report can come.
    let bounced = |e: &mut Evidence| {
        e.told[0].taken.recipients.truncate(1);
        e.facts[6].1 = attempted(1, Outcome::Bounced, false);
        e.fair = None;
    };
    trips("C1", "no report came", bounced);
    passes(|e| {
        bounced(e);
        e.told.push(report(40, "r", "X-Token: t", "b@p1.example", "s@p0.example"));
    });
    passes(|e| {
        bounced(e);
        e.mails = vec![vec![plan("")]];
        e.facts[3].1 = offered("", Verdict::Positive(Some(id())));
        e.told[0] = taken(20, &["a@p1.example"], "");
    });
    passes(|e| verdict(e, Verdict::Unknown));
}

#[test]
fn c9_sees_who_has_no_silence_and_words_that_are_not_told() {
    let word = |mailbox: &str| Unsubscriber { not_before_ms: 1, user: "shop".into(), mailbox: mailbox.into() };
    let heard = |user: &str, mailbox: &str| Fact::Silenced { user: user.into(), mailbox: mailbox.into() };
    let told = |sequence, mailbox: &str| Fact::Journal { sequence, event: JournalEvent::Suppressed { who: word(mailbox).who() } };
    // They asked before the attempt, which began at 20.
    let silenced = |e: &mut Evidence, ms: u64| {
        e.unsubscribers = vec![word("a@p1.example")];
        e.facts.insert(1, (at(ms), heard("shop", "a@p1.example")));
        e.facts.push((at(40), told(4, "a@p1.example")));
    };
    trips("C9", "who has silence since", |e| silenced(e, 15));
    passes(|e| silenced(e, 22));
    passes(|e| {
        silenced(e, 15);
        e.users = vec!["shop/other".to_owned()];
    });
    trips("C9", "had silence for long", |e| {
        silenced(e, 15);
        e.told[0].taken.at = at(15 + 4_000_000);
    });
    trips("C9", "the journal knows nothing of it", |e| {
        silenced(e, 22);
        e.facts.pop();
    });
    trips("C9", "tells it 2 times", |e| {
        silenced(e, 22);
        e.facts.push((at(41), told(5, "a@p1.example")));
    });
    trips("C9", "never asked for silence", |e| {
        e.facts[6].1 = attempted(1, Outcome::Bounced, false);
        let Fact::Attempted { cause, .. } = &mut e.facts[6].1 else { return };
        *cause = Cause::Silence;
    });
}

#[test]
fn c10_sees_what_a_silent_registry_let_pass() {
    let tenant = |e: &mut Evidence, name: &str| {
        let Fact::Offered(offered) = &mut e.facts.iter_mut().find(|(_, fact)| matches!(fact, Fact::Offered(_))).unwrap().1 else { return };
        offered.tenant = name.into();
    };
    trips("C10", "was told at t that it is wrong", |e| verdict(e, Verdict::Refused(535)));
    trips("C10", "sent unsigned", |e| tenant(e, SIGNED_TENANT));
    passes(|e| {
        tenant(e, SIGNED_TENANT);
        e.told[0].taken.content.splice(..0, *b"DKIM-Signature: v=1;\r\n b=x\r\n").for_each(drop);
        e.fair = None;
    });
    passes(|e| {
        tenant(e, BOUND_TENANT);
        e.fair = None;
    });
    trips("C10", "which is not its own", |e| {
        tenant(e, BOUND_TENANT);
        let Fact::Offered(offered) = &mut e.facts.iter_mut().find(|(_, fact)| matches!(fact, Fact::Offered(_))).unwrap().1 else { return };
        offered.reverse_path = "s@p1.example".into();
    });
}

#[test]
fn c1_asks_for_the_cause_of_a_bounce() {
    let bounce = |recipient: &str, ms: u64| {
        let mut fact = attempted(1, Outcome::Bounced, false);
        if let Fact::Attempted { recipient: to, message, .. } = &mut fact {
            (*to, *message) = (recipient.to_owned(), MessageId::new(at(10), [2; 10]));
        }
        (at(ms), fact)
    };
    let known = |e: &mut Evidence| e.facts.insert(0, (at(10), Fact::Accepted(MessageId::new(at(10), [2; 10]))));
    for (recipient, ms, judged) in [
        ("user1@p1.example", 1_000, true),
        ("user1@p1.example", 60_010, false),
        ("user1@p2.example", 1_000, false),
        ("unknown1@p1.example", 1_000, false),
    ] {
        let forge = |e: &mut Evidence| {
            known(e);
            e.facts.push(bounce(recipient, ms));
        };
        if judged {
            trips("C1", "without cause", forge);
        } else {
            passes(forge);
        }
    }
}

/// The log says that recipient 1 did not get it, so, for this cause, at this time.
fn fails(e: &mut Evidence, ms: u64, outcome: Outcome, cause: Cause) {
    let mut fact = attempted(1, outcome, false);
    if let Fact::Attempted { cause: told, began, .. } = &mut fact {
        (*told, *began) = (cause, Some(at(ms)));
    }
    e.facts[6] = (at(ms), fact);
}

#[test]
fn c1_asks_for_one_end_in_time() {
    trips("C1", "the log knows no end", |e| e.facts.truncate(6));
    trips("C1", "the journal has no end", |e| e.facts.retain(|(_, f)| !matches!(f, Fact::Journal { sequence: 3, .. })));
    trips("C1", "behind its give-up time", |e| fails(e, 25, Outcome::Deferred(at(60_011)), Cause::Trouble));
    trips("C1", "long behind its give-up time", |e| fails(e, 60_000 + 3_700_000, Outcome::Bounced, Cause::Late));
    trips("C1", "explain knows nothing", |e| e.facts.push((at(15), Fact::Invisible { message: id(), index: 0 })));
    let sync_fails = |e: &mut Evidence, ms| {
        e.facts.insert(0, (at(ms), Fact::SyncFailed { poisons: true }));
        e.facts.push((at(90_000), Fact::LifeEnded("poisoned: disk".into())));
    };
    trips("C1", "after a sync had failed", |e| sync_fails(e, 4));
    passes(|e| sync_fails(e, 5));
    trips("C1", "not its host", |e| e.homes = vec![BTreeSet::from(["p9.example".to_owned()])]);
    trips("C1", "as another mail was", |e| {
        let mut again = offered("s@p0.example", Verdict::Positive(Some(id())));
        if let Fact::Offered(offered) = &mut again {
            offered.token = "u".into();
        }
        e.facts.push((at(13), again));
    });
    let early = |e: &mut Evidence, due| {
        let again = e.facts[6].clone();
        fails(e, 20, Outcome::Deferred(at(due)), Cause::Trouble);
        e.facts.insert(7, again);
    };
    passes(|e| early(e, 20));
    trips("C4", "and due at", |e| early(e, 21));
}

#[test]
fn c1_lets_only_what_is_for_ever_bounce() {
    let never = |code, before_mail| Cause::Reply { code, before_mail };
    for cause in [Cause::Trouble, Cause::Late, Cause::Absent, never(451, false), never(550, true)] {
        trips("C1", "for something that passes", |e| fails(e, 25, Outcome::Bounced, cause));
    }
    passes(|e| {
        fails(e, 25, Outcome::Bounced, Cause::Absent);
        e.dns_lies = true;
        e.told[0].taken.recipients.truncate(1);
        e.told.push(report(40, "r", "X-Token: t", "b@p1.example", "s@p0.example"));
        e.fair = None;
    });
}

#[test]
fn c1_counts_lost_reports() {
    // Two messages bounced, and one report of the two could not be delivered: somebody was told nothing.
    trips("C1", "only 1 reports were lost", |e| {
        e.told.clear();
        let other = MessageId::new(at(10), [3; 10]);
        let mut second = offered("s@p0.example", Verdict::Positive(Some(other)));
        if let Fact::Offered(offered) = &mut second {
            offered.token = "u".into();
        }
        e.facts.push((at(13), second));
        for (message, recipient, report) in
            [(id(), "a", false), (id(), "b", false), (other, "a", false), (other, "b", false), (MessageId(7), "s", true)]
        {
            let mut fact = attempted(0, Outcome::Bounced, report);
            if let Fact::Attempted { message: of, recipient: to, .. } = &mut fact {
                (*of, *to) = (message, if report { "s@p0.example".into() } else { format!("{recipient}@p1.example") });
            }
            e.facts.push((at(30), fact));
        }
    });
}

#[test]
fn c2_sees_a_copy_without_an_excuse() {
    let again = |e: &mut Evidence| e.told.push(taken(90, &["a@p1.example"], "s@p0.example"));
    trips("C2", "sent again", again);
    passes(|e| {
        again(e);
        e.told[0].confirmed = None;
    });
    // A crash while the outcome was on its way to the disk excuses; one long afterwards does not.
    let crash = |e: &mut Evidence, ms| e.facts.push((at(ms), Fact::LifeEnded("the power went".into())));
    passes(|e| {
        again(e);
        crash(e, 40);
    });
    trips("C2", "sent again", |e| {
        again(e);
        crash(e, 80);
    });
    trips("C2", "attempted again", |e| e.facts.push((at(50), attempted(0, Outcome::Delivered, false))));
    trips("C2", "further copies, more than", |e| {
        e.facts.push((at(40), Fact::LifeEnded("the power went".into())));
        let many: Vec<Told> = (0..1200).map(|_| taken(20, &["a@p1.example"], "s@p0.example")).collect();
        e.told.extend(many);
    });
}

#[test]
fn c3_counts_as_the_provider_does() {
    let open = |connection| (at(20), Fact::Opened { remote: 0, source: source(), connection });
    trips("C3", "2 connections from", |e| e.facts.insert(5, open(1)));
    passes(|e| e.facts.push((at(31), open(1).1)));
    trips("C3", "connections in all", |e| (1..5).for_each(|n| e.facts.insert(5, open(n))));
    trips("C3", "messages in session", |e| e.transactions[0] = vec![(at(16), source(), 0); 3]);
    trips("C3", "recipients in one transaction", |e| e.policies[0].provider.recipients_per_message_max = 1);
    trips("C3", "complains", |e| e.complaints.push("MAIL out of order".into()));
    let rate = Rate { count: 5, per: Duration::from_secs(60), burst: 1 };
    trips("C3", "messages from", |e| {
        e.policies[0].provider.message_rate = Some(rate);
        e.transactions[0] = (0..9).map(|nth| (at(nth * 6_000), source(), nth)).collect();
    });
    trips("C3", "connections from", |e| {
        e.policies[0].provider.connection_rate = Some(rate);
        let more = (1..8).flat_map(|n| [(at(n * 1000), open(n).1), (at(n * 1000 + 1), Fact::Closed { connection: n })]);
        e.facts.extend(more);
    });
    // Sites that share permits are counted together.
    let two_remotes = |e: &mut Evidence, shared| {
        e.policies[0].provider.shared = shared;
        e.policies.push(e.policies[0].clone());
        e.transactions.push(Vec::new());
        e.facts.insert(5, (at(20), Fact::Opened { remote: 1, source: source(), connection: 1 }));
    };
    passes(|e| two_remotes(e, false));
    trips("C3", "2 connections from", |e| two_remotes(e, true));
}

#[test]
fn c3_follows_a_reload() {
    let narrow = |e: &mut Evidence, ms| {
        e.policies[0].provider.connections_max = 2;
        e.facts.push((at(31), Fact::Reloaded(vec![1])));
        e.facts.push((at(ms), Fact::Opened { remote: 0, source: source(), connection: 1 }));
        e.facts.push((at(ms), Fact::Opened { remote: 0, source: source(), connection: 2 }));
    };
    passes(|e| narrow(e, 600_000));
    trips("C3", "2 connections from", |e| narrow(e, 600_031));
}

#[test]
fn c4_sees_facts_out_of_order() {
    trips("C4", "event 2 after event 3", |e| e.facts.swap(7, 8));
    trips("C4", "something is missing", |e| e.facts.retain(|(_, f)| !matches!(f, Fact::Journal { sequence: 2, .. })));
    trips("C4", "is Delivered after it was Delivered", |e| e.facts.push((at(50), settled(4, 0, Outcome::Delivered))));
    trips("C4", "is Deferred", |e| e.facts.push((at(50), settled(4, 0, Outcome::Deferred(at(60))))));
    trips("C4", "never accepted", |e| {
        e.facts[1].1 =
            Fact::Journal { sequence: 1, event: JournalEvent::Accepted { message: MessageId(9), recipients: 1, reports_on: None } };
    });
    trips("C4", "accepted twice", |e| e.facts.push((at(50), accepted(4, None))));
    trips("C4", "is no recipient", |e| e.facts.push((at(50), settled(4, 2, Outcome::Delivered))));
    trips("C4", "before its acceptance", |e| e.facts.retain(|(_, fact)| !matches!(fact, Fact::Accepted(_))));
    trips("C4", "the log goes on", |e| e.facts.insert(7, (at(25), attempted(0, Outcome::Deferred(at(60)), false))));
    trips("C4", "not what it was", |e| e.facts.push((at(50), Fact::Rewritten(2))));
}

#[test]
fn c5_sees_reports_that_should_not_be() {
    let bounced = |e: &mut Evidence| e.told[0].taken.recipients.truncate(1);
    let reported = |e: &mut Evidence, quoted: &str, to: &str| {
        bounced(e);
        e.told.push(report(40, "r", quoted, "b@p1.example", to));
    };
    trips("C5", "null reverse-path", |e| {
        e.facts[3].1 = offered("", Verdict::Positive(Some(id())));
        reported(e, "X-Token: t", "s@p0.example");
    });
    trips("C5", "asked for silence", |e| {
        reported(e, "X-Token: t", "s@p0.example");
        e.mails[0][0].wish = Wish::Silence;
    });
    let news = |e: &mut Evidence, wish: Wish| {
        reported(e, "Action: relayed\r\nX-Token: t", "s@p0.example");
        e.mails[0][0].wish = wish;
    };
    trips("C5", "did not ask for", |e| news(e, Wish::None));
    passes(|e| {
        e.told.push(report(40, "r", "Action: relayed\r\nX-Token: t", "b@p1.example", "s@p0.example"));
        e.mails[0][0].wish = Wish::AllNews;
    });
    trips("C4", "before its hold ended", |e| e.mails[0][0].wish = Wish::Hold(60));
    trips("C5", "went to", |e| reported(e, "X-Token: t", "x@p0.example"));
    trips("C5", "about nothing", |e| reported(e, "Subject: a report", "s@p0.example"));
    trips("C5", "in 2 reports", |e| {
        reported(e, "X-Token: t", "s@p0.example");
        e.told.push(report(50, "r2", "X-Token: t", "b@p1.example", "s@p0.example"));
    });
    trips("C5", "has the reverse-path", |e| {
        let mut fact = attempted(0, Outcome::Delivered, true);
        if let Fact::Attempted { reverse_path, .. } = &mut fact {
            *reverse_path = "postmaster@relay.example".into();
        }
        e.facts.push((at(60), fact));
    });
    trips("C5", "about the report", |e| {
        let on =
            |message, on| Fact::Journal { sequence: 0, event: JournalEvent::Accepted { message, recipients: 1, reports_on: Some(on) } };
        e.facts.push((at(60), on(MessageId(7), id())));
        e.facts.push((at(61), on(MessageId(8), MessageId(7))));
    });
}

#[test]
fn c1_sees_mail_from_an_address_that_is_not_of_its_pool() {
    let elsewhere = IpAddr::from([192, 0, 2, 99]);
    let pooled = |ms, addresses| (at(ms), Fact::Pooled("shop", addresses));
    passes(|e| e.facts.insert(0, pooled(0, Some(vec![source()]))));
    passes(|e| e.facts.insert(0, pooled(0, None)));
    // What was under way under another pool ends as it began; the same long after is wrong.
    passes(|e| e.facts.insert(3, pooled(15, Some(vec![elsewhere]))));
    let late = |e: &mut Evidence| {
        let began = e.facts[0].0;
        e.facts.insert(0, (Timestamp::from_millis(began.millis() - 60_000), Fact::Pooled("shop", Some(vec![elsewhere]))));
    };
    trips("C1", "which is not of its pool", late);
    trips("C1", "which is not of its pool", |e| {
        late(e);
        e.facts.insert(1, pooled(5, Some(Vec::new())));
    });
}

#[test]
fn c6_sees_windows_and_starvation() {
    let window = |window| (at(20), Fact::Window { site: "mx".into(), connections: 1, window });
    passes(|e| e.facts.push(window(2)));
    trips("C6", "window of mx", |e| e.facts.push(window(3)));
    trips("C6", "of tenant shop took", |e| e.fair = Some(("shop".into(), 5)));
}

#[test]
fn c7_sees_what_is_left() {
    trips("C7", "is left", |e| e.left = Some(vec!["a delivery".into()]));
    trips("C7", "again and again", |e| e.left = None);
    trips("C7", "still holds 1 contents", |e| e.facts.push((at(90), Fact::Rest { contents: 1, segments: 1 })));
    trips("C7", "and 3 segments", |e| e.facts.push((at(90), Fact::Rest { contents: 0, segments: 3 })));
    trips("C7", "did not open", |e| e.refused_to_open = Some("corrupt".into()));
}

#[test]
fn c8_stands_for_every_fact_and_its_time() {
    let hash = |facts: &[(u64, Fact)]| {
        let mut book = crate::world::Book::default();
        facts.iter().for_each(|(ms, fact)| book.note(at(*ms), fact.clone()));
        book.hash()
    };
    let facts = [(1, Fact::LifeBegan(0)), (2, Fact::Queue(3))];
    assert_eq!(hash(&facts), hash(&facts));
    let different = [vec![], vec![(1, Fact::LifeBegan(0)), (3, Fact::Queue(3))], vec![(1, Fact::LifeBegan(0)), (2, Fact::Queue(4))]];
    let hashes: BTreeMap<u64, usize> = different.iter().enumerate().map(|(nth, facts)| (hash(facts), nth)).collect();
    assert_eq!(hashes.len(), 3);
    assert!(!hashes.contains_key(&hash(&facts)));
}

#[test]
fn c3_counts_what_smart_hosts_took() {
    // Two recipients went at 0.02 s.
    let later = |e: &mut Evidence, ms, recipients: &[&str]| {
        let mut more = taken(ms, recipients, "s@p0.example");
        (more.taken.token, more.taken.session) = (None, SessionId(ms));
        e.told.push(more);
        e.fair = None;
        e.quotas = vec![QuotaLimits { per_hour: Some(2), per_day: Some(3), per_second: None }];
    };
    passes(|e| later(e, 3_600_020, &["c@p1.example"]));
    trips("C3", "3 recipients in an hour", |e| later(e, 3_500_000, &["c@p1.example"]));
    trips("C3", "4 recipients in 24 hours", |e| later(e, 80_000_000, &["c@p1.example", "d@p1.example"]));
    passes(|e| later(e, 86_400_020, &["c@p1.example", "d@p1.example"]));
    // A slow mail counts from its beginning.
    trips("C3", "3 recipients in an hour", |e| {
        later(e, 3_700_000, &["c@p1.example"]);
        e.transactions[0].push((at(17), source(), 3_700_000));
    });
}
