//! Whose mail goes next at a Site.
//!
//! **Promises.** Inside a Site, tenants share the turns, and inside a tenant its streams do: deficit round robin (Shreedhar and Varghese,
//! 1995), where a parcel costs as many as it has recipients. Whoever has mail here gets its share, whatever others queue: between two
//! tenants that both have mail all the time, the recipients served differ by less than two parcels. Inside a stream, higher priority goes first,
//! then the earlier deadline, then what came first. A Site holds a bounded window of parcels: [`Schedule::room`] says how many more it
//! wants lent, none until the window has run down to low water, so that the spool is asked seldom and for many. Windows are narrow while there is
//! plenty at all Sites together, so memory is bounded by [`Limits::plenty`] and a few parcels for each Site.
//!
//! **Never** drops or copies a parcel: what is pushed comes out of [`Schedule::next`] or [`Schedule::drain`] once. It knows no time and no
//! limits of peers; `shape` does. It decides nothing between Sites: each has its own workers.
//!
//! **Does badly.** A tenant that comes to a Site anew waits until the spool is asked again; a lower priority waits as long as its stream has higher.
//!
//! **Costs.** A push and a turn cost the logarithm of what they search, over the whole row of turns; one turn may look at every tenant of its Site once
//! when all their next parcels are large. [`Schedule::positions`] plays the Site's window through and is for people.

mod lanes;

use std::collections::BTreeMap;

use postrider_model::{Loan, MessageId, Parcel, SiteName, StreamName, TenantName};

use lanes::{Key, Lane, Queue, Ring};

/// The window of one Site, in parcels, and what all windows together make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At most so many are asked for.
    pub high_water: usize,
    /// More is asked for when so many or fewer are left.
    pub low_water: usize,
    /// When so many wait at all Sites together, a Site asks as if its high water were `narrow`: ten thousand Sites that are slow at once
    /// would otherwise hold two million parcels in memory.
    pub plenty: usize,
    /// A Site's high water then; its low water is half of it. Never zero, so that no Site waits for another's window.
    pub narrow: usize,
}

impl Default for Limits {
    /// Enough for the largest provider's connections between two questions to the spool; in all about 10 MB.
    fn default() -> Self {
        Self { high_water: 200, low_water: 100, plenty: 20_000, narrow: 4 }
    }
}

type Site<T> = Ring<TenantName, Ring<StreamName, Lane<T>>>;

/// The parcels in memory, by Site.
#[derive(Debug)]
pub struct Schedule {
    limits: Limits,
    sites: BTreeMap<SiteName, (Site<Parcel>, usize)>,
    /// Where each message stands, so that a question about it does not search every Site.
    index: BTreeMap<(MessageId, Loan), SiteName>,
    arrivals: u64,
}

/// Where one parcel of a message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// At which Site.
    pub site: SiteName,
    /// The recipients it is for, as indexes in `Message::recipients`.
    pub recipients: Vec<u32>,
    /// How many parcels go before it, if nothing else comes.
    pub ahead: usize,
    /// How many parcels wait at the Site, this one included.
    pub waiting: usize,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(limits: Limits) -> Self {
        Self { limits, sites: BTreeMap::new(), index: BTreeMap::new(), arrivals: 0 }
    }

    /// Takes a lent parcel. It is taken although the window is full: whoever lent more than there was room for has it scheduled all the same.
    pub fn push(&mut self, site: &SiteName, parcel: Parcel) {
        self.arrivals += 1;
        let key = Key::new(parcel.priority, parcel.deadline, self.arrivals);
        // A parcel is never empty; one that is would be served for nothing for ever.
        let cost = u32::try_from(parcel.deliveries.len()).unwrap_or(u32::MAX).max(1);
        self.index.insert((parcel.message, parcel.loan), site.clone());
        if !self.sites.contains_key(site) {
            self.sites.insert(site.clone(), (Ring::default(), 0));
        }
        if let Some((ring, waiting)) = self.sites.get_mut(site) {
            *waiting += 1;
            let tenant = parcel.tenant.clone();
            let stream = parcel.stream.clone();
            ring.member(tenant).member(stream).push(key, cost, parcel);
        }
    }

    /// How many more parcels the Site wants lent: none above low water, else what is missing to high water.
    pub fn room(&self, site: &SiteName) -> usize {
        let waiting = self.waiting(site);
        let Limits { high_water, low_water, plenty, narrow } = self.limits;
        let wide = self.len() < plenty;
        let (high, low) = if wide { (high_water, low_water) } else { (narrow.min(high_water).max(1), (narrow / 2).min(low_water)) };
        if waiting > low { 0 } else { high - waiting.min(high) }
    }

    /// The parcel whose turn it is.
    pub fn next(&mut self, site: &SiteName) -> Option<Parcel> {
        let (ring, waiting) = self.sites.get_mut(site)?;
        let parcel = ring.take()?;
        *waiting -= 1;
        if *waiting == 0 {
            self.sites.remove(site);
        }
        self.index.remove(&(parcel.message, parcel.loan));
        Some(parcel)
    }

    /// Gives everything of a Site back, in the order of the turns: to hand it back to the spool.
    pub fn drain(&mut self, site: &SiteName) -> Vec<Parcel> {
        let mut drained = Vec::with_capacity(self.waiting(site));
        while let Some(parcel) = self.next(site) {
            drained.push(parcel);
        }
        drained
    }

    /// How many parcels wait at the Site.
    pub fn waiting(&self, site: &SiteName) -> usize {
        self.sites.get(site).map_or(0, |(_, waiting)| *waiting)
    }

    /// How many parcels wait in all.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The Sites that have parcels waiting, by name, with their number.
    pub fn sites(&self) -> impl Iterator<Item = (&SiteName, usize)> {
        self.sites.iter().map(|(site, (_, waiting))| (site, *waiting))
    }

    /// The Sites where parcels of this message wait.
    pub fn sites_of(&self, message: MessageId) -> Vec<SiteName> {
        self.index.range((message, Loan(0))..=(message, Loan(u64::MAX))).map(|(_, site)| site.clone()).collect()
    }

    /// How many parcels go before the first of this message; `None` when it is not here.
    pub fn position(&self, message: MessageId) -> Option<usize> {
        self.positions(message).into_iter().map(|position| position.ahead).min()
    }

    /// Where the parcels of a message stand. Costs as much as the window of each Site is large.
    pub fn positions(&self, message: MessageId) -> Vec<Position> {
        let of_message = self.index.range((message, Loan(0))..=(message, Loan(u64::MAX)));
        of_message.filter_map(|((_, loan), site)| self.stand(site, message, *loan)).collect()
    }

    /// Plays a shadow of the Site through until the parcel comes.
    fn stand(&self, site: &SiteName, message: MessageId, loan: Loan) -> Option<Position> {
        let (ring, waiting) = self.sites.get(site)?;
        let mut shadow: Site<&Parcel> = ring.shadow(|streams| streams.shadow(Lane::shadow));
        let mut ahead = 0;
        while let Some(parcel) = shadow.take() {
            if parcel.message == message && parcel.loan == loan {
                let recipients = parcel.deliveries.iter().map(|delivery| delivery.index).collect();
                return Some(Position { site: site.clone(), recipients, ahead, waiting: *waiting });
            }
            ahead += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests;
