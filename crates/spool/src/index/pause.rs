//! Tenants that are not lent from: what they have waits in its lanes, and groups do not know of it.
//!
//! **Promises.** It costs one walk over the hosts when it changes, and nothing for each delivery, however many wait.

use std::collections::BTreeSet;

use postrider_model::{TenantName, Timestamp};
use smallvec::SmallVec;

use super::Index;
use super::groups::replace_first;
use super::lane::Firsts;

impl Index {
    /// From now on exactly these tenants are paused.
    pub(crate) fn pause(&mut self, tenants: &[TenantName]) {
        self.paused = tenants.iter().cloned().collect();
        let Self { lanes, paused, .. } = self;
        let is_other = |lane: &super::LaneName| lane.paused != paused.contains(&lane.tenant);
        let changed: BTreeSet<u32> = lanes.iter().filter(|(_, lane)| is_other(lane)).map(|(number, _)| number).collect();
        for lane in &changed {
            lanes[*lane].paused ^= true;
        }
        if changed.is_empty() {
            return;
        }
        for host in 0..self.hosts.end() {
            let Some(entry) = self.hosts.get(host) else { continue };
            let queues = entry.queues.iter().filter(|(lane, _)| changed.contains(lane));
            let firsts: SmallVec<[(u32, Firsts); 1]> = queues.map(|(lane, queue)| (*lane, queue.firsts())).collect();
            let group = entry.group;
            for (lane, firsts) in &firsts {
                self.tell_group(group, host, *lane, *firsts);
            }
            if !firsts.is_empty() {
                self.rehead(group);
            }
        }
    }

    /// A lane was paused, or is no more: its queue's group forgets the queue, or learns of it.
    fn tell_group(&mut self, group: u32, host: u32, lane: u32, firsts: Firsts) {
        let paused = self.lanes[lane].paused;
        let known = &mut self.groups[group];
        if paused {
            replace_first(known, lane, host, firsts.now, None);
            if let Some(due) = firsts.later {
                known.later.remove(&(due, host, lane));
            }
            return;
        }
        if let Some(first) = firsts.now {
            let due = Timestamp::from_millis(first.due);
            known.due_since = if known.lanes.is_empty() { due } else { known.due_since.min(due) };
        }
        replace_first(known, lane, host, None, firsts.now);
        if let Some(due) = firsts.later {
            known.later.insert((due, host, lane));
        }
    }
}
