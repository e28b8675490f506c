//! One record of the log: a header of 48 octets, the meta part, the body, and padding to 8 octets.
//!
//! **Promises.** A record reads as true only where it was written: its check covers the log's id, the segment's life, its own offset and the
//! check of the record before it, so that nothing a former life of the slot, a lost write, or a write that failed half-way left behind is ever
//! taken for a record. The body has a hash of its own inside the check, so the meta part can be verified without reading the body.
//!
//! ```text
//!  0 meta length u32 | 4 body length u32 | 8 synced to u32 | 12 link u32 | 16 first event's sequence u64 | 24 body hash u64
//! 32 kind u8 | 33 flags u8 | 34 magic u16 | 36 zero u32 | 40 check u64
//! ```
//! *synced to* is the offset up to which the segment was known to be synced when this record was written: a damaged record before that offset
//! is corruption and not a tear (docs/custody.md, R4). *link* is the lower half of the previous record's check.

use xxhash_rust::xxh3::xxh3_64;

/// Octets of a record's header.
pub(crate) const HEADER_OCTETS: usize = 48;
/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
const MAGIC: u16 = 0x5052;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Custody of a message began.
    Acceptance,
    /// Outcomes, perhaps with the report they cause.
    Settlement,
    /// Compaction's copy of a message that waits; supersedes all that was said of it before.
    Checkpoint,
    /// Compaction's copy of what settlements said of a message's deliveries, without the message.
    Standing,
    /// The index of a sealed segment.
    Footer,
    /// All live records of the segment that this one takes over from are copied.
    Transferred,
    /// A person's change of waiting deliveries: which, and their new date.
    Alteration,
    /// A person's change that an alteration cannot say.
    Change,
    /// A fact that is about no message: nothing of it lives in memory, and its segment may go when the journal has it.
    Notice,
}

impl Kind {
    pub(crate) const ALL: [(Kind, u8); 9] = [
        (Kind::Acceptance, 1),
        (Kind::Settlement, 2),
        (Kind::Checkpoint, 3),
        (Kind::Standing, 4),
        (Kind::Footer, 5),
        (Kind::Transferred, 6),
        (Kind::Alteration, 7),
        (Kind::Change, 8),
        (Kind::Notice, 9),
    ];

    fn tag(self) -> u8 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, tag)| *tag)
    }

    pub(crate) fn from_tag(tag: u8) -> Option<Kind> {
        Self::ALL.iter().find(|(_, known)| *known == tag).map(|(kind, _)| *kind)
    }
}

/// What ties a record to its segment's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) log: u128,
    pub(crate) life: u32,
}

/// A header, as it stands or will stand at some offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) meta_octets: u32,
    pub(crate) body_octets: u32,
    pub(crate) synced_to: u32,
    pub(crate) link: u32,
    pub(crate) sequence: u64,
    pub(crate) body_hash: u64,
    pub(crate) tag: u8,
    pub(crate) check: u64,
}

impl Header {
    pub(crate) fn new(kind: Kind, meta_octets: usize, body_octets: usize, body_hash: u64) -> Self {
        Self {
            meta_octets: meta_octets as u32,
            body_octets: body_octets as u32,
            synced_to: 0,
            link: 0,
            sequence: 0,
            body_hash,
            tag: kind.tag(),
            check: 0,
        }
    }

    /// Octets of the whole record with its padding.
    pub(crate) fn record_octets(&self) -> u64 {
        record_octets(self.meta_octets.into(), self.body_octets.into())
    }

    fn plain(&self) -> [u8; 40] {
        let mut out = [0; 40];
        out[0..4].copy_from_slice(&self.meta_octets.to_le_bytes());
        out[4..8].copy_from_slice(&self.body_octets.to_le_bytes());
        out[8..12].copy_from_slice(&self.synced_to.to_le_bytes());
        out[12..16].copy_from_slice(&self.link.to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        out[24..32].copy_from_slice(&self.body_hash.to_le_bytes());
        out[32] = self.tag;
        out[34..36].copy_from_slice(&MAGIC.to_le_bytes());
        out
    }

    /// Computes the check for a place, and gives the octets to write there. Cheap: the hashes of the payload were computed before.
    pub(crate) fn bind(&mut self, binding: Binding, offset: u32, meta_hash: u64) -> [u8; HEADER_OCTETS] {
        let plain = self.plain();
        self.check = check(binding, offset, &plain, meta_hash);
        let mut out = [0; HEADER_OCTETS];
        out[..40].copy_from_slice(&plain);
        out[40..].copy_from_slice(&self.check.to_le_bytes());
        out
    }

    /// Reads a header that may be anything; `None` when it cannot be one.
    pub(crate) fn read(octets: &[u8]) -> Option<Header> {
        let octets: &[u8; HEADER_OCTETS] = octets.get(..HEADER_OCTETS)?.try_into().ok()?;
        let four = |at: usize| u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        let sound = octets[34..36] == MAGIC.to_le_bytes() && octets[33] == 0 && four(36) == 0 && octets[32] != 0;
        sound.then(|| Header {
            meta_octets: four(0),
            body_octets: four(4),
            synced_to: four(8),
            link: four(12),
            sequence: eight(16),
            body_hash: eight(24),
            tag: octets[32],
            check: eight(40),
        })
    }

    /// Whether header and meta part were written at this place.
    pub(crate) fn is_bound(&self, binding: Binding, offset: u32, meta: &[u8]) -> bool {
        check(binding, offset, &self.plain(), xxh3_64(meta)) == self.check
    }
}

/// Octets that a record takes on disk.
pub(crate) fn record_octets(meta: u64, body: u64) -> u64 {
    (HEADER_OCTETS as u64 + meta + body).next_multiple_of(ALIGNMENT as u64)
}

fn check(binding: Binding, offset: u32, plain: &[u8; 40], meta_hash: u64) -> u64 {
    let mut bound = [0; 72];
    bound[..16].copy_from_slice(&binding.log.to_le_bytes());
    bound[16..20].copy_from_slice(&binding.life.to_le_bytes());
    bound[20..24].copy_from_slice(&offset.to_le_bytes());
    bound[24..64].copy_from_slice(plain);
    bound[64..].copy_from_slice(&meta_hash.to_le_bytes());
    xxh3_64(&bound)
}

/// One record found in a segment's octets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) offset: u32,
    pub(crate) header: Header,
    pub(crate) meta: &'a [u8],
}

/// Walks the records of a segment. `octets` is the segment from its first octet on.
pub(crate) struct Scan<'a> {
    octets: &'a [u8],
    binding: Binding,
    /// Where the next record would begin; after the walk, where the valid records end.
    pub(crate) offset: u32,
    link: u32,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(octets: &'a [u8], binding: Binding, start: u32) -> Self {
        Self { octets, binding, offset: start, link: 0 }
    }

    /// The next record, if a valid one that follows the last stands here.
    pub(crate) fn next(&mut self) -> Option<Found<'a>> {
        let found = record_at(self.octets, self.binding, self.offset)?;
        if found.header.link != self.link {
            return None;
        }
        self.link = found.header.check as u32;
        self.offset += found.header.record_octets() as u32;
        Some(found)
    }

    /// After the walk: a later record that was written when the place where the walk ended was synced already. There is one only when
    /// the end is damage of synced octets.
    pub(crate) fn proof_of_damage(&self) -> Option<u32> {
        let mut offset = self.offset as usize + ALIGNMENT;
        while offset + HEADER_OCTETS <= self.octets.len() {
            let likely = self.octets[offset + 34..offset + 36] == MAGIC.to_le_bytes();
            if likely
                && let Some(found) = record_at(self.octets, self.binding, offset as u32)
                && found.header.synced_to > self.offset
            {
                return Some(found.offset);
            }
            offset += ALIGNMENT;
        }
        None
    }
}

/// The record at an offset, when a valid one stands there (whatever its predecessor).
pub(crate) fn record_at<'a>(octets: &'a [u8], binding: Binding, offset: u32) -> Option<Found<'a>> {
    let rest = octets.get(offset as usize..)?;
    let header = Header::read(rest)?;
    let (meta_octets, body_octets) = (header.meta_octets as usize, header.body_octets as usize);
    let payload = rest.get(HEADER_OCTETS..)?.get(..meta_octets.checked_add(body_octets)?)?;
    let (meta, body) = payload.split_at(meta_octets);
    let sound = header.is_bound(binding, offset, meta) && (body.is_empty() || xxh3_64(body) == header.body_hash);
    sound.then_some(Found { offset, header, meta })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: Binding = Binding { log: 7, life: 3 };

    fn write(out: &mut Vec<u8>, link: &mut u32, synced_to: u32, meta: &[u8], body: &[u8]) {
        let mut header = Header::new(Kind::Acceptance, meta.len(), body.len(), xxh3_64(body));
        (header.link, header.synced_to, header.sequence) = (*link, synced_to, 9);
        let octets = header.bind(BINDING, out.len() as u32, xxh3_64(meta));
        let end = out.len() + header.record_octets() as usize;
        out.extend_from_slice(&octets);
        out.extend_from_slice(meta);
        out.extend_from_slice(body);
        out.resize(end, 0);
        *link = header.check as u32;
    }

    fn three() -> Vec<u8> {
        let (mut out, mut link) = (Vec::new(), 0);
        write(&mut out, &mut link, 0, b"one", b"body one");
        write(&mut out, &mut link, 0, b"two", b"");
        let synced = out.len() as u32;
        write(&mut out, &mut link, synced, b"three", b"body three");
        out.resize(out.len() + 64, 0);
        out
    }

    fn count(octets: &[u8], binding: Binding) -> (usize, Option<u32>) {
        let mut scan = Scan::new(octets, binding, 0);
        let mut found = 0;
        while scan.next().is_some() {
            found += 1;
        }
        (found, scan.proof_of_damage())
    }

    #[test]
    fn records_read_back_only_in_their_own_life_and_place() {
        let octets = three();
        assert_eq!(count(&octets, BINDING), (3, None));
        assert_eq!(count(&octets, Binding { life: 4, ..BINDING }).0, 0);
        assert_eq!(count(&octets, Binding { log: 8, ..BINDING }).0, 0);
        let mut moved = vec![0; 8];
        moved.extend_from_slice(&octets);
        assert!(record_at(&moved, BINDING, 8).is_none());
    }

    #[test]
    fn every_flipped_octet_is_seen_and_told_apart_from_a_tear() {
        let octets = three();
        let third = record_octets(3, 8) as usize + record_octets(3, 0) as usize;
        let end = octets.len() - 64;
        for at in 0..end {
            let mut damaged = octets.clone();
            damaged[at] ^= 0x10;
            let (found, proof) = count(&damaged, BINDING);
            let padding = found == 3;
            if padding {
                let in_padding = (59..64).contains(&at) || (115..120).contains(&at) || at >= end - 8;
                assert!(in_padding, "octet {at} is not covered");
            } else {
                assert_eq!(proof.is_some(), at < third, "octet {at}");
            }
        }
    }

    #[test]
    fn a_record_of_a_write_that_failed_does_not_follow_another_predecessor() {
        let (mut out, mut link) = (Vec::new(), 0);
        write(&mut out, &mut link, 0, b"one", b"");
        write(&mut out, &mut link, 0, b"left over", b"");
        let mut again = Vec::new();
        write(&mut again, &mut 0, 0, b"eno", b"");
        out[..again.len()].copy_from_slice(&again);
        assert_eq!(count(&out, BINDING), (1, None));
    }
}
