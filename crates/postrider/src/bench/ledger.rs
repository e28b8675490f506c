//! What was sent, what was acknowledged and what arrived, one small entry per message, written by the generator and the sinks at once.
//!
//! Promises: a message is lost when it was acknowledged and fewer recipients' copies arrived than were accepted; every copy beyond is a
//! duplicate. Times come from one monotonic clock. Costs 24 octets per message and no lock.
//!
//! Does badly: an arrival is timed when the sink's thread reads the end of data, an acknowledgement when the generator's thread reads the 250;
//! on a full machine both run late by their thread's wait for a core.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

/// A monotonic clock in nanoseconds since it was made.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    start: Instant,
}

impl Watch {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "the bench measures the real world from outside; no simulation runs it")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Nanoseconds since the start; never 0, which stands for "not yet".
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

/// The value of a message's `X-Bench` field: run and session, a hyphen, the message's number; hexadecimal of fixed width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The run, so that mail left over from an earlier run is told apart.
    pub run: u16,
    /// The generator's session.
    pub session: u16,
    /// The message's number within the run.
    pub number: u32,
}

impl Token {
    /// Octets of a token on the wire.
    pub const OCTETS: usize = 17;

    /// Writes the token over exactly [`Token::OCTETS`] octets.
    pub fn write(&self, to: &mut [u8]) {
        let high = u32::from(self.run) << 16 | u32::from(self.session);
        write_hex(high, &mut to[..8]);
        to[8] = b'-';
        write_hex(self.number, &mut to[9..Self::OCTETS]);
    }

    /// Reads a token of exactly [`Token::OCTETS`] octets.
    pub fn parse(from: &[u8]) -> Option<Self> {
        if from.len() != Self::OCTETS || from[8] != b'-' {
            return None;
        }
        let high = read_hex(&from[..8])?;
        Some(Self { run: (high >> 16) as u16, session: (high & 0xffff) as u16, number: read_hex(&from[9..])? })
    }
}

fn write_hex(value: u32, to: &mut [u8]) {
    for (index, octet) in to.iter_mut().enumerate() {
        *octet = b"0123456789abcdef"[(value >> (28 - 4 * index) & 0xf) as usize];
    }
}

fn read_hex(from: &[u8]) -> Option<u32> {
    from.iter().try_fold(0u32, |value, &octet| Some(value << 4 | (octet as char).to_digit(16)?))
}

#[derive(Debug, Default)]
struct Entry {
    /// When its 250 was read.
    accepted_ns: AtomicU64,
    /// When its last copy arrived.
    arrived_ns: AtomicU64,
    /// From the end of data to the 250.
    reply_us: AtomicU32,
    /// Recipients whose copy arrived.
    copies: AtomicU32,
}

/// The shared book of one run.
#[derive(Debug)]
pub struct Ledger {
    /// The run's clock.
    pub watch: Watch,
    /// The run's number in the tokens.
    pub run: u16,
    recipients: u32,
    message_octets: u64,
    entries: Vec<Entry>,
    complete: AtomicU64,
    accepted: AtomicU64,
    strays: AtomicU64,
    truncated: AtomicU64,
    first_attempt_ns: AtomicU64,
    arrival: Notify,
}

impl Ledger {
    /// A book for `messages` messages of `message_octets` octets to `recipients` recipients each.
    pub fn new(run: u16, messages: usize, recipients: u32, message_octets: u64) -> Self {
        Self {
            watch: Watch::start(),
            run,
            recipients,
            message_octets,
            entries: (0..messages).map(|_| Entry::default()).collect(),
            complete: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            strays: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            first_attempt_ns: AtomicU64::new(0),
            arrival: Notify::new(),
        }
    }

    /// The generator read the 250 of a message.
    pub fn accepted(&self, number: u32, end_of_data_ns: u64, accepted_ns: u64) {
        let entry = &self.entries[number as usize];
        entry.accepted_ns.store(accepted_ns, Ordering::Relaxed);
        let reply_us = accepted_ns.saturating_sub(end_of_data_ns) / 1000;
        entry.reply_us.store(u32::try_from(reply_us).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Release);
    }

    /// A sink read the end of data of a transaction with `recipients` accepted recipients.
    pub fn arrived(&self, token: Option<Token>, recipients: u32, octets: u64, now_ns: u64) {
        let entry = token.filter(|token| token.run == self.run).and_then(|token| self.entries.get(token.number as usize));
        let Some(entry) = entry else {
            self.strays.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if octets < self.message_octets {
            self.truncated.fetch_add(1, Ordering::Relaxed);
        }
        entry.arrived_ns.fetch_max(now_ns, Ordering::Relaxed);
        let before = entry.copies.fetch_add(recipients, Ordering::Relaxed);
        if before < self.recipients && before + recipients >= self.recipients {
            self.complete.fetch_add(1, Ordering::Release);
            self.arrival.notify_one();
        }
    }

    /// A sink was connected to: the first attempt counts.
    pub fn attempted(&self) {
        let _ = self.first_attempt_ns.compare_exchange(0, self.watch.now_ns(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// When a sink was first connected to.
    pub fn first_attempt_ns(&self) -> Option<u64> {
        Some(self.first_attempt_ns.load(Ordering::Relaxed)).filter(|&at| at != 0)
    }

    /// Messages acknowledged so far.
    pub fn accepted_count(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// Messages of which every copy arrived so far.
    pub fn complete_count(&self) -> u64 {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether every acknowledged message for which `counts` holds has arrived whole. Looks at every entry.
    pub fn none_missing(&self, counts: impl Fn(usize) -> bool) -> bool {
        let missing =
            |entry: &Entry| entry.accepted_ns.load(Ordering::Relaxed) != 0 && entry.copies.load(Ordering::Relaxed) < self.recipients;
        !self.entries.iter().enumerate().any(|(number, entry)| missing(entry) && counts(number))
    }

    /// Resolves at the next complete arrival (or one since the last call).
    pub async fn next_arrival(&self) {
        self.arrival.notified().await;
    }

    /// Judges the messages `from..` for which `counts` holds.
    pub fn tally(&self, from: usize, counts: impl Fn(usize) -> bool) -> Tally {
        let mut tally = Tally {
            strays: self.strays.load(Ordering::Relaxed),
            truncated: self.truncated.load(Ordering::Relaxed),
            first_ns: u64::MAX,
            ..Tally::default()
        };
        for (_, entry) in self.entries.iter().enumerate().skip(from).filter(|(number, _)| counts(*number)) {
            let accepted_ns = entry.accepted_ns.load(Ordering::Relaxed);
            let arrived_ns = entry.arrived_ns.load(Ordering::Relaxed);
            let copies = entry.copies.load(Ordering::Relaxed);
            tally.duplicates += u64::from(copies.saturating_sub(self.recipients));
            if accepted_ns == 0 {
                tally.unacknowledged += u64::from(copies > 0);
                continue;
            }
            tally.accepted += 1;
            let reply_us = entry.reply_us.load(Ordering::Relaxed);
            tally.reply_us.push(reply_us);
            tally.first_ns = tally.first_ns.min(accepted_ns.saturating_sub(u64::from(reply_us) * 1000));
            tally.last_accepted_ns = tally.last_accepted_ns.max(accepted_ns);
            if copies < self.recipients {
                tally.lost += 1;
            } else {
                tally.last_arrived_ns = tally.last_arrived_ns.max(arrived_ns);
                let arrival_us = arrived_ns.saturating_sub(accepted_ns) / 1000;
                tally.arrival_us.push(u32::try_from(arrival_us).unwrap_or(u32::MAX));
            }
        }
        tally.reply_us.sort_unstable();
        tally.arrival_us.sort_unstable();
        tally
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages whose 250 was read.
    pub accepted: u64,
    /// Acknowledged messages of which a copy is missing.
    pub lost: u64,
    /// Copies beyond one per recipient.
    pub duplicates: u64,
    /// Messages that arrived though their 250 was never read.
    pub unacknowledged: u64,
    /// Arrivals without a token of this run.
    pub strays: u64,
    /// Arrivals shorter than what was sent.
    pub truncated: u64,
    /// The earliest end of data among them.
    pub first_ns: u64,
    /// The last 250.
    pub last_accepted_ns: u64,
    /// The last arrival.
    pub last_arrived_ns: u64,
    /// From the end of data to the 250, ascending.
    pub reply_us: Vec<u32>,
    /// From the 250 to the last copy's arrival, ascending; 0 where the copy came first.
    pub arrival_us: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u32) -> Option<Token> {
        Some(Token { run: 1, session: 0, number })
    }

    #[test]
    fn tokens_survive_the_wire() {
        for token in [Token { run: 0, session: 0, number: 0 }, Token { run: u16::MAX, session: 2, number: u32::MAX }] {
            let mut wire = [0; Token::OCTETS];
            token.write(&mut wire);
            assert_eq!(Token::parse(&wire), Some(token));
        }
        assert_eq!(Token::parse(b"00000000000000000"), None);
        assert_eq!(Token::parse(b"0000000g-00000000"), None);
    }

    #[test]
    fn the_tally_tells_lost_from_duplicated_and_stray() {
        let ledger = Ledger::new(1, 5, 2, 100);
        for number in 0..4 {
            ledger.accepted(number, 1_000_000, 2_000_000);
        }
        ledger.arrived(token(0), 2, 100, 3_000_000);
        ledger.arrived(token(1), 1, 100, 4_000_000);
        ledger.arrived(token(1), 1, 99, 5_000_000);
        ledger.arrived(token(2), 2, 100, 1_500_000);
        ledger.arrived(token(2), 2, 100, 6_000_000);
        ledger.arrived(token(3), 1, 100, 3_000_000);
        ledger.arrived(token(4), 2, 100, 3_000_000);
        ledger.arrived(token(9), 2, 100, 3_000_000);
        ledger.arrived(Some(Token { run: 2, session: 0, number: 0 }), 2, 100, 3_000_000);
        ledger.arrived(None, 2, 100, 3_000_000);
        let tally = ledger.tally(0, |_| true);
        assert_eq!((tally.accepted, tally.lost, tally.duplicates, tally.unacknowledged), (4, 1, 2, 1));
        assert_eq!((tally.strays, tally.truncated), (3, 1));
        assert_eq!(tally.reply_us, [1000; 4]);
        assert_eq!(tally.arrival_us, [1000, 3000, 4000]);
        assert_eq!(ledger.complete_count(), 4);
        assert_eq!(ledger.tally(1, |number| number != 3).lost, 0);
    }
}
