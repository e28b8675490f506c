//! Claims and loans.

use std::ops::Bound;

use postrider_model::doors::{Left, LendLimit, Lent};
use postrider_model::{Group, LentDelivery, Loan, MessageId, Parcel, StreamName, TenantName, Timestamp};
use smallvec::SmallVec;

use super::Index;
use super::entry::{DeliveryEntry, Standing, fence};
use super::lane::{LaterKey, NowKey};

/// Deliveries that move from *later* to *now* in one `lend`: a bound on how long the lock is held.
pub(crate) const MIGRATE_MAX: usize = 8192;

impl Index {
    /// Claims groups with mail due at `now`, the longest due first.
    pub(crate) fn ready(&mut self, now: Timestamp, max: usize) -> Vec<Group> {
        let mut claimed = Vec::new();
        while claimed.len() < max
            && let Some(&(at, group)) = self.heads.first()
            && at <= now
        {
            self.heads.pop_first();
            let known = &mut self.groups[group];
            (known.head, known.claimed, known.not_before) = (None, true, Timestamp::default());
            claimed.push(known.name.clone());
        }
        claimed
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.heads.first().map(|(at, _)| *at)
    }

    pub(crate) fn release(&mut self, group: &Group, not_before: Timestamp) {
        if let Some(number) = self.group_numbers.get(group).copied() {
            self.unclaim(number, not_before);
        }
    }

    /// Lends due mail of a group.
    pub(crate) fn lend(&mut self, group: &Group, now: Timestamp, limit: LendLimit) -> Lent {
        let Some(number) = self.group_numbers.get(group).copied() else {
            return Lent { parcels: Vec::new(), left: Left::Empty };
        };
        self.groups[number].claimed = true;
        self.rehead(number);
        self.migrate(number, now);
        let mut parcels = Vec::new();
        while parcels.len() < limit.parcels
            && let Some(slot_and_index) = self.next_in_turn(number)
        {
            let recipients = if self.is_single(slot_and_index.0) { 1 } else { limit.recipients_per_parcel.max(1) };
            parcels.push(self.take_parcel(number, slot_and_index, now, recipients));
        }
        let left = self.left(number, now);
        if left != Left::Due {
            self.unclaim(number, Timestamp::default());
        }
        Lent { parcels, left }
    }

    /// From now on, one recipient a parcel.
    pub(crate) fn lend_singly(&mut self, tenant: &TenantName, stream: &StreamName) {
        self.single.insert((tenant.clone(), stream.clone()));
    }

    fn is_single(&self, slot: u32) -> bool {
        if self.single.is_empty() {
            return false;
        }
        let lane = &self.lanes[self.messages[slot].lane];
        self.single.contains(&(lane.tenant.clone(), lane.stream.clone()))
    }

    fn left(&self, group: u32, now: Timestamp) -> Left {
        let known = &self.groups[group];
        match known.later.first() {
            _ if !known.lanes.is_empty() => Left::Due,
            Some((due, ..)) if *due <= now.millis() => Left::Due,
            Some((due, ..)) => Left::Until(Timestamp::from_millis(*due)),
            None => Left::Empty,
        }
    }

    /// Moves what became due into the sets ordered by priority.
    fn migrate(&mut self, group: u32, now: Timestamp) {
        let mut room = MIGRATE_MAX;
        while room > 0
            && let Some(&(due, host, lane)) = self.groups[group].later.first()
            && due <= now.millis()
        {
            let mut moved: Vec<LaterKey> = Vec::new();
            if let Some((_, queue)) = self.hosts[host].queues.iter().find(|(of, _)| *of == lane) {
                moved.extend(queue.later.iter().take_while(|key| key.due <= now.millis()).take(room));
            }
            room -= moved.len().clamp(1, room);
            let ranks: Vec<u64> = moved.iter().map(|key| self.messages[key.slot].rank()).collect();
            self.change_queue(host, lane, |queue| {
                for (key, rank) in moved.iter().zip(ranks) {
                    queue.later.remove(key);
                    queue.now.insert(NowKey { rank, due: key.due, slot: key.slot, index: key.index });
                }
            });
        }
    }

    /// The best delivery of the lane whose turn it is.
    fn next_in_turn(&mut self, group: u32) -> Option<(u32, u32)> {
        let known = &mut self.groups[group];
        let after = known.lanes.range((Bound::Excluded(known.turn), Bound::Unbounded)).next();
        let (lane, firsts) = after.or_else(|| known.lanes.first_key_value())?;
        let (key, _) = firsts.first()?;
        let taken = (key.slot, key.index);
        known.turn = *lane;
        Some(taken)
    }

    /// Lends one message's due recipients in this group, the chosen one first of all.
    fn take_parcel(&mut self, group: u32, (slot, chosen): (u32, u32), now: Timestamp, max: usize) -> Parcel {
        let entry = &self.messages[slot];
        let rides = |index: u32, host: u32, due: Timestamp, state: Standing| {
            index == chosen || state == Standing::Waiting && due <= now && self.hosts[host].group == group
        };
        let mut room = max - 1;
        let mut riders: SmallVec<[u32; 4]> = SmallVec::new();
        for delivery in &entry.deliveries {
            if rides(delivery.index, delivery.host, delivery.due, delivery.state) {
                let is_chosen = delivery.index == chosen;
                if is_chosen || room > 0 {
                    room -= usize::from(!is_chosen);
                    riders.push(delivery.index);
                }
            }
        }
        self.make_parcel(slot, riders)
    }

    /// Lends those of a message's deliveries that wait or are held.
    pub(crate) fn lend_these(&mut self, id: MessageId, indices: &[u32]) -> Option<Parcel> {
        let slot = self.find(id)?;
        let is_here = |delivery: &&DeliveryEntry| matches!(delivery.state, Standing::Waiting | Standing::Held);
        let chosen = self.messages[slot].deliveries.iter().filter(is_here).map(|delivery| delivery.index);
        let riders: SmallVec<[u32; 4]> = chosen.filter(|index| indices.contains(index)).collect();
        if riders.is_empty() { None } else { Some(self.make_parcel(slot, riders)) }
    }

    /// Lends these deliveries, which wait or are held.
    fn make_parcel(&mut self, slot: u32, riders: SmallVec<[u32; 4]>) -> Parcel {
        self.next_loan += 1;
        let loan = self.next_loan;
        let mut deliveries = SmallVec::new();
        for index in riders {
            self.go_out(slot, index);
            if let Some(delivery) = self.messages[slot].delivery_mut(index) {
                (delivery.state, delivery.loan) = (Standing::Lent, fence(Loan(loan)));
                deliveries.push(LentDelivery { index, attempts: delivery.attempts(), delay_told: delivery.delay_told });
            }
        }
        self.lent += deliveries.len() as u64;
        let entry = &self.messages[slot];
        let lane = &self.lanes[entry.lane];
        Parcel {
            loan: Loan(loan),
            message: entry.id,
            tenant: lane.tenant.clone(),
            stream: lane.stream.clone(),
            priority: entry.priority,
            waits_since: entry.waits_since(),
            null_reverse_path: entry.null_reverse_path,
            deadline: entry.deadline(),
            content_octets: entry.content_octets,
            deliveries,
        }
    }

    /// Ends a loan without an outcome.
    pub(crate) fn hand_back(&mut self, id: MessageId, loan: Loan, due: Option<Timestamp>) {
        let Some(slot) = self.find(id) else { return };
        for nth in 0..self.messages[slot].deliveries.len() {
            let delivery = &mut self.messages[slot].deliveries[nth];
            if !delivery.is_lent_as(loan) {
                continue;
            }
            delivery.due = due.unwrap_or(delivery.due);
            let index = delivery.index;
            self.lent -= 1;
            self.come_back(slot, index);
        }
    }
}
