//! Changes by hand: waiting deliveries made due at another time in memory; and all changes again when the log is replayed.
//!
//! **Promises.** A replayed date reaches exactly the deliveries whose last word (the record that dated them) stands before it in the log, and
//! only makes them due earlier. A replayed hold or release reaches exactly the deliveries whose message (its acceptance, or the copy that tells how
//! they stand) stands before it; of several, the newest holds or releases. So all may be applied at the end of the replay, and once more from a copy
//! that keeps their order. A segment with a change is freed only after every segment before it, because what it changes may stand in any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postrider_model::doors::{OnHold, QueueFilter};
use postrider_model::{MessageId, Timestamp};
use smallvec::SmallVec;

use super::entry::{DeliveryEntry, MessageEntry, Place, Standing};
use super::{Index, SLICE};
use crate::alteration::{Choice, StoredAlteration, StoredChange};

/// What one slice of a change did.
#[derive(Debug, Default)]
pub(crate) struct Altered {
    pub(crate) count: usize,
    /// The hosts of what was changed, when a Site was chosen.
    pub(crate) hosts: BTreeSet<u32>,
}

impl Index {
    /// Makes the matching waiting deliveries of one slice due at `due`.
    pub(crate) fn make_due(&mut self, from: u32, filter: &QueueFilter, due: Timestamp) -> Altered {
        let mut altered = Altered::default();
        for slot in from..from.saturating_add(SLICE).min(self.messages.end()) {
            self.make_message_due(slot, filter, due, &mut altered);
        }
        altered
    }

    /// The same of one message.
    pub(crate) fn make_message_due(&mut self, slot: u32, filter: &QueueFilter, due: Timestamp, altered: &mut Altered) {
        let Some(entry) = self.messages.get(slot) else { return };
        let matches =
            |delivery: &&DeliveryEntry| delivery.state == Standing::Waiting && delivery.due > due && self.matches(entry, delivery, filter);
        let chosen: SmallVec<[(u32, u32); 4]> =
            entry.deliveries.iter().filter(matches).map(|delivery| (delivery.index, delivery.host)).collect();
        for (index, host) in &chosen {
            self.dequeue(slot, *index);
            if let Some(delivery) = self.messages[slot].delivery_mut(*index) {
                delivery.due = due;
            }
            self.enqueue(slot, *index);
            if filter.site.is_some() {
                altered.hosts.insert(*host);
            }
        }
        if !chosen.is_empty() {
            altered.count += chosen.len();
            // A copy under way has the old date.
            let entry = &mut self.messages[slot];
            entry.revision = entry.revision.wrapping_add(1);
        }
    }

    /// A host's text, for a record.
    pub(crate) fn host_text(&self, host: u32) -> Box<str> {
        (*self.hosts[host].text).into()
    }

    /// Remembers an alteration for the end of the replay.
    pub(crate) fn replay_alteration(&mut self, place: Place, alteration: StoredAlteration) {
        self.segments.depend_on_all_before(place.life);
        self.alterations.push((place, alteration));
    }

    /// The alterations in a segment, merged: what must stay when the segment goes while older ones stay.
    pub(crate) fn alterations_in(&self, life: u32) -> Vec<StoredAlteration> {
        let mut dates: BTreeMap<&Choice, Timestamp> = BTreeMap::new();
        let mut turns: BTreeMap<&Choice, (u32, &StoredChange)> = BTreeMap::new();
        for (place, StoredAlteration { change, choice }) in self.alterations.iter().filter(|(place, _)| place.life == life) {
            match change {
                StoredChange::Due(at) => {
                    let due = dates.entry(choice).or_insert(*at);
                    *due = (*at).min(*due);
                }
                // Of one choice the newest alone decides.
                StoredChange::Held(_) | StoredChange::Released(_) => {
                    turns.insert(choice, (place.offset, change));
                }
            }
        }
        let mut turns: Vec<_> = turns.into_iter().collect();
        turns.sort_by_key(|(_, (offset, _))| *offset);
        let dates = dates.into_iter().map(|(choice, due)| StoredAlteration { change: StoredChange::Due(due), choice: choice.clone() });
        let turns = turns.into_iter().map(|(choice, (_, change))| StoredAlteration { change: change.clone(), choice: choice.clone() });
        dates.chain(turns).collect()
    }

    /// Applies what was remembered. Nothing is in lanes yet.
    pub(super) fn apply_alterations(&mut self) {
        let alterations = Alterations::of(std::mem::take(&mut self.alterations));
        if alterations.is_empty() {
            return;
        }
        for slot in 0..self.messages.end() {
            let Some(entry) = self.messages.get(slot) else { continue };
            let stands_at = (entry.place.life, entry.place.offset);
            let changes: SmallVec<[(Timestamp, Option<Option<OnHold>>); 4]> = entry
                .deliveries
                .iter()
                .map(|delivery| {
                    let about = self.about(entry, delivery);
                    let due = alterations.due_after(word_of(entry, delivery), &about);
                    (due.map_or(delivery.due, |due| due.min(delivery.due)), alterations.turn_after(stands_at, &about).cloned())
                })
                .collect();
            for (nth, (due, turn)) in changes.into_iter().enumerate() {
                self.messages[slot].deliveries[nth].due = due;
                turn.into_iter().for_each(|hold| self.replay_turn(slot, nth, hold));
            }
        }
    }

    /// A delivery is held from now on by this, or not at all.
    fn replay_turn(&mut self, slot: u32, nth: usize, hold: Option<OnHold>) {
        let number = hold.as_ref().map(|hold| self.holds.take(hold));
        let delivery = &mut self.messages[slot].deliveries[nth];
        let before = (delivery.state == Standing::Held).then_some(delivery.loan);
        (delivery.state, delivery.loan) = number.map_or((Standing::Waiting, 0), |number| (Standing::Held, number));
        before.into_iter().for_each(|number| self.holds.let_go(number));
    }

    fn about<'a>(&'a self, entry: &MessageEntry, delivery: &DeliveryEntry) -> About<'a> {
        let lane = &self.lanes[entry.lane];
        About {
            id: entry.id,
            tenant: lane.tenant.as_str(),
            stream: lane.stream.as_str(),
            arrived_at: entry.arrived_at,
            host: &self.hosts[delivery.host].text,
        }
    }
}

/// Where a delivery was dated last.
fn word_of(entry: &MessageEntry, delivery: &DeliveryEntry) -> (u32, u32) {
    if delivery.told_life == 0 { (entry.place.life, entry.place.offset) } else { (delivery.told_life, delivery.told_offset) }
}

/// What a choice asks of a delivery.
struct About<'a> {
    id: MessageId,
    tenant: &'a str,
    stream: &'a str,
    arrived_at: Timestamp,
    host: &'a str,
}

/// A choice without its messages, ready to be asked.
struct Chooser {
    choice: Choice,
    hosts: BTreeSet<Box<str>>,
}

impl Chooser {
    fn chooses(&self, about: &About<'_>) -> bool {
        let Choice { tenant, stream, arrived_from, arrived_to, .. } = &self.choice;
        tenant.as_ref().is_none_or(|tenant| tenant.as_str() == about.tenant)
            && stream.as_ref().is_none_or(|stream| stream.as_str() == about.stream)
            && arrived_from.is_none_or(|from| about.arrived_at >= from)
            && arrived_to.is_none_or(|to| about.arrived_at <= to)
            && (self.hosts.is_empty() || self.hosts.contains(about.host))
    }
}

/// What was told of a choice: by the messages it names, or of all.
struct ByChoice<T> {
    messages: BTreeMap<MessageId, Vec<Arc<(Chooser, T)>>>,
    others: Vec<Arc<(Chooser, T)>>,
}

impl<T> ByChoice<T> {
    fn of(all: BTreeMap<Choice, T>) -> Self {
        let mut by_choice = Self { messages: BTreeMap::new(), others: Vec::new() };
        for (mut choice, told) in all {
            let (messages, hosts) = (std::mem::take(&mut choice.messages), std::mem::take(&mut choice.hosts));
            let told = Arc::new((Chooser { choice, hosts: hosts.into_iter().collect() }, told));
            if messages.is_empty() {
                by_choice.others.push(told.clone());
            }
            messages.into_iter().for_each(|id| by_choice.messages.entry(id).or_default().push(told.clone()));
        }
        by_choice
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.others.is_empty()
    }

    /// What was told of choices that choose it.
    fn told<'s, 'a>(&'s self, about: &'a About<'a>) -> impl Iterator<Item = &'s T> + use<'s, 'a, T> {
        let all = self.others.iter().chain(self.messages.get(&about.id).into_iter().flatten());
        all.filter(|told| told.0.chooses(about)).map(|told| &told.1)
    }
}

/// The alterations of a log by what they choose, so that a choice made every minute costs as much as one made once.
struct Alterations {
    dates: ByChoice<Dates>,
    /// The newest hold or release of each choice, and where it stands.
    turns: ByChoice<((u32, u32), Option<OnHold>)>,
}

impl Alterations {
    fn of(all: Vec<(Place, StoredAlteration)>) -> Self {
        let mut dates: BTreeMap<Choice, Dates> = BTreeMap::new();
        let mut turns: BTreeMap<Choice, ((u32, u32), Option<OnHold>)> = BTreeMap::new();
        for (place, StoredAlteration { change, choice }) in all {
            let at = (place.life, place.offset);
            let hold = match change {
                StoredChange::Due(due) => {
                    dates.entry(choice).or_default().0.push((at, due));
                    continue;
                }
                StoredChange::Held(hold) => Some(hold),
                StoredChange::Released(_) => None,
            };
            if turns.get(&choice).is_none_or(|(before, _)| *before < at) {
                turns.insert(choice, (at, hold));
            }
        }
        dates.values_mut().for_each(Dates::order);
        Self { dates: ByChoice::of(dates), turns: ByChoice::of(turns) }
    }

    fn is_empty(&self) -> bool {
        self.dates.is_empty() && self.turns.is_empty()
    }

    /// The earliest date told behind `at` to such a delivery.
    fn due_after(&self, at: (u32, u32), about: &About<'_>) -> Option<Timestamp> {
        self.dates.told(about).filter_map(|dates| dates.after(at)).min()
    }

    /// The newest hold or release behind `at` of such a delivery.
    fn turn_after<'s>(&'s self, at: (u32, u32), about: &About<'_>) -> Option<&'s Option<OnHold>> {
        let newest = self.turns.told(about).filter(|(place, _)| *place > at).max_by_key(|(place, _)| *place);
        newest.map(|(_, hold)| hold)
    }
}

/// Places in the log, in their order, each with the earliest date told there or later.
#[derive(Default)]
struct Dates(Vec<((u32, u32), Timestamp)>);

impl Dates {
    fn order(&mut self) {
        self.0.sort_unstable();
        let mut earliest = Timestamp::NEVER;
        for (_, due) in self.0.iter_mut().rev() {
            earliest = earliest.min(*due);
            *due = earliest;
        }
    }

    fn after(&self, at: (u32, u32)) -> Option<Timestamp> {
        self.0.get(self.0.partition_point(|(place, _)| *place <= at)).map(|(_, due)| *due)
    }
}
