//! What memory knows of each segment: how much in it lives, and what must go before it (docs/custody.md, R2).

use std::collections::{BTreeMap, BTreeSet};

use super::entry::Place;

/// What a standing costs on disk, about; only the bound on disk use hangs on it.
pub(crate) const TOLD_OCTETS: u64 = 256;

/// One segment that is not free.
#[derive(Debug, Default)]
pub(crate) struct SegmentBook {
    /// Records in it that the index points at.
    pub(crate) live_records: u64,
    /// About their octets.
    pub(crate) live_octets: u64,
    /// Octets used by records.
    pub(crate) used_octets: u64,
    /// Segments that must be free on disk before this one may be.
    pub(crate) depends_on: BTreeSet<u32>,
    /// Nothing is appended to it any more.
    pub(crate) sealed: bool,
    /// One more than the last event in it.
    pub(crate) next_sequence: u64,
}

/// All segments that are not free, by life.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    books: BTreeMap<u32, SegmentBook>,
}

impl Segments {
    pub(crate) fn begin(&mut self, life: u32) -> &mut SegmentBook {
        self.books.entry(life).or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &SegmentBook)> {
        self.books.iter().map(|(life, book)| (*life, book))
    }

    pub(crate) fn pin(&mut self, place: Place) {
        let book = self.begin(place.life);
        book.live_records += 1;
        book.live_octets += u64::from(place.octets);
    }

    pub(crate) fn unpin(&mut self, place: Place) {
        if let Some(book) = self.books.get_mut(&place.life) {
            book.live_records -= 1;
            book.live_octets = book.live_octets.saturating_sub(u64::from(place.octets));
        }
    }

    pub(crate) fn pin_told(&mut self, life: u32) {
        if life != 0 {
            let book = self.begin(life);
            book.live_records += 1;
            book.live_octets += TOLD_OCTETS;
        }
    }

    pub(crate) fn unpin_told(&mut self, life: u32) {
        if let Some(book) = self.books.get_mut(&life).filter(|_| life != 0) {
            book.live_records -= 1;
            book.live_octets = book.live_octets.saturating_sub(TOLD_OCTETS);
        }
    }

    /// `life` may be freed only after `on`.
    pub(crate) fn depend(&mut self, life: u32, on: u32) {
        if life != on && self.books.contains_key(&on) {
            self.begin(life).depends_on.insert(on);
        }
    }

    /// `life` may be freed only after all that are older.
    pub(crate) fn depend_on_all_before(&mut self, life: u32) {
        let older: Vec<u32> = self.books.range(..life).map(|(life, _)| *life).collect();
        self.begin(life).depends_on.extend(older);
    }

    /// The first sealed segment that nothing lives in and that depends on nothing, when its events are archived.
    /// Gives its life, and the sequence after its last event.
    pub(crate) fn freeable(&self, archived_to: u64) -> Option<(u32, u64)> {
        self.iter().find(|(_, book)| book.is_freeable(archived_to)).map(|(life, book)| (life, book.next_sequence))
    }

    /// What depended on nothing but `life`'s being there depends on what `life` depended on: newer segments take its words over.
    pub(crate) fn inherit(&mut self, life: u32) {
        let inherited = self.books.get(&life).map(|book| book.depends_on.clone()).unwrap_or_default();
        for (_, book) in self.books.range_mut(life + 1..) {
            book.depends_on.extend(&inherited);
        }
    }

    /// It is free on disk.
    pub(crate) fn freed(&mut self, life: u32) {
        self.books.remove(&life);
        for book in self.books.values_mut() {
            book.depends_on.remove(&life);
        }
    }

    pub(crate) fn live_octets(&self) -> u64 {
        self.books.values().map(|book| book.live_octets).sum()
    }
}

impl SegmentBook {
    fn is_freeable(&self, archived_to: u64) -> bool {
        self.sealed && self.live_records == 0 && self.depends_on.is_empty() && self.next_sequence <= archived_to
    }
}
