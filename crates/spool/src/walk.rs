//! Walking a segment's records by header and meta part alone, a small window of the file at a time.
//!
//! **Promises.** Memory is bounded by the largest meta part and one window, whatever the segment holds; bodies are stepped over. A record is given only
//! when its check and its link hold, as [`crate::record::Scan`] demands.
//!
//! **Never** verifies bodies: this is for history, which has none, and it does not judge how the walk ended.

use postrider_model::doors::SpoolTrouble;

use crate::disk::read_exactly;
use crate::record::{Found, HEADER_OCTETS, Header};
use crate::segment::{RECORDS_START, Slot, io_trouble};

/// Octets read at once: several records of usual size.
const WINDOW_OCTETS: u64 = 128 * 1024;

/// A walk over one segment.
pub(crate) struct Walk<'a> {
    slot: &'a Slot,
    /// Octets of the segment's file.
    end: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Where the next record would begin.
    pub(crate) offset: u32,
    link: u32,
}

impl<'a> Walk<'a> {
    /// From the segment's first record on.
    pub(crate) fn new(slot: &'a Slot) -> Result<Self, SpoolTrouble> {
        let end = slot.file.octets().map_err(|trouble| io_trouble(&slot.name, &trouble))?;
        Ok(Self { slot, end, window: Vec::new(), window_at: 0, offset: RECORDS_START, link: 0 })
    }

    /// The next record, if a valid one that follows the last stands here.
    pub(crate) fn next(&mut self) -> Result<Option<Found<'_>>, SpoolTrouble> {
        let offset = self.offset;
        let Some(header) = self.octets(offset.into(), HEADER_OCTETS)?.and_then(Header::read) else { return Ok(None) };
        let record_end = u64::from(offset) + header.record_octets();
        if header.link != self.link || record_end > self.end {
            return Ok(None);
        }
        let binding = self.slot.binding();
        let Some(meta) = self.octets(u64::from(offset) + HEADER_OCTETS as u64, header.meta_octets as usize)? else { return Ok(None) };
        if !header.is_bound(binding, offset, meta) {
            return Ok(None);
        }
        (self.link, self.offset) = (header.check as u32, record_end as u32);
        let meta = self.octets(u64::from(offset) + HEADER_OCTETS as u64, header.meta_octets as usize)?;
        Ok(meta.map(|meta| Found { offset, header, meta }))
    }

    /// Octets of the file, from the window; `None` beyond the end.
    fn octets(&mut self, at: u64, count: usize) -> Result<Option<&[u8]>, SpoolTrouble> {
        let wanted_end = at + count as u64;
        if wanted_end > self.end {
            return Ok(None);
        }
        if at < self.window_at || wanted_end > self.window_at + self.window.len() as u64 {
            let read = WINDOW_OCTETS.max(count as u64).min(self.end - at);
            let failed = |trouble: std::io::Error| io_trouble(&self.slot.name, &trouble);
            self.window = read_exactly(self.slot.file.as_ref(), at, read as usize).map_err(failed)?;
            self.window_at = at;
        }
        let start = (at - self.window_at) as usize;
        Ok(self.window.get(start..start + count))
    }
}
