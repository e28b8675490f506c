//! The ring of turns, and the lane inside.
//!
//! A ring serves its members by deficit round robin with a quantum of one recipient: a member at the front is served while its deficit
//! covers the cost of its next item; else it earns the quantum and goes to the back. A quantum that small interleaves as finely as can be; rounds in which
//! nobody could be served are earned in one step, so a large parcel costs one look at each member and not one for each recipient.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use postrider_model::{Priority, Timestamp};

/// What can be served in turns.
pub(super) trait Queue {
    type Item;

    /// What the next item costs; `None` when there is none. Asked twice in a row, it answers the same.
    fn cost(&mut self) -> Option<u64>;

    /// The next item: the one whose cost was told.
    fn take(&mut self) -> Option<Self::Item>;
}

/// Members that are served in turns. A member is here while it has items; its deficit is forgotten with it.
#[derive(Debug)]
pub(super) struct Ring<K, Q> {
    members: BTreeMap<K, Member<Q>>,
    turns: VecDeque<K>,
}

#[derive(Debug)]
struct Member<Q> {
    deficit: u64,
    queue: Q,
}

impl<K, Q> Default for Ring<K, Q> {
    fn default() -> Self {
        Self { members: BTreeMap::new(), turns: VecDeque::new() }
    }
}

impl<K: Ord + Clone, Q: Queue + Default> Ring<K, Q> {
    /// The member's queue; a new member comes last, without a deficit. The caller puts an item in.
    pub(super) fn member(&mut self, key: K) -> &mut Q {
        let turns = &mut self.turns;
        let member = self.members.entry(key).or_insert_with_key(|key| {
            turns.push_back(key.clone());
            Member { deficit: 0, queue: Q::default() }
        });
        &mut member.queue
    }
}

impl<K: Ord + Clone, Q> Ring<K, Q> {
    /// The same ring over other queues.
    pub(super) fn shadow<'a, R>(&'a self, queue: impl Fn(&'a Q) -> R) -> Ring<K, R> {
        let members = self.members.iter().map(|(key, m)| (key.clone(), Member { deficit: m.deficit, queue: queue(&m.queue) }));
        Ring { members: members.collect(), turns: self.turns.clone() }
    }
}

impl<K: Ord, Q: Queue> Ring<K, Q> {
    /// Turns the ring until the member at the front can pay for its next item.
    fn turn(&mut self) -> Option<u64> {
        let mut unpaid = 0;
        loop {
            let member = self.members.get_mut(self.turns.front()?)?;
            let cost = member.queue.cost()?;
            if member.deficit >= cost {
                return Some(cost);
            }
            member.deficit += 1;
            self.turns.rotate_left(1);
            unpaid += 1;
            if unpaid == self.turns.len() {
                self.skip_empty_rounds();
                unpaid = 0;
            }
        }
    }

    /// Everybody earns what they would in the rounds that serve nobody.
    fn skip_empty_rounds(&mut self) {
        let missing = self.members.values_mut().map(|m| m.queue.cost().unwrap_or(0).saturating_sub(m.deficit));
        let rounds = missing.min().unwrap_or(0);
        for member in self.members.values_mut() {
            member.deficit += rounds;
        }
    }
}

impl<K: Ord, Q: Queue> Queue for Ring<K, Q> {
    type Item = Q::Item;

    fn cost(&mut self) -> Option<u64> {
        self.turn()
    }

    fn take(&mut self) -> Option<Q::Item> {
        let cost = self.turn()?;
        let front = self.turns.front()?;
        let member = self.members.get_mut(front)?;
        member.deficit -= cost;
        let item = member.queue.take();
        if member.queue.cost().is_none() {
            self.members.remove(front);
            self.turns.pop_front();
        }
        item
    }
}

/// The order inside a lane: higher priority, then the earlier deadline, then the earlier arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    priority: Reverse<Priority>,
    deadline: Timestamp,
    arrival: u64,
}

impl Key {
    pub(super) fn new(priority: Priority, deadline: Option<Timestamp>, arrival: u64) -> Self {
        Self { priority: Reverse(priority), deadline: deadline.unwrap_or(Timestamp::NEVER), arrival }
    }
}

/// One tenant's one stream at one Site.
#[derive(Debug)]
pub(super) struct Lane<T>(BTreeMap<Key, (u32, T)>);

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Lane<T> {
    pub(super) fn push(&mut self, key: Key, cost: u32, item: T) {
        self.0.insert(key, (cost, item));
    }

    /// The same lane, of references.
    pub(super) fn shadow(&self) -> Lane<&T> {
        Lane(self.0.iter().map(|(key, (cost, item))| (*key, (*cost, item))).collect())
    }
}

impl<T> Queue for Lane<T> {
    type Item = T;

    fn cost(&mut self) -> Option<u64> {
        self.0.first_key_value().map(|(_, (cost, _))| u64::from(*cost))
    }

    fn take(&mut self) -> Option<T> {
        self.0.pop_first().map(|(_, (_, item))| item)
    }
}
