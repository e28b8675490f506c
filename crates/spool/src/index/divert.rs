//! Mail of one host that goes different ways: by its sender, its tenant, its stream.
//!
//! **Promises.** What is diverted waits in its Site's group, as mail of a host placed there does, until the host is displaced; then all of it waits in the host's own
//! group again, and none of it goes anywhere without being asked about anew. Nothing of this is stored: a restart asks anew, too.
//!
//! Each pair of host and Site has a host entry of its own, so that displacing a host moves a handful of keys however much of its mail was diverted.

use postrider_model::{Group, Loan, MessageId, SiteName};
use postrider_smtp::Host;
use smallvec::SmallVec;

use super::Index;
use super::entry::Standing;
use super::groups::{HostEntry, NO_GROUP};

impl Index {
    /// Ends a loan; what was lent waits at this Site.
    pub(crate) fn divert(&mut self, id: MessageId, loan: Loan, site: &SiteName) {
        let Some(slot) = self.find(id) else { return };
        for nth in 0..self.messages[slot].deliveries.len() {
            let delivery = &self.messages[slot].deliveries[nth];
            if !delivery.is_lent_as(loan) {
                continue;
            }
            let (index, before) = (delivery.index, delivery.host);
            let host = self.hosts[before].host.clone();
            let after = self.entry_for(&host, site);
            self.hosts[after].refs += 1;
            self.hosts[before].refs -= 1;
            let delivery = &mut self.messages[slot].deliveries[nth];
            (delivery.state, delivery.host) = (Standing::Waiting, after);
            self.lent -= 1;
            self.enqueue(slot, index);
            self.tidy_host(before);
        }
    }

    /// What was diverted of a host waits in the host's own group again.
    pub(super) fn recall(&mut self, host: &Host) {
        let all = self.diverted.range((host.clone(), SiteName::new(""))..).take_while(|((of, _), _)| of == host);
        let all: SmallVec<[(SiteName, u32); 4]> = all.map(|((_, site), number)| (site.clone(), *number)).collect();
        for (site, number) in all {
            self.diverted.remove(&(host.clone(), site));
            self.recalled.entry(host.clone()).or_default().push(number);
            self.hosts[number].placed = false;
            let target = self.group(Group::Host(host.clone()));
            self.move_host(number, target);
            self.tidy_host(number);
        }
    }

    /// The entry is gone.
    pub(super) fn forget_diverted(&mut self, host: &Host, number: u32) {
        if let Some(numbers) = self.recalled.get_mut(host) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.recalled.remove(host);
            }
        }
    }

    fn entry_for(&mut self, host: &Host, site: &SiteName) -> u32 {
        let key = (host.clone(), site.clone());
        if let Some(number) = self.diverted.get(&key) {
            return *number;
        }
        let entry = HostEntry {
            host: host.clone(),
            diverted: true,
            text: host.to_string().into(),
            refs: 0,
            group: NO_GROUP,
            placed: true,
            queues: SmallVec::new(),
        };
        let number = self.hosts.insert(entry);
        self.diverted.insert(key, number);
        let target = self.group(Group::Site(site.clone()));
        self.move_host(number, target);
        number
    }
}
