//! What the judge may look at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use postrider_lab::Taken;
use postrider_model::policy::{Provider, QuotaLimits};
use postrider_model::{MessageId, Timestamp};

use super::told::Strangers;
use crate::scenario::{Change, Scenario};
use crate::world::clients::{MailPlan, Wish, content};
use crate::world::{EPOCH_MS, Fact, Offered, Unsubscriber, Verdict, World, lock};

/// A message in a provider's ledger.
#[derive(Debug, Clone)]
pub struct Told {
    /// Which provider.
    pub remote: usize,
    /// What it took.
    pub taken: Taken,
    /// When the relay had read the whole positive reply, if it ever had.
    pub confirmed: Option<Timestamp>,
}

/// A copy for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// When it was taken.
    pub at: Timestamp,
    /// When the relay knew.
    pub confirmed: Option<Timestamp>,
}

/// The policy that rules a provider, as the judge needs it.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its limits; providers with the same name and `shared` share them.
    pub provider: Provider,
}

/// All that was observed.
pub struct Evidence {
    /// The book.
    pub facts: Vec<(Timestamp, Fact)>,
    /// The providers' ledgers.
    pub told: Vec<Told>,
    /// Transactions begun at each provider: when, from where, in which session.
    pub transactions: Vec<Vec<(Timestamp, IpAddr, u64)>>,
    /// What providers complained about.
    pub complaints: Vec<String>,
    /// The policy for each provider.
    pub policies: Vec<Policy>,
    /// Connections out over all.
    pub connections_out_max: u32,
    /// What was left in the spool; `None` when no life came to its end.
    pub left: Option<Vec<String>>,
    /// Why the spool did not open again.
    pub refused_to_open: Option<String>,
    /// The mails that clients sent, by client.
    pub mails: Vec<Vec<MailPlan>>,
    /// The clients' user names, `tenant` or `tenant/stream`.
    pub users: Vec<String>,
    /// Those who asked for silence.
    pub unsubscribers: Vec<Unsubscriber>,
    /// The clients, where they were strangers and their mail was to be verified.
    pub strangers: Option<Strangers>,
    /// The tenant that must not starve, and how long its mail may take.
    pub fair: Option<(String, u64)>,
    /// Domains where nothing is ever refused for good.
    pub patient_domains: BTreeSet<String>,
    /// The give-up time, in milliseconds.
    pub give_up_ms: u64,
    /// How long an outcome may be unsynced, in milliseconds.
    pub unsynced_ms: u64,
    /// The spool kept its whole history in files.
    pub journal: bool,
    /// The recipient hosts each provider takes mail for; literals in their brackets.
    pub homes: Vec<BTreeSet<String>>,
    /// What each provider takes as a smart host.
    pub quotas: Vec<QuotaLimits>,
    /// The DNS denied names that exist.
    pub dns_lies: bool,
    /// The DNS was slow: a connection that was permitted is opened only when its host's addresses are known, and so too near the next one.
    pub dns_slow: bool,
}

impl Evidence {
    /// Gathers what a run left; takes the facts out of the book.
    pub fn gather(world: &World, scenario: &Scenario, left: Option<Vec<String>>, refused_to_open: Option<String>) -> Self {
        let facts = std::mem::take(&mut lock(&world.book).facts);
        let mut confirmed = BTreeMap::new();
        for (at, fact) in &facts {
            if let Fact::Confirmed { remote, nth } = fact {
                confirmed.insert((*remote, *nth), *at);
            }
        }
        let remotes = lock(&world.remotes);
        let mut told = Vec::new();
        for (remote, provider) in remotes.iter().enumerate() {
            for (nth, taken) in provider.provider.ledger.taken.iter().enumerate() {
                told.push(Told { remote, taken: taken.clone(), confirmed: confirmed.get(&(remote, nth)).copied() });
            }
        }
        let ledgers = || remotes.iter().map(|remote| &remote.provider.ledger);
        Self {
            facts,
            told,
            transactions: ledgers().map(|l| l.transactions.iter().map(|(at, peer, id)| (*at, *peer, id.0)).collect()).collect(),
            complaints: ledgers().flat_map(|ledger| ledger.complaints.iter().cloned()).collect(),
            policies: scenario.providers.iter().map(|plan| Policy { provider: plan.policy.clone() }).collect(),
            connections_out_max: scenario.snapshot.connections_out_max,
            left,
            refused_to_open,
            mails: scenario.clients.iter().map(|client| client.mails.clone()).collect(),
            users: scenario.clients.iter().map(|client| client.user.clone()).collect(),
            unsubscribers: scenario.unsubscribers.clone(),
            strangers: Strangers::of(scenario),
            fair: scenario.fair.clone(),
            patient_domains: scenario.patient_domains(),
            give_up_ms: scenario.snapshot.retry.give_up.as_millis() as u64,
            journal: scenario.journal,
            homes: scenario.homes(),
            quotas: scenario.quotas(),
            dns_lies: scenario.dns_lies(),
            dns_slow: scenario.changes.iter().any(|(_, change)| matches!(change, Change::Dns(weather) if weather.slow_percent > 0)),
            unsynced_ms: postrider_model::limits::SETTLE_SYNC_MS + 2 * scenario.commit_pause.as_millis() as u64 + 5,
        }
    }

    /// All transactions of clients.
    pub fn offered(&self) -> impl Iterator<Item = (Timestamp, &Offered)> {
        self.facts.iter().filter_map(|(at, fact)| match fact {
            Fact::Offered(offered) => Some((*at, &**offered)),
            _ => None,
        })
    }

    /// When lives ended, but by draining.
    pub fn crashes(&self) -> Vec<Timestamp> {
        let ends = self.facts.iter().filter(|(_, fact)| matches!(fact, Fact::LifeEnded(how) if how != "drained"));
        ends.map(|(at, _)| *at).collect()
    }

    /// Whether the relay, knowing at `at`, may have forgotten: a crash came before its knowledge had to be on disk.
    pub fn forgotten(&self, at: Timestamp, crashes: &[Timestamp]) -> bool {
        let safe = at.millis() + self.unsynced_ms;
        if crashes.iter().any(|crash| (at.millis()..=safe).contains(&crash.millis())) {
            return true;
        }
        // After a failed sync of the log nothing is kept any more until the restart.
        self.sync_failures().any(|(failed, until)| {
            let until = until.map_or(failed.millis() + self.unsynced_ms, Timestamp::millis);
            (failed.millis().saturating_sub(self.unsynced_ms)..=until).contains(&at.millis())
        })
    }

    /// When syncs failed; with the end of the life, when that one poisoned it, or may have: somebody looks after a minute at the latest.
    fn sync_failures(&self) -> impl Iterator<Item = (Timestamp, Option<Timestamp>)> + '_ {
        const LOOKED_MS: u64 = 60_000;
        self.facts.iter().enumerate().filter_map(|(nth, (at, fact))| {
            let Fact::SyncFailed { poisons } = fact else { return None };
            let poisoned = |end: &&(Timestamp, Fact)| {
                let told = matches!(&end.1, Fact::LifeEnded(how) if how.starts_with("poisoned"));
                *poisons && (told || end.0.since(*at).as_millis() as u64 <= LOOKED_MS)
            };
            let end = self.facts[nth..].iter().find(|(_, fact)| matches!(fact, Fact::LifeEnded(_)));
            Some((*at, end.filter(poisoned).map(|(at, _)| *at)))
        })
    }

    /// Copies of client mail by token and recipient, in the order in which they were taken.
    pub fn copies(&self) -> BTreeMap<(String, String), Vec<Copy>> {
        let mut copies: BTreeMap<_, Vec<Copy>> = BTreeMap::new();
        for told in &self.told {
            let Some(token) = &told.taken.token else { continue };
            for recipient in &told.taken.recipients {
                let copy = Copy { at: told.taken.at, confirmed: told.confirmed };
                copies.entry((token.clone(), recipient.clone())).or_default().push(copy);
            }
        }
        copies.values_mut().for_each(|copies| copies.sort_by_key(|copy| copy.at));
        copies
    }

    /// The content a client handed in under this token.
    pub fn content(&self, offered: &Offered) -> Option<Vec<u8>> {
        let (client, mail) = offered.mail;
        self.mails.get(client)?.get(mail).map(|plan| content(plan, &offered.token))
    }

    /// What the sender of a mail asked for.
    pub fn wish(&self, offered: &Offered) -> Wish {
        let (client, mail) = offered.mail;
        self.mails.get(client).and_then(|mails| mails.get(mail)).map_or(Wish::None, |plan| plan.wish)
    }

    /// How long each message is held, in milliseconds, where the client knows what became of it.
    pub fn holds_ms(&self) -> BTreeMap<MessageId, u64> {
        let held = self.offered().filter_map(|(_, offered)| match offered.verdict {
            Verdict::Positive(Some(id)) => Some((id, self.wish(offered).hold_ms())),
            _ => None,
        });
        held.collect()
    }

    /// The longest hold of all mails, in milliseconds: what a message may have that no client knows of.
    pub fn hold_max_ms(&self) -> u64 {
        self.mails.iter().flatten().map(|plan| plan.wish.hold_ms()).max().unwrap_or(0)
    }

    /// A time for people.
    pub fn clock(at: Timestamp) -> String {
        let ms = at.millis().saturating_sub(EPOCH_MS);
        format!("{}.{:03} s", ms / 1000, ms % 1000)
    }
}
