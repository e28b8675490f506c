//! Hosts, groups and lanes: who may be lent what, and when.
//!
//! A host has a queue for each lane. A group (a host whose Site is not known, or a Site with all its hosts) does not hold deliveries; it holds
//! the *first* of each of its hosts' queues, so that placing a host elsewhere moves a handful of keys however much mail waits.

use std::collections::{BTreeMap, BTreeSet};

use postrider_model::{Group, SiteName, Timestamp};
use postrider_smtp::Host;
use smallvec::SmallVec;

use super::Index;
use super::lane::{LaneQueue, LaterKey, NowKey};

/// A recipient host that mail waits for, or that was placed.
pub(crate) struct HostEntry {
    pub(crate) host: Host,
    /// It holds what was diverted of the host, or had been until the host was displaced.
    pub(crate) diverted: bool,
    pub(crate) text: std::sync::Arc<str>,
    /// Deliveries that name it.
    pub(crate) refs: u32,
    /// The group its queues belong to; `NO_GROUP` when nothing waits and it was not placed.
    pub(crate) group: u32,
    pub(crate) placed: bool,
    pub(crate) queues: SmallVec<[(u32, LaneQueue); 1]>,
}

pub(crate) const NO_GROUP: u32 = u32::MAX;

/// A group.
pub(crate) struct GroupEntry {
    pub(crate) name: Group,
    /// Hosts that belong to it.
    pub(crate) hosts: u32,
    pub(crate) claimed: bool,
    pub(crate) not_before: Timestamp,
    /// Deliveries in its hosts' queues.
    pub(crate) waiting: u64,
    /// What stands in `Index::heads` for it.
    pub(crate) head: Option<Timestamp>,
    /// Since when something is due.
    pub(crate) due_since: Timestamp,
    /// For each lane with due mail: the first due of each host.
    pub(crate) lanes: BTreeMap<u32, BTreeSet<(NowKey, u32)>>,
    /// The first later due of each host and lane.
    pub(crate) later: BTreeSet<(u64, u32, u32)>,
    /// The lane that was served last.
    pub(crate) turn: u32,
}

impl GroupEntry {
    fn new(name: Group) -> Self {
        Self {
            name,
            hosts: 0,
            claimed: false,
            not_before: Timestamp::default(),
            waiting: 0,
            head: None,
            due_since: Timestamp::default(),
            lanes: BTreeMap::new(),
            later: BTreeSet::new(),
            turn: 0,
        }
    }

    /// When something in it is due, without regard to claims.
    pub(crate) fn first_due(&self) -> Option<Timestamp> {
        if self.lanes.is_empty() { self.later.first().map(|(due, ..)| Timestamp::from_millis(*due)) } else { Some(self.due_since) }
    }
}

impl Index {
    /// The number of a host, made when it is new.
    pub(crate) fn host(&mut self, host: &Host) -> u32 {
        if let Some(number) = self.host_numbers.get(host) {
            return *number;
        }
        let entry = HostEntry {
            host: host.clone(),
            diverted: false,
            text: host.to_string().into(),
            refs: 0,
            group: NO_GROUP,
            placed: false,
            queues: SmallVec::new(),
        };
        let number = self.hosts.insert(entry);
        self.host_numbers.insert(host.clone(), number);
        number
    }

    /// Puts a waiting delivery in its lane.
    pub(super) fn enqueue(&mut self, slot: u32, index: u32) {
        let entry = &self.messages[slot];
        let lane = entry.lane;
        let Some(delivery) = entry.delivery(index) else { return };
        let (host, due) = (delivery.host, delivery.due.millis());
        self.change_queue(host, lane, |queue| queue.later.insert(LaterKey { due, slot, index }));
    }

    /// Takes a waiting delivery out of its lane.
    pub(super) fn dequeue(&mut self, slot: u32, index: u32) {
        let entry = &self.messages[slot];
        let (lane, rank) = (entry.lane, entry.rank());
        let Some(delivery) = entry.delivery(index) else { return };
        let (host, due) = (delivery.host, delivery.due.millis());
        self.change_queue(host, lane, |queue| {
            if !queue.later.remove(&LaterKey { due, slot, index }) {
                queue.now.remove(&NowKey { rank, due, slot, index });
            }
        });
    }

    /// Changes one queue, and keeps what its group knows of it true.
    pub(super) fn change_queue<R>(&mut self, host: u32, lane: u32, change: impl FnOnce(&mut LaneQueue) -> R) -> R {
        let group = self.group_of(host);
        let paused = self.lanes[lane].paused;
        let entry = &mut self.hosts[host];
        let nth = entry.queues.iter().position(|(of, _)| *of == lane).unwrap_or_else(|| {
            entry.queues.push((lane, LaneQueue::default()));
            entry.queues.len() - 1
        });
        let queue = &mut entry.queues[nth].1;
        let (before, length) = (queue.firsts().unless(paused), queue.len());
        let result = change(queue);
        let (after, new_length) = (queue.firsts().unless(paused), queue.len());
        if queue.is_empty() {
            entry.queues.swap_remove(nth);
        }
        let known = &mut self.groups[group];
        known.waiting = known.waiting + new_length as u64 - length as u64;
        if before.now != after.now {
            let was_empty = known.lanes.is_empty();
            replace_first(known, lane, host, before.now, after.now);
            if was_empty && let Some(first) = after.now {
                known.due_since = Timestamp::from_millis(first.due);
            }
        }
        if before.later != after.later {
            if let Some(due) = before.later {
                known.later.remove(&(due, host, lane));
            }
            if let Some(due) = after.later {
                known.later.insert((due, host, lane));
            }
        }
        self.rehead(group);
        self.tidy_host(host);
        result
    }

    /// The group a host's queues belong to; its own when it was not placed.
    fn group_of(&mut self, host: u32) -> u32 {
        let entry = &self.hosts[host];
        if entry.group != NO_GROUP {
            return entry.group;
        }
        let name = Group::Host(entry.host.clone());
        let group = self.group(name);
        self.groups[group].hosts += 1;
        self.hosts[host].group = group;
        group
    }

    pub(super) fn group(&mut self, name: Group) -> u32 {
        if let Some(number) = self.group_numbers.get(&name) {
            return *number;
        }
        let number = self.groups.insert(GroupEntry::new(name.clone()));
        self.group_numbers.insert(name, number);
        number
    }

    /// Writes the group's place among the heads anew; remembers to wake the dispatcher when it moved forward.
    pub(super) fn rehead(&mut self, group: u32) {
        let known = &mut self.groups[group];
        let head = if known.claimed { None } else { known.first_due().map(|due| due.max(known.not_before)) };
        if head == known.head {
            return;
        }
        let before = std::mem::replace(&mut known.head, head);
        if let Some(at) = before {
            self.heads.remove(&(at, group));
        }
        if let Some(at) = head {
            self.heads.insert((at, group));
            self.wake |= before.is_none_or(|before| at < before);
        }
    }

    /// Drops an unplaced host's bond to its group when nothing waits, and forgets a host nobody names.
    pub(super) fn tidy_host(&mut self, host: u32) {
        let Some(entry) = self.hosts.get(host) else { return };
        if entry.placed || !entry.queues.is_empty() {
            return;
        }
        let (group, unnamed) = (entry.group, entry.refs == 0);
        if group != NO_GROUP && !self.groups[group].claimed {
            self.hosts[host].group = NO_GROUP;
            self.leave_group(group);
        }
        if unnamed && self.hosts[host].group == NO_GROUP && !self.recovering {
            let entry = &self.hosts[host];
            let name = entry.host.clone();
            if entry.diverted {
                self.forget_diverted(&name, host);
            } else {
                self.host_numbers.remove(&name);
            }
            self.hosts.remove(host);
        }
    }

    fn leave_group(&mut self, group: u32) {
        self.groups[group].hosts -= 1;
        self.tidy_group(group);
    }

    /// Forgets a group with no host, no mail and no claim.
    fn tidy_group(&mut self, group: u32) {
        let known = &self.groups[group];
        if known.hosts == 0 && !known.claimed {
            self.group_numbers.remove(&known.name);
            if let Some(head) = known.head {
                self.heads.remove(&(head, group));
            }
            self.groups.remove(group);
        }
    }

    /// Ends a claim; the group is claimed again not before that instant.
    pub(super) fn unclaim(&mut self, group: u32, not_before: Timestamp) {
        let known = &mut self.groups[group];
        known.claimed = false;
        known.not_before = not_before;
        self.rehead(group);
        let known = &self.groups[group];
        if let Group::Host(host) = &known.name {
            let name = host.clone();
            let own = self.host_numbers.get(&name).copied();
            let recalled = self.recalled.get(&name).cloned().unwrap_or_default();
            own.into_iter().chain(recalled).for_each(|host| self.tidy_host(host));
        }
        if self.groups.get(group).is_some() {
            self.tidy_group(group);
        }
    }

    /// Binds a host to a Site's group.
    pub(crate) fn place(&mut self, host: &Host, site: &SiteName) {
        let host = self.host(host);
        let target = self.group(Group::Site(site.clone()));
        self.hosts[host].placed = true;
        self.move_host(host, target);
    }

    /// Unbinds it.
    pub(crate) fn displace(&mut self, host: &Host) {
        self.recall(host);
        let Some(number) = self.host_numbers.get(host).copied() else { return };
        if !std::mem::take(&mut self.hosts[number].placed) {
            return;
        }
        let target = self.group(Group::Host(host.clone()));
        self.move_host(number, target);
        self.tidy_host(number);
    }

    pub(super) fn move_host(&mut self, host: u32, target: u32) {
        let source = self.hosts[host].group;
        if source == target {
            return;
        }
        self.hosts[host].group = target;
        self.groups[target].hosts += 1;
        let told = |(lane, queue): &(u32, LaneQueue)| (*lane, queue.firsts().unless(self.lanes[*lane].paused), queue.len());
        let firsts: SmallVec<[_; 4]> = self.hosts[host].queues.iter().map(told).collect();
        for (lane, firsts, length) in firsts {
            if source != NO_GROUP {
                let known = &mut self.groups[source];
                known.waiting -= length as u64;
                replace_first(known, lane, host, firsts.now, None);
                if let Some(due) = firsts.later {
                    known.later.remove(&(due, host, lane));
                }
            }
            let known = &mut self.groups[target];
            known.waiting += length as u64;
            if let Some(first) = firsts.now {
                let due = Timestamp::from_millis(first.due);
                known.due_since = if known.lanes.is_empty() { due } else { known.due_since.min(due) };
            }
            replace_first(known, lane, host, None, firsts.now);
            if let Some(due) = firsts.later {
                known.later.insert((due, host, lane));
            }
        }
        self.rehead(target);
        if source != NO_GROUP {
            // The claim on a host's own group ends with the move; a Site's claim is its worker's until it asks again.
            if matches!(self.groups[source].name, Group::Host(_)) {
                self.groups[source].claimed = false;
            }
            self.rehead(source);
            self.leave_group(source);
        }
    }
}

pub(super) fn replace_first(group: &mut GroupEntry, lane: u32, host: u32, before: Option<NowKey>, after: Option<NowKey>) {
    if before.is_none() && after.is_none() {
        return;
    }
    let firsts = group.lanes.entry(lane).or_default();
    if let Some(key) = before {
        firsts.remove(&(key, host));
    }
    match after {
        Some(key) => {
            firsts.insert((key, host));
        }
        None if firsts.is_empty() => {
            group.lanes.remove(&lane);
        }
        None => {}
    }
}
