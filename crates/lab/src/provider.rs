//! One provider: its sessions, its memory, its ledger.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use postrider_model::Timestamp;

use crate::chance::Chance;
use crate::ledger::Ledger;
use crate::personality::{Fault, Moment, Personality};
use crate::session::Session;
use crate::throttle::Counts;

/// Names a session of one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What a driver does next, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write these octets.
    Write(Vec<u8>),
    /// Wait.
    Pause(Duration),
    /// The octets written so far include the whole positive reply for `Ledger::taken[n]`.
    Confirmed(usize),
    /// Write these octets again and again, until the peer has had enough.
    Repeat(Vec<u8>),
    /// STARTTLS was granted; a driver may secure the connection.
    Secure,
    /// Close the connection.
    Close,
}

/// A mailbox provider.
#[derive(Debug)]
pub struct Provider {
    pub(crate) personality: Personality,
    pub(crate) chance: Chance,
    pub(crate) counts: Counts,
    pub(crate) greylist: BTreeMap<(IpAddr, String, String), Timestamp>,
    /// Its book.
    pub ledger: Ledger,
    sessions: BTreeMap<SessionId, Session>,
    next: u64,
}

impl Provider {
    /// A provider; the seed decides when its faults strike.
    pub fn new(personality: Personality, seed: u64) -> Self {
        Self {
            personality,
            chance: Chance::new(seed),
            counts: Counts::default(),
            greylist: BTreeMap::new(),
            ledger: Ledger::default(),
            sessions: BTreeMap::new(),
            next: 0,
        }
    }

    /// How it behaves now.
    pub fn personality(&self) -> &Personality {
        &self.personality
    }

    /// Changes its manners; sessions under way feel it, its memory stays.
    pub fn change(&mut self, personality: Personality) {
        self.personality = personality;
    }

    /// Sessions open now.
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// A client connected.
    pub fn connect(&mut self, peer: IpAddr, now: Timestamp) -> (SessionId, Vec<Action>) {
        let id = SessionId(self.next);
        self.next += 1;
        let (open, lets) = self.counts.open(peer, self.personality.throttle.as_ref(), now);
        self.ledger.sessions.push((now, peer, open));
        let mut session = Session::new(id, peer);
        let mut actions = Vec::new();
        session.greet(self, lets, &mut actions);
        self.sessions.insert(id, session);
        (id, actions)
    }

    /// A client's octets came.
    pub fn feed(&mut self, id: SessionId, octets: &[u8], now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        // The session is taken out while it speaks, because it needs the provider's memory.
        if let Some(mut session) = self.sessions.remove(&id) {
            session.feed(self, octets, now, &mut actions);
            self.sessions.insert(id, session);
        }
        actions
    }

    /// The connection has ended, whoever ended it.
    pub fn closed(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.remove(&id) {
            self.counts.close(session.peer);
        }
    }

    /// The fault that strikes now, if one does.
    pub(crate) fn fault(&mut self, at: Moment) -> Option<Fault> {
        let Self { personality, chance, ledger, .. } = self;
        let fault = personality.faults.iter().find(|fault| fault.at == at && chance.percent(fault.percent))?;
        ledger.feel(fault.manner());
        Some(fault.clone())
    }
}
