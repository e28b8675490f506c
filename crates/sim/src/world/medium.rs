//! One file of the simulated disk: what a reader sees, what is safe, and what a crash may make of the difference.

use postrider_lab::Chance;

/// Octets a disk writes whole or not at all, mostly.
const SECTOR_OCTETS: u64 = 512;

/// How much of what was not synced a crash leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing of it.
    All,
    /// A beginning, torn anywhere.
    Tail,
    /// Some sectors, in no order.
    Sectors,
    /// All of it.
    Nothing,
}

impl Loss {
    /// One of them.
    pub(crate) fn any(chance: &mut Chance) -> Self {
        *chance.pick(&[Loss::All, Loss::Tail, Loss::Sectors, Loss::Nothing])
    }

    /// Whether a change of a name is among what is left.
    pub(crate) fn keeps_name(self, chance: &mut Chance) -> bool {
        match self {
            Loss::All => false,
            Loss::Nothing => true,
            Loss::Tail | Loss::Sectors => chance.percent(50),
        }
    }
}

/// What a loss did to a file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Harm {
    /// Something was not synced, and is gone whole.
    pub(crate) gone: bool,
    /// A write was torn: its beginning is there.
    pub(crate) torn: bool,
    /// A write has holes.
    pub(crate) holes: bool,
}

/// Something that was not synced.
#[derive(Debug, Clone)]
enum Pending {
    Write(u64, Vec<u8>),
    SetOctets(u64),
}

/// A file.
#[derive(Debug, Default, Clone)]
pub(crate) struct Medium {
    seen: Image,
    safe: Image,
    pending: Vec<Pending>,
    /// Octets of disk it has taken.
    pub(crate) allocated: u64,
}

/// Octets and a length; what lies beyond the octets reads as zero.
#[derive(Debug, Default, Clone)]
struct Image {
    octets: Vec<u8>,
    length: u64,
}

impl Image {
    fn write(&mut self, offset: u64, data: &[u8]) {
        let end = offset as usize + data.len();
        if self.octets.len() < end {
            self.octets.resize(end, 0);
        }
        self.octets[offset as usize..end].copy_from_slice(data);
        self.length = self.length.max(end as u64);
    }

    fn set_length(&mut self, length: u64) {
        self.octets.truncate(length as usize);
        self.length = length;
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let count = (self.length.saturating_sub(offset)).min(buffer.len() as u64) as usize;
        buffer[..count].fill(0);
        if let Some(known) = self.octets.get(offset as usize..) {
            let known = &known[..known.len().min(count)];
            buffer[..known.len()].copy_from_slice(known);
        }
        count
    }

    fn apply(&mut self, change: &Pending) {
        match change {
            Pending::Write(offset, data) => self.write(*offset, data),
            Pending::SetOctets(length) => self.set_length(*length),
        }
    }
}

impl Medium {
    pub(crate) fn octets(&self) -> u64 {
        self.seen.length
    }

    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        self.seen.read(buffer, offset)
    }

    pub(crate) fn write(&mut self, offset: u64, data: Vec<u8>) {
        self.change(Pending::Write(offset, data));
    }

    pub(crate) fn set_octets(&mut self, length: u64) {
        self.change(Pending::SetOctets(length));
    }

    fn change(&mut self, change: Pending) {
        self.seen.apply(&change);
        self.pending.push(change);
    }

    pub(crate) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.safe.apply(&change);
        }
    }

    /// A sync failed: the kernel believes that all is clean, and the disk has some of it.
    pub(crate) fn lose_silently(&mut self, loss: Loss, chance: &mut Chance) {
        self.keep_some(loss, chance);
    }

    /// The power went: what is safe is what is seen.
    pub(crate) fn lose(&mut self, loss: Loss, chance: &mut Chance) -> Harm {
        let harm = self.keep_some(loss, chance);
        self.seen = self.safe.clone();
        harm
    }

    /// The kernel dropped its pages, some of which had never reached the disk.
    pub(crate) fn evict(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.seen = self.safe.clone();
        pending.into_iter().for_each(|change| self.change(change));
    }

    fn keep_some(&mut self, loss: Loss, chance: &mut Chance) -> Harm {
        let pending = std::mem::take(&mut self.pending);
        let mut left = chance.below(pending.len() as u64 + 1);
        let mut harm = Harm::default();
        for change in pending {
            match loss {
                Loss::All => harm.gone = true,
                Loss::Nothing => self.safe.apply(&change),
                Loss::Tail if left > 0 => {
                    left -= 1;
                    self.safe.apply(&change);
                }
                Loss::Tail => {
                    if let Pending::Write(offset, data) = &change {
                        let kept = chance.below(data.len() as u64 + 1) as usize;
                        self.safe.write(*offset, &data[..kept]);
                        harm.torn |= kept > 0 && kept < data.len();
                    }
                    harm.gone = true;
                    return harm;
                }
                Loss::Sectors => harm.holes |= self.keep_sectors(&change, chance),
            }
        }
        harm
    }

    /// Whether some sectors were kept and others lost.
    fn keep_sectors(&mut self, change: &Pending, chance: &mut Chance) -> bool {
        let Pending::Write(offset, data) = change else {
            if chance.percent(50) {
                self.safe.apply(change);
            }
            return false;
        };
        let (mut at, end) = (*offset, *offset + data.len() as u64);
        let (mut kept, mut lost) = (false, false);
        while at < end {
            let next = ((at / SECTOR_OCTETS + 1) * SECTOR_OCTETS).min(end);
            if chance.percent(50) {
                let piece = &data[(at - offset) as usize..(next - offset) as usize];
                self.safe.write(at, piece);
                kept = true;
            } else {
                lost = true;
            }
            at = next;
        }
        kept && lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(medium: &Medium) -> Vec<u8> {
        let mut buffer = vec![1; 4096];
        let count = medium.read(&mut buffer, 0);
        buffer.truncate(count);
        buffer
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_goes_as_it_is_told() {
        for (loss, kept) in [(Loss::All, &b"safe"[..]), (Loss::Nothing, &b"safe and more"[..])] {
            let mut medium = Medium::default();
            medium.write(0, b"safe".to_vec());
            medium.sync();
            medium.write(4, b" and more".to_vec());
            assert_eq!(seen(&medium), b"safe and more");
            medium.lose(loss, &mut Chance::new(1));
            assert_eq!(seen(&medium), kept, "{loss:?}");
        }
    }

    #[test]
    fn a_tear_leaves_a_beginning_and_sectors_leave_holes() {
        let (mut tears, mut holes) = (0, 0);
        for seed in 0..100 {
            for loss in [Loss::Tail, Loss::Sectors] {
                let mut medium = Medium::default();
                medium.write(0, vec![7; 2048]);
                medium.write(2048, vec![8; 2048]);
                medium.lose(loss, &mut Chance::new(seed));
                let left = seen(&medium);
                let zeros = left.iter().filter(|octet| **octet == 0).count();
                match loss {
                    Loss::Tail => {
                        assert_eq!(zeros, 0);
                        tears += usize::from(!left.len().is_multiple_of(512));
                    }
                    _ => holes += usize::from(zeros > 0),
                }
            }
        }
        assert!(tears > 50 && holes > 50, "{tears} {holes}");
    }

    #[test]
    fn after_a_failed_sync_the_pages_look_clean_until_they_are_dropped() {
        let mut medium = Medium::default();
        medium.write(0, b"gone".to_vec());
        medium.lose_silently(Loss::All, &mut Chance::new(1));
        medium.sync();
        assert_eq!(seen(&medium), b"gone");
        medium.write(4, b"kept".to_vec());
        medium.evict();
        assert_eq!(seen(&medium), b"\0\0\0\0kept");
    }
}
