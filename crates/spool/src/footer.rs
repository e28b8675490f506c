//! The footer of a sealed segment: what a restart needs of each record, without its words and contents.
//!
//! **Promises.** Replaying a footer gives the same memory as scanning the segment's records. It is built while records are appended, so that
//! sealing costs one write, and is found by the trailer in the last octets of the slot.
//!
//! An entry takes about 45 octets for a message of one recipient; names stand once, in a table at the front.

use std::sync::Arc;

use hashbrown::HashTable;
use postrider_model::doors::OnHold;
use postrider_model::{Message, MessageId, Priority, StreamName, TenantName, Timestamp};
use postrider_smtp::Host;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::alteration::{StoredAlteration, put_alteration, put_hold, take_alteration, take_change, take_hold};
use crate::codec::{Damaged, Decoder, Encode};
use crate::forms::{Body, FileName, Form, State, StoredMessage};
use crate::index::{Fate, Index, Place, Replayed};
use crate::record::{ALIGNMENT, Binding, HEADER_OCTETS};
use crate::stored::{put_option, take_option, take_time};

/// In the octet of a message's priority: its reverse-path is null. Footers of version 1 do not say so.
const NULL_REVERSE_PATH: u8 = 4;
/// There, too: the instant of its release stands behind that of its arrival.
const RELEASED: u8 = 8;

/// What memory and footers need of one record. A settlement with a report gives two.
#[derive(Debug, Clone)]
pub(crate) enum Summary {
    /// A message; `None`: all its recipients wait since it arrived. And which of them are held.
    Message { message: Arc<Message>, file: Option<FileName>, fates: Option<Vec<(u32, Fate)>>, held: Vec<(u32, OnHold)> },
    /// What became of deliveries.
    Fates { id: MessageId, fates: Vec<(u32, Fate)> },
    /// A change by hand.
    Alteration(StoredAlteration),
}

impl Summary {
    /// The summaries of a decoded record.
    pub(crate) fn of(form: Form) -> SmallVec<[Summary; 2]> {
        let mut out = SmallVec::new();
        match form {
            Form::Acceptance(stored) => {
                let (fates, held) = born(&stored.message);
                out.push(Self::message(stored, fates, held));
            }
            Form::Checkpoint(stored, states) => out.push(Self::message(stored, Some(fates(&states)), held(&states))),
            Form::Standing(id, states) => out.push(Summary::Fates { id, fates: told_fates(&states) }),
            Form::Settlement(settlement) => {
                let fates = settlement.outcomes.iter().map(|told| (told.index, Fate::of(&told.outcome, told.attempts))).collect();
                out.push(Summary::Fates { id: settlement.message, fates });
                out.extend(settlement.report.map(|stored| Self::message(stored, None, Vec::new())));
            }
            Form::Alteration(alteration) => out.push(Summary::Alteration(alteration)),
            Form::Transferred(_) | Form::Notice(_) => {}
        }
        out
    }

    fn message(stored: StoredMessage, fates: Option<Vec<(u32, Fate)>>, held: Vec<(u32, OnHold)>) -> Summary {
        let file = match stored.body {
            Body::Inline => None,
            Body::File(name, _) => Some(name),
        };
        Summary::Message { message: Arc::new(stored.message), file, fates, held }
    }
}

/// Fates where they are not the usual ones, and holds, both by index.
pub(crate) type Born = (Option<Vec<(u32, Fate)>>, Vec<(u32, OnHold)>);

/// How a message's deliveries stand when it is accepted: they wait, unless it came with a hold.
pub(crate) fn born(message: &Message) -> Born {
    let Some(hold) = &message.held else { return (None, Vec::new()) };
    let fate = Fate::fresh(message.arrival.at, message.release_at);
    let indices = 0..message.recipients.len() as u32;
    (Some(indices.clone().map(|index| (index, fate)).collect()), indices.map(|index| (index, hold.clone())).collect())
}

/// Fates of stored states.
pub(crate) fn fates(states: &[(u32, State)]) -> Vec<(u32, Fate)> {
    let fate = |state: &State| match state {
        State::Live { due, attempts, diagnosis, delay_told, .. } => {
            Fate::Live { due: *due, attempts: *attempts, told: diagnosis.is_some(), delay_told: *delay_told }
        }
        State::Ended => Fate::Ended,
    };
    states.iter().map(|(index, state)| (*index, fate(state))).collect()
}

/// Which of them are held.
pub(crate) fn held(states: &[(u32, State)]) -> Vec<(u32, OnHold)> {
    let hold = |state: &State| match state {
        State::Live { held, .. } => held.clone(),
        State::Ended => None,
    };
    states.iter().filter_map(|(index, state)| Some((*index, hold(state)?))).collect()
}

/// The same of a standing: it is its deliveries' last word, with a diagnosis or without.
pub(crate) fn told_fates(states: &[(u32, State)]) -> Vec<(u32, Fate)> {
    let told = |fate| match fate {
        Fate::Live { due, attempts, delay_told, .. } => Fate::Live { due, attempts, told: true, delay_told },
        Fate::Ended => Fate::Ended,
    };
    fates(states).into_iter().map(|(index, fate)| (index, told(fate))).collect()
}

/// A footer in the making.
#[derive(Default)]
pub(crate) struct FooterBuilder {
    entries: Vec<u8>,
    names: Vec<Box<str>>,
    /// Into `names`, by text. A hash table, because its order never shows.
    by_text: HashTable<u32>,
    names_octets: usize,
}

/// A state of a builder to go back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FooterMark {
    entries: usize,
    names: usize,
}

impl FooterBuilder {
    /// Octets of the footer's meta part, at most.
    pub(crate) fn octets(&self) -> usize {
        self.entries.len() + self.names_octets + 16
    }

    pub(crate) fn mark(&self) -> FooterMark {
        FooterMark { entries: self.entries.len(), names: self.names.len() }
    }

    /// Forgets what was added since.
    pub(crate) fn back_to(&mut self, mark: FooterMark) {
        self.entries.truncate(mark.entries);
        while self.names.len() > mark.names {
            let Some(name) = self.names.pop() else { break };
            self.names_octets -= name.len() + 3;
            let number = self.names.len() as u32;
            if let Ok(found) = self.by_text.find_entry(xxh3_64(name.as_bytes()), |other| *other == number) {
                found.remove();
            }
        }
    }

    pub(crate) fn add(&mut self, offset: u32, octets: u32, summary: &Summary) {
        match summary {
            Summary::Message { message, file, fates, held } => {
                self.entries.octet(match fates {
                    None => 1,
                    Some(_) if held.is_empty() => 3,
                    Some(_) => 6,
                });
                self.put_place(offset, octets);
                self.put_message(message, *file, fates.as_deref());
                if !held.is_empty() {
                    put_held(&mut self.entries, held);
                }
            }
            Summary::Fates { id, fates } => {
                self.entries.octet(2);
                self.put_place(offset, octets);
                self.entries.fixed128(id.0);
                put_fates(&mut self.entries, fates);
            }
            Summary::Alteration(alteration) => {
                self.entries.octet(if alteration.is_plain() { 4 } else { 5 });
                self.put_place(offset, octets);
                put_alteration(&mut self.entries, alteration);
            }
        }
    }

    fn put_place(&mut self, offset: u32, octets: u32) {
        self.entries.number(u64::from(offset) / ALIGNMENT as u64);
        self.entries.number(u64::from(octets) / ALIGNMENT as u64);
    }

    fn put_message(&mut self, message: &Message, file: Option<FileName>, fates: Option<&[(u32, Fate)]>) {
        let (tenant, stream) = (self.name(message.tenant.as_str()), self.name(message.stream.as_str()));
        self.entries.fixed128(message.id.0);
        self.entries.number(tenant);
        self.entries.number(stream);
        let null = message.envelope.reverse_path.is_null();
        let released = message.release_at.is_some();
        self.entries.octet(message.priority as u8 | if null { NULL_REVERSE_PATH } else { 0 } | if released { RELEASED } else { 0 });
        self.entries.number(message.arrival.at.millis());
        if let Some(at) = message.release_at {
            self.entries.number(at.millis());
        }
        put_option(&mut self.entries, message.deadline.as_ref(), |out, at| out.number(at.millis()));
        self.entries.number(message.content_octets);
        put_option(&mut self.entries, file.as_ref(), |out, file| {
            out.number(file.opening.into());
            out.number(file.nth);
        });
        let hosts: SmallVec<[u64; 4]> = message.recipients.iter().map(|recipient| self.host_name(recipient.host())).collect();
        self.entries.number(hosts.len() as u64);
        hosts.iter().for_each(|host| self.entries.number(*host));
        if let Some(fates) = fates {
            put_fates(&mut self.entries, fates);
        }
    }

    fn host_name(&mut self, host: &Host) -> u64 {
        match host {
            Host::Domain(domain) => self.name(domain.as_str()),
            Host::Literal(_) => self.name(&host.to_string()),
        }
    }

    fn name(&mut self, text: &str) -> u64 {
        let hash = xxh3_64(text.as_bytes());
        let Self { names, by_text, names_octets, .. } = self;
        if let Some(number) = by_text.find(hash, |number| &*names[*number as usize] == text) {
            return u64::from(*number);
        }
        let number = names.len() as u32;
        names.push(text.into());
        *names_octets += text.len() + 3;
        by_text.insert_unique(hash, number, |number| xxh3_64(names[*number as usize].as_bytes()));
        u64::from(number)
    }

    /// The meta part.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.octets());
        out.number(self.names.len() as u64);
        self.names.iter().for_each(|name| out.text(name));
        out.extend_from_slice(&self.entries);
        out
    }
}

fn put_held(out: &mut Vec<u8>, held: &[(u32, OnHold)]) {
    out.number(held.len() as u64);
    for (index, hold) in held {
        out.number((*index).into());
        put_hold(out, hold);
    }
}

fn take_held(from: &mut Decoder<'_>) -> Result<Vec<(u32, OnHold)>, Damaged> {
    let count = from.count()?;
    let mut held = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        held.push((from.number32()?, take_hold(from)?));
    }
    Ok(held)
}

fn put_fates(out: &mut Vec<u8>, fates: &[(u32, Fate)]) {
    out.number(fates.len() as u64);
    for (index, fate) in fates {
        out.number((*index).into());
        match fate {
            Fate::Ended => out.octet(0),
            Fate::Live { due, attempts, told, delay_told } => {
                out.octet(1 + u8::from(*told) + 2 * u8::from(*delay_told));
                out.number(due.millis());
                out.number((*attempts).into());
            }
        }
    }
}

fn take_fates(from: &mut Decoder<'_>) -> Result<SmallVec<[(u32, Fate); 1]>, Damaged> {
    let count = from.count()?;
    let mut fates = SmallVec::new();
    for _ in 0..count {
        let index = from.number32()?;
        let fate = match from.octet()? {
            0 => Fate::Ended,
            tag @ 1..=4 => Fate::Live { due: take_time(from)?, attempts: from.number32()?, told: tag % 2 == 0, delay_told: tag > 2 },
            _ => return Err(Damaged),
        };
        fates.push((index, fate));
    }
    Ok(fates)
}

/// What replaying a summary or a footer entry did.
pub(crate) type OnEnded<'a> = &'a mut dyn FnMut(MessageId, u32);

/// Why a footer whose check holds cannot be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FooterTrouble {
    /// It is not what we write.
    Damaged,
    /// It tells of a kind of record that a newer release wrote.
    Unknown(u8),
}

impl From<Damaged> for FooterTrouble {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged
    }
}

/// Replays a footer's meta part. `ended` hears of every delivery that lived until an entry ended it.
pub(crate) fn replay_footer(index: &mut Index, life: u32, meta: &[u8], ended: OnEnded<'_>) -> Result<(), FooterTrouble> {
    let mut from = Decoder::new(meta);
    let count = from.count()?;
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        names.push((from.text()?, None::<u32>));
    }
    while !from.is_empty() {
        let tag = from.octet()?;
        let (offset, octets) = (take_place(&mut from)?, take_place(&mut from)?);
        let place = Place { life, offset, octets };
        match tag {
            1 | 3 | 6 => {
                let mut replayed = take_message(&mut from, index, &mut names, tag != 1)?;
                if tag == 6 {
                    replayed.held = take_held(&mut from)?;
                }
                index.replay_message(place, replayed);
            }
            2 => {
                let id = MessageId(from.fixed128()?);
                for (nth, fate) in take_fates(&mut from)? {
                    if index.replay_fate(id, nth, fate, place) {
                        ended(id, nth);
                    }
                }
            }
            4 => index.replay_alteration(place, take_alteration(&mut from)?),
            5 => index.replay_alteration(place, take_change(&mut from)?),
            tag => return Err(FooterTrouble::Unknown(tag)),
        }
    }
    Ok(())
}

fn take_place(from: &mut Decoder<'_>) -> Result<u32, Damaged> {
    from.number32()?.checked_mul(ALIGNMENT as u32).ok_or(Damaged)
}

fn take_message(
    from: &mut Decoder<'_>,
    index: &mut Index,
    names: &mut [(&str, Option<u32>)],
    is_checkpoint: bool,
) -> Result<Replayed, Damaged> {
    let id = MessageId(from.fixed128()?);
    let name = |from: &mut Decoder<'_>| names.get(from.number32()? as usize).map(|(text, _)| *text).ok_or(Damaged);
    let (tenant, stream) = (TenantName::new(name(from)?), StreamName::new(name(from)?));
    let lane = index.replay_lane(&tenant, &stream);
    let flags = from.octet()?;
    let priority = match flags & !(NULL_REVERSE_PATH | RELEASED) {
        0 => Priority::Low,
        1 => Priority::Normal,
        2 => Priority::High,
        _ => return Err(Damaged),
    };
    let null_reverse_path = flags & NULL_REVERSE_PATH != 0;
    let arrived_at = take_time(from)?;
    let release_at = if flags & RELEASED != 0 { Some(take_time(from)?) } else { None };
    let deadline: Option<Timestamp> = take_option(from, take_time)?;
    let content_octets = from.number()?;
    let file = take_option(from, |from| Ok(FileName { opening: from.number32()?, nth: from.number()? }))?;
    let count = from.count()?;
    let mut hosts: SmallVec<[u32; 1]> = SmallVec::with_capacity(count);
    for _ in 0..count {
        let (text, number) = names.get_mut(from.number32()? as usize).ok_or(Damaged)?;
        let number = match number {
            Some(number) => *number,
            None => *number.insert(index.replay_host(&Host::parse(text).map_err(|_| Damaged)?)),
        };
        hosts.push(number);
    }
    let fates =
        if is_checkpoint { take_fates(from)? } else { (0..count as u32).map(|nth| (nth, Fate::fresh(arrived_at, release_at))).collect() };
    if !fates.is_sorted_by(|(before, _), (after, _)| before < after) {
        return Err(Damaged);
    }
    let deliveries = fates.into_iter().map(|(nth, fate)| Ok((nth, *hosts.get(nth as usize).ok_or(Damaged)?, fate)));
    let deliveries = deliveries.collect::<Result<_, Damaged>>()?;
    Ok(Replayed {
        id,
        lane,
        arrived_at,
        release_at,
        null_reverse_path,
        deadline,
        priority,
        content_octets,
        file,
        deliveries,
        held: Vec::new(),
    })
}

/// Replays one record's summary.
pub(crate) fn replay_summary(index: &mut Index, place: Place, summary: &Summary, ended: OnEnded<'_>) {
    match summary {
        Summary::Alteration(alteration) => index.replay_alteration(place, alteration.clone()),
        Summary::Fates { id, fates } => {
            for (nth, fate) in fates {
                if index.replay_fate(*id, *nth, *fate, place) {
                    ended(*id, *nth);
                }
            }
        }
        Summary::Message { message, file, fates, held } => {
            let lane = index.replay_lane(&message.tenant, &message.stream);
            let mut deliveries = SmallVec::new();
            for (nth, recipient) in message.recipients.iter().enumerate() {
                let fresh = Fate::fresh(message.arrival.at, message.release_at);
                let fate = match fates {
                    None => Some(fresh),
                    Some(fates) => fates.iter().find(|(of, _)| *of as usize == nth).map(|(_, fate)| *fate),
                };
                if let Some(fate) = fate {
                    deliveries.push((nth as u32, index.replay_host(recipient.host()), fate));
                }
            }
            let replayed = Replayed {
                id: message.id,
                lane,
                arrived_at: message.arrival.at,
                release_at: message.release_at,
                null_reverse_path: message.envelope.reverse_path.is_null(),
                deadline: message.deadline,
                priority: message.priority,
                content_octets: message.content_octets,
                file: *file,
                deliveries,
                held: held.clone(),
            };
            index.replay_message(place, replayed);
        }
    }
}

/// Octets of the trailer, the last in a slot.
pub(crate) const TRAILER_OCTETS: usize = 32;

/// Where the footer's record is: the end of a sealed segment points back at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) footer_offset: u32,
}

impl Trailer {
    pub(crate) fn encode(self, binding: Binding) -> [u8; TRAILER_OCTETS] {
        let mut out = [0; TRAILER_OCTETS];
        out[..4].copy_from_slice(b"PRSE");
        out[4..8].copy_from_slice(&self.footer_offset.to_le_bytes());
        out[8..12].copy_from_slice(&binding.life.to_le_bytes());
        let check = Self::check(&out[..24], binding);
        out[24..].copy_from_slice(&check.to_le_bytes());
        out
    }

    pub(crate) fn decode(octets: &[u8], binding: Binding) -> Option<Trailer> {
        let octets: &[u8; TRAILER_OCTETS] = octets.try_into().ok()?;
        let offset = u32::from_le_bytes([octets[4], octets[5], octets[6], octets[7]]);
        let whole = Trailer { footer_offset: offset }.encode(binding);
        (whole == *octets).then_some(Trailer { footer_offset: offset })
    }

    fn check(octets: &[u8], binding: Binding) -> u64 {
        let mut bound = [0; 40];
        bound[..24].copy_from_slice(octets);
        bound[24..].copy_from_slice(&binding.log.to_le_bytes());
        xxh3_64(&bound)
    }
}

/// Octets of a slot that the footer and its trailer need.
pub(crate) fn sealing_octets(footer: usize) -> u64 {
    ((HEADER_OCTETS + footer).next_multiple_of(ALIGNMENT) + TRAILER_OCTETS) as u64
}
