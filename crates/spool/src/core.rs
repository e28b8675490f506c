//! What all parts of the engine share, and the commit from end to end.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use postrider_model::doors::SpoolTrouble;
use postrider_model::{DeliveryId, Event, EventKind, Message, limits};
use tokio::sync::{Notify, oneshot};

use crate::compact::Compaction;
use crate::forms::FileName;
use crate::frame::{Frame, Purpose, SettlePurpose};
use crate::handoff::{Handoff, Patience, Weight};
use crate::hold::Holds;
use crate::index::{Extra, Index, MessageEntry, NewMessage, Place};
use crate::journal::Archive;
use crate::log::{Committed, Done, Log};
use crate::offload::Offload;
use crate::ring::Ring;
use crate::slots::Slots;
use crate::staging::{Kept, StagingGround};
use crate::sync::lock;

/// How long the committer waits before it tries again what found no room on the disk.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What is handed to the committer.
pub(crate) enum Item {
    Frame(Box<Frame>),
    /// Answered when everything before it is durable.
    Flush(oneshot::Sender<Result<(), SpoolTrouble>>),
}

/// The engine's shared state.
pub(crate) struct Core {
    pub(crate) slots: Arc<Slots>,
    pub(crate) offload: Arc<dyn Offload>,
    pub(crate) staging: Arc<StagingGround>,
    pub(crate) index: Mutex<Index>,
    pub(crate) handoff: Handoff<Item>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) ring: Ring,
    pub(crate) archive: Option<Mutex<Archive>>,
    /// Octets of its files, as of its last step.
    pub(crate) journal_octets: AtomicU64,
    /// The dispatcher's bell.
    pub(crate) bell: Notify,
    /// The pump's bell (manual mode).
    pub(crate) work: Notify,
    /// Outcomes settled in memory and not durable.
    pub(crate) unsynced: AtomicUsize,
    pub(crate) room: Notify,
    pub(crate) warm_octets: AtomicUsize,
    pub(crate) full: AtomicBool,
    pub(crate) poisoned: OnceLock<String>,
    pub(crate) counters: Counters,
    /// Contents files whose message is durably ended.
    pub(crate) doomed: Mutex<Vec<(FileName, u64)>>,
    /// Something for the keeper to do.
    pub(crate) keeper_bell: Handoff<()>,
    /// Who copies what stands on disk.
    pub(crate) holds: Holds,
    pub(crate) compaction: Mutex<Compaction>,
    /// One change by hand at a time, so that their records stand in the order in which they changed memory.
    pub(crate) altering: Mutex<()>,
    /// Compaction's copies on their way to the log.
    pub(crate) copies: AtomicUsize,
    /// The last of them found no room: there is none until something else is written or freed.
    pub(crate) no_room_for_copies: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) settled: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// What only the committer touches.
pub(crate) struct Writer {
    pub(crate) log: Log,
    /// Frames that found no room.
    pub(crate) kept: Vec<Frame>,
    /// Commits that do not wait for company, because none came lately.
    pub(crate) impatient: u32,
    pub(crate) disappointments: u32,
}

impl Core {
    /// Fails when nothing may be acknowledged any more.
    pub(crate) fn check_sound(&self) -> Result<(), SpoolTrouble> {
        match self.poisoned.get() {
            Some(why) => Err(SpoolTrouble::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    /// Whether mail must be refused for want of disk; asks the disk again when it was so.
    pub(crate) fn check_room(&self) -> Result<(), SpoolTrouble> {
        if self.full.load(Ordering::Relaxed) {
            if !self.slots.has_room_for_mail() {
                return Err(SpoolTrouble::Full);
            }
            self.full.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn give(&self, item: Item, weight: Weight) -> Result<(), Item> {
        self.handoff.give(item, weight)?;
        self.work.notify_one();
        Ok(())
    }

    /// How long the committer waits for company.
    fn patience(&self) -> Patience {
        let mut writer = lock(&self.writer);
        let company = if writer.impatient > 0 {
            writer.impatient -= 1;
            0
        } else {
            self.staging.under_way.load(Ordering::Relaxed)
        };
        Patience {
            company,
            company_wait: Duration::from_micros(limits::COMMIT_WAIT_US),
            outcomes: limits::UNSYNCED_OUTCOMES_MAX / 2,
            outcomes_wait: Duration::from_millis(limits::SETTLE_SYNC_MS),
        }
    }

    /// One turn of the committer's thread. `false`: it is over.
    pub(crate) fn commit_waiting(&self) -> bool {
        let stuck = !lock(&self.writer).kept.is_empty();
        let taken = self.handoff.take(stuck.then_some(RETRY_PAUSE), || self.patience());
        if let Some((before, after)) = taken.company {
            let mut writer = lock(&self.writer);
            // Company that does not come in time is not waited for again for a while.
            writer.disappointments = if after > before { 0 } else { (writer.disappointments + 1).min(8) };
            writer.impatient = (1 << writer.disappointments) - 1;
        }
        if stuck || !taken.items.is_empty() {
            self.commit(taken.items);
        }
        !taken.closed
    }

    /// Commits what waits, without waiting. Whether anything came of it.
    pub(crate) fn commit_now(&self) -> bool {
        let taken = self.handoff.take_now();
        let (news, stuck) = (!taken.items.is_empty(), lock(&self.writer).kept.len());
        if news || stuck > 0 {
            self.commit(taken.items);
        }
        news || lock(&self.writer).kept.len() < stuck
    }

    fn commit(&self, items: Vec<Item>) {
        let mut writer = lock(&self.writer);
        let mut frames = std::mem::take(&mut writer.kept);
        let mut flushes = Vec::new();
        for item in items {
            match item {
                Item::Frame(frame) => frames.push(*frame),
                Item::Flush(answer) => flushes.push(answer),
            }
        }
        if let Err(trouble) = self.check_sound() {
            frames.into_iter().for_each(|frame| frame.fail(&trouble));
            flushes.into_iter().for_each(|answer| drop(answer.send(Err(trouble.clone()))));
            return;
        }
        let frames = self.refuse_taken_ids(frames);
        match writer.log.commit(frames) {
            Ok(mut committed) => {
                writer.kept = std::mem::take(&mut committed.kept);
                self.counters.syncs.store(writer.log.syncs(), Ordering::Relaxed);
                let stuck = !writer.kept.is_empty();
                drop(writer);
                self.apply(committed);
                let verdict = if stuck { Err(SpoolTrouble::Full) } else { Ok(()) };
                flushes.into_iter().for_each(|answer| drop(answer.send(verdict.clone())));
            }
            Err((trouble, frames)) => {
                drop(writer);
                self.poison(&trouble);
                let told = self.check_sound().err().unwrap_or(trouble);
                frames.into_iter().for_each(|frame| frame.fail(&told));
                flushes.into_iter().for_each(|answer| drop(answer.send(Err(told.clone()))));
            }
        }
    }

    /// Two messages of one id would be one message to everybody, and to the log: mail whose id is taken is refused before it is written.
    fn refuse_taken_ids(&self, frames: Vec<Frame>) -> Vec<Frame> {
        let mut index = lock(&self.index);
        let (frames, refused): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| match &frame.purpose {
            Purpose::Accept { message, .. } => index.take_id(message.id),
            // A report's id was taken when it was handed over.
            _ => true,
        });
        drop(index);
        refused.into_iter().for_each(|frame| frame.fail(&SpoolTrouble::IdTaken));
        frames
    }

    /// From now on nothing is acknowledged, settled or lent.
    pub(crate) fn poison(&self, trouble: &SpoolTrouble) {
        tracing::error!(%trouble, "the log is poisoned: nothing is acknowledged or lent until a restart");
        let _ = self.poisoned.set(trouble.to_string());
        self.room.notify_waiters();
        self.bell.notify_one();
    }

    /// Memory follows the log; then everybody is told.
    pub(crate) fn apply(&self, committed: Committed) {
        let (mut answers, mut noted) = (Vec::with_capacity(committed.done.len()), Vec::new());
        let mut events = Vec::with_capacity(committed.done.len());
        let (mut settled, mut accepted, mut copies, mut doomed) = (0, 0, 0, Vec::new());
        let has_done = !committed.done.is_empty();
        let mut index = lock(&self.index);
        for done in committed.done {
            let Done { frame, place, sequence } = done;
            match frame.purpose {
                Purpose::Accept { message, staged, answer } => {
                    accepted += 1;
                    let extra = self.extra(&message, &staged.kept);
                    index.accepted(NewMessage { message: &message, place, extra });
                    events.push(accepted_event(sequence, message, None));
                    answers.push((answer, staged));
                }
                Purpose::Settle(purpose) => {
                    settled += purpose.outcomes.len();
                    doomed.extend(self.apply_settlement(&mut index, purpose, place, sequence, &mut events));
                }
                Purpose::Move { id, fates } => {
                    copies += 1;
                    index.moved(id, place, &fates);
                }
                Purpose::Retell { id, fates } => {
                    copies += 1;
                    index.retold(id, place, &fates);
                }
                Purpose::Alter { turn } => {
                    index.segments.depend_on_all_before(place.life);
                    turn.into_iter().for_each(|turn| index.end_turn(turn));
                }
                Purpose::Note { notice, answer } => {
                    events.push(Event { sequence, at: notice.at(), kind: EventKind::Noted(notice) });
                    noted.push(answer);
                }
                Purpose::Mark => {}
            }
        }
        for touched in committed.touched {
            let book = index.segments.begin(touched.life);
            book.used_octets = touched.used_octets;
            book.next_sequence = touched.next_sequence;
            book.sealed |= touched.sealed;
        }
        for (frame, _) in &committed.refused {
            if let Purpose::Accept { message, .. } = &frame.purpose {
                index.give_id_back(message.id);
            }
        }
        let wake = index.take_wake();
        drop(index);
        self.ring.push(events);
        let dropped = committed.refused.iter().filter(|(frame, _)| frame.is_copy()).count();
        if dropped > 0 || has_done {
            self.no_room_for_copies.store(dropped > 0, Ordering::Release);
        }
        copies += dropped;
        self.copies.fetch_sub(copies, Ordering::AcqRel);
        self.counters.accepted.fetch_add(accepted, Ordering::Relaxed);
        self.counters.settled.fetch_add(settled as u64, Ordering::Relaxed);
        if !doomed.is_empty() {
            lock(&self.doomed).extend(doomed.into_iter().filter_map(|entry: MessageEntry| Some((entry.file()?, entry.content_octets))));
        }
        for (answer, mut staged) in answers {
            staged.keep();
            let _ = answer.send(Ok(()));
        }
        noted.into_iter().for_each(|answer| drop(answer.send(Ok(()))));
        for (frame, trouble) in committed.refused {
            self.counters.refused.fetch_add(u64::from(frame.is_mail()), Ordering::Relaxed);
            if trouble == SpoolTrouble::Full && frame.is_mail() {
                self.full.store(true, Ordering::Relaxed);
            }
            frame.fail(&trouble);
        }
        if settled > 0 && self.unsynced.fetch_sub(settled, Ordering::AcqRel) - settled < limits::UNSYNCED_OUTCOMES_MAX {
            self.room.notify_waiters();
        }
        if wake {
            self.bell.notify_one();
        }
        let _ = self.keeper_bell.give((), Weight::Urgent);
    }

    fn apply_settlement(
        &self,
        index: &mut Index,
        purpose: SettlePurpose,
        place: Place,
        mut sequence: u64,
        events: &mut Vec<Event>,
    ) -> Option<MessageEntry> {
        let ended = index.settled_durably(purpose.message, place, &purpose.fates);
        for (nth, outcome) in purpose.outcomes {
            let delivery = DeliveryId { message: purpose.message, index: nth };
            let kind = EventKind::Settled { delivery, attempt: purpose.attempt.clone(), outcome };
            events.push(Event { sequence, at: purpose.at, kind });
            sequence += 1;
        }
        if let Some((message, content)) = purpose.report {
            let extra = self.extra(&message, &Kept::Held(content));
            index.accepted(NewMessage { message: &message, place, extra });
            events.push(accepted_event(sequence, message, Some(purpose.message)));
        }
        ended
    }

    /// What stays in memory of a new message beyond the numbers: its content while there is room, the name of its file.
    fn extra(&self, message: &Arc<Message>, kept: &Kept) -> Extra {
        let cold = Extra { deadline: message.deadline, release_at: message.release_at, ..Extra::default() };
        match kept {
            Kept::File(name) => Extra { file: Some(*name), ..cold },
            Kept::Held(octets) => {
                let weight = warm_weight(octets);
                if self.warm_octets.load(Ordering::Relaxed) + weight > limits::WARM_OCTETS_MAX {
                    return cold;
                }
                self.warm_octets.fetch_add(weight, Ordering::Relaxed);
                Extra { warm: Some((message.clone(), octets.clone())), ..cold }
            }
        }
    }

    /// What was warm is gone.
    pub(crate) fn cooled(&self, octets: &Bytes) {
        self.warm_octets.fetch_sub(warm_weight(octets), Ordering::Relaxed);
    }
}

/// What a warm message costs: its content, and about this much for its facts.
fn warm_weight(octets: &Bytes) -> usize {
    octets.len() + 1024
}

pub(crate) fn accepted_event(sequence: u64, message: Arc<Message>, reports_on: Option<postrider_model::MessageId>) -> Event {
    Event { sequence, at: message.arrival.at, kind: EventKind::Accepted { message, reports_on } }
}
