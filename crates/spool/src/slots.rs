//! The slots of the log: which hold which life, and which are free.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use postrider_model::doors::SpoolTrouble;

use crate::disk::{Disk, is_full};
use crate::segment::{Slot, io_trouble};
use crate::sync::lock;

/// What the log needs to know of its surroundings.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: u128,
    pub(crate) segment_octets: u32,
    /// Octets of disk that mail may not take.
    pub(crate) reserve_octets: u64,
    /// Free slots that mail may not take.
    pub(crate) reserve_slots: usize,
    /// Free slots that are kept.
    pub(crate) pool_slots: usize,
    pub(crate) zero_fill: bool,
}

pub(crate) struct Slots {
    pub(crate) ground: Ground,
    table: Mutex<Table>,
}

struct Table {
    open: BTreeMap<u32, Slot>,
    free: Vec<Slot>,
    next_number: u32,
}

impl Slots {
    pub(crate) fn new(ground: Ground, open: BTreeMap<u32, Slot>, free: Vec<Slot>, next_number: u32) -> Self {
        Self { ground, table: Mutex::new(Table { open, free, next_number }) }
    }

    /// The slot that holds a life.
    pub(crate) fn of_life(&self, life: u32) -> Option<Slot> {
        lock(&self.table).open.get(&life).cloned()
    }

    /// A free slot, or a fresh one; and whether it is of the reserve, which mail has no right to.
    pub(crate) fn take_free(&self, for_mail: bool) -> Result<(Slot, bool), SpoolTrouble> {
        if let Some(slot) = self.pop_free(self.ground.reserve_slots) {
            return Ok((slot, false));
        }
        // Somebody waits: the blocks are written by the records themselves.
        match self.create(self.ground.reserve_octets, false) {
            Ok(slot) => return Ok((slot, false)),
            Err(trouble) if for_mail => return Err(trouble),
            Err(_) => {}
        }
        match self.pop_free(0) {
            Some(slot) => Ok((slot, true)),
            None => self.create(0, false).map(|slot| (slot, true)),
        }
    }

    fn pop_free(&self, keep: usize) -> Option<Slot> {
        let mut table = lock(&self.table);
        if table.free.len() > keep { table.free.pop() } else { None }
    }

    /// Makes a slot that leaves `leave` octets of disk.
    pub(crate) fn create(&self, leave: u64, zero_fill: bool) -> Result<Slot, SpoolTrouble> {
        let ground = &self.ground;
        let octets = u64::from(ground.segment_octets);
        let free = ground.disk.free_octets().map_err(|trouble| io_trouble("free space", &trouble))?;
        if free < leave.saturating_add(octets) {
            return Err(SpoolTrouble::Full);
        }
        let number = {
            let mut table = lock(&self.table);
            table.next_number += 1;
            table.next_number - 1
        };
        Slot::create(ground.disk.as_ref(), number, octets, ground.log, zero_fill)
            .map_err(|trouble| if is_full(&trouble) { SpoolTrouble::Full } else { io_trouble("a new segment", &trouble) })
    }

    /// Whether a slot for mail can be had.
    pub(crate) fn has_room_for_mail(&self) -> bool {
        if lock(&self.table).free.len() > self.ground.reserve_slots {
            return true;
        }
        let need = self.ground.reserve_octets.saturating_add(self.ground.segment_octets.into());
        self.ground.disk.free_octets().is_ok_and(|free| free >= need)
    }

    pub(crate) fn opened(&self, slot: &Slot) {
        lock(&self.table).open.insert(slot.header.life, slot.clone());
    }

    pub(crate) fn forget(&self, life: u32) -> Option<Slot> {
        lock(&self.table).open.remove(&life)
    }

    pub(crate) fn give_free(&self, slot: Slot) {
        lock(&self.table).free.push(slot);
    }

    /// Takes a free slot away for good, when more than `keep` are free.
    pub(crate) fn surplus(&self, keep: usize) -> Option<Slot> {
        let mut table = lock(&self.table);
        if table.free.len() <= keep {
            return None;
        }
        // The slot of the newest life stays: its header tells the next start where generations and sequences are.
        let oldest = table.free.iter().enumerate().min_by_key(|(_, slot)| slot.header.life).map(|(nth, _)| nth)?;
        Some(table.free.swap_remove(oldest))
    }

    /// The files of the slots in use.
    pub(crate) fn open_names(&self) -> Vec<String> {
        lock(&self.table).open.values().map(|slot| slot.name.clone()).collect()
    }

    /// Slots in use, and free ones.
    pub(crate) fn count(&self) -> (usize, usize) {
        let table = lock(&self.table);
        (table.open.len(), table.free.len())
    }
}
