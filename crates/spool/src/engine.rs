//! The engine behind the doors: [`EmbeddedSpool`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use postrider_model::doors::{Left, LendLimit, Lent, Opened, Receipt, Spool, SpoolTrouble, Staged, Staging};
use postrider_model::{
    BoxFuture, Content, Group, Loan, Message, MessageId, Notice, Parcel, Settlement, SiteName, StreamName, TenantName, Timestamp, limits,
};
use postrider_smtp::Host;
use tokio::sync::oneshot;

use crate::core::{Core, Item};
use crate::forms::SettlementParts;
use crate::frame::{Frame, SettlePurpose};
use crate::handoff::Weight;
use crate::index::Fate;
use crate::log::Log;
use crate::staging::{self, Kept, StagedBody};
use crate::sync::lock;

/// The spool on one disk of this machine.
pub struct EmbeddedSpool {
    pub(crate) core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The data directory's lock.
    held: Mutex<Option<Box<dyn Send + Sync>>>,
}

impl EmbeddedSpool {
    pub(crate) fn assemble(core: Arc<Core>, with_threads: bool, held: Box<dyn Send + Sync>) -> Result<Arc<Self>, SpoolTrouble> {
        let mut threads = Vec::new();
        if with_threads {
            let committer = core.clone();
            threads.push(start("spool-commit", move || while committer.commit_waiting() {})?);
            let keeper = core.clone();
            threads.push(start("spool-keep", move || while keeper.keep_waiting() {})?);
        }
        Ok(Arc::new(Self { core, threads: Mutex::new(threads), held: Mutex::new(Some(held)) }))
    }

    /// Manual mode: commits what waits, then does one slice of housekeeping. Whether there was anything to do.
    pub fn pump(&self) -> bool {
        let committed = self.core.commit_now();
        let kept = self.keep();
        committed || kept
    }

    /// Manual mode: one slice of housekeeping, and no commit. Whether there was anything to do.
    pub fn keep(&self) -> bool {
        self.core.keep_once()
    }

    /// Manual mode: returns when [`EmbeddedSpool::pump`] may have something to do.
    pub async fn work(&self) {
        self.core.work.notified().await;
    }

    /// Commits what waits, seals the log, stops, and lets the data directory go. Nothing is accepted afterwards. Blocks; a second call does nothing.
    pub fn close(&self) {
        self.core.handoff.close();
        self.core.keeper_bell.close();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the spool panicked");
            }
        }
        self.core.commit_now();
        self.core.seal();
        lock(&self.held).take();
    }

    fn record_octets_max(&self) -> u64 {
        Log::record_octets_max(self.core.slots.ground.segment_octets)
    }

    async fn accept_staged(&self, message: Arc<Message>, content: Staged) -> Result<Receipt, SpoolTrouble> {
        self.core.check_sound()?;
        self.core.check_room()?;
        let mut staged = *content.body.downcast::<StagedBody>().map_err(|_| SpoolTrouble::Io("a content of another engine".into()))?;
        if message.recipients.is_empty() {
            return Err(SpoolTrouble::Io("a message without recipients".into()));
        }
        staged.handed_over();
        let (answer, answered) = oneshot::channel();
        let receipt = Receipt { message: message.id, at: message.arrival.at };
        let frame = Frame::acceptance(message, staged, answer);
        if frame.octets() > self.record_octets_max() {
            return Err(SpoolTrouble::Io("the envelope is larger than a segment can hold".into()));
        }
        self.core.give(Item::Frame(Box::new(frame)), Weight::Mail).map_err(|_| SpoolTrouble::Closed)?;
        answered.await.unwrap_or(Err(SpoolTrouble::Closed))?;
        Ok(receipt)
    }

    fn settle_now(&self, settlement: Settlement) -> Result<(), SpoolTrouble> {
        self.core.check_sound()?;
        let Settlement { loan, message, at, attempt, outcomes, report } = settlement;
        let attempts = lock(&self.core.index).attempts_after(message, loan, &outcomes)?;
        let parts = SettlementParts {
            message,
            at,
            attempt: attempt.as_ref(),
            outcomes: &outcomes,
            attempts: &attempts,
            report: report.as_ref().map(|report| &*report.message),
        };
        let fates = outcomes.iter().zip(&attempts).map(|((index, outcome), attempts)| (*index, Fate::of(outcome, *attempts))).collect();
        let purpose = SettlePurpose {
            message,
            at,
            attempt: None,
            outcomes: Vec::new(),
            fates,
            report: report.as_ref().map(|report| (report.message.clone(), report.content.clone())),
        };
        let frame = Frame::settlement(&parts, purpose);
        if frame.octets() > self.record_octets_max() {
            return Err(SpoolTrouble::Io("the settlement is larger than a segment can hold".into()));
        }
        self.hand_over(frame, loan, attempt.map(Arc::new), outcomes)
    }

    async fn note_now(&self, notice: Notice) -> Result<(), SpoolTrouble> {
        self.core.check_sound()?;
        self.core.check_room()?;
        let (answer, answered) = oneshot::channel();
        let frame = Frame::notice(notice, answer);
        if frame.octets() > self.record_octets_max() {
            return Err(SpoolTrouble::Io("the notice is larger than a segment can hold".into()));
        }
        self.core.give(Item::Frame(Box::new(frame)), Weight::Mail).map_err(|_| SpoolTrouble::Closed)?;
        answered.await.unwrap_or(Err(SpoolTrouble::Closed))
    }

    /// Memory and hand-off change together, so that records of one message stand in the log in the order in which memory changed.
    fn hand_over(
        &self,
        mut frame: Frame,
        loan: Loan,
        attempt: Option<Arc<postrider_model::AttemptFacts>>,
        outcomes: Vec<(u32, postrider_model::Outcome)>,
    ) -> Result<(), SpoolTrouble> {
        let crate::frame::Purpose::Settle(purpose) = &mut frame.purpose else { return Ok(()) };
        let (message, count) = (purpose.message, outcomes.len());
        let mut index = lock(&self.core.index);
        let report = purpose.report.as_ref().map(|(report, _)| report.id);
        if report.is_some_and(|id| !index.take_id(id)) {
            return Err(SpoolTrouble::IdTaken);
        }
        let settled = index.settle(message, loan, &outcomes);
        if settled.is_err() {
            report.into_iter().for_each(|id| index.give_id_back(id));
        }
        let warm = settled?;
        (purpose.attempt, purpose.outcomes) = (attempt, outcomes);
        self.core.unsynced.fetch_add(count, Ordering::AcqRel);
        let given = self.core.give(Item::Frame(Box::new(frame)), Weight::Outcomes(count));
        let wake = index.take_wake();
        drop(index);
        if let Some((_, content)) = &warm {
            self.core.cooled(content);
        }
        if wake {
            self.core.bell.notify_one();
        }
        given.map_err(|_| SpoolTrouble::Closed)
    }
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, SpoolTrouble> {
    std::thread::Builder::new().name(name.into()).spawn(body).map_err(|trouble| SpoolTrouble::Io(format!("{name}: {trouble}")))
}

impl Drop for EmbeddedSpool {
    fn drop(&mut self) {
        self.core.handoff.close();
        self.core.keeper_bell.close();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A panic there was told by the panic itself.
            let _ = thread.join();
        }
    }
}

impl Spool for EmbeddedSpool {
    fn stage(&self, expected_octets: Option<u64>) -> BoxFuture<'_, Result<Box<dyn Staging>, SpoolTrouble>> {
        Box::pin(async move {
            self.core.check_sound()?;
            self.core.check_room()?;
            staging::begin(self.core.staging.clone(), expected_octets).await
        })
    }

    fn read_staged(&self, content: &Staged) -> BoxFuture<'_, Result<Content, SpoolTrouble>> {
        let kept = content.body.downcast_ref::<StagedBody>().map(|staged| staged.kept.clone());
        let octets = content.octets;
        Box::pin(async move {
            match kept {
                Some(Kept::Held(held)) => Ok(Content::Held(held)),
                Some(Kept::File(name)) => self.core.in_file(name, octets).await,
                None => Err(SpoolTrouble::Io("a content of another engine".into())),
            }
        })
    }

    fn accept(&self, message: Arc<Message>, content: Staged) -> BoxFuture<'_, Result<Receipt, SpoolTrouble>> {
        Box::pin(self.accept_staged(message, content))
    }

    fn ready(&self, now: Timestamp, max: usize) -> Vec<Group> {
        if self.core.check_sound().is_err() {
            return Vec::new();
        }
        lock(&self.core.index).ready(now, max)
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.core.check_sound().ok().and_then(|()| lock(&self.core.index).next_due())
    }

    fn wait(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.core.bell.notified())
    }

    fn place(&self, host: &Host, site: &SiteName) {
        self.change(|index| index.place(host, site));
    }

    fn divert(&self, message: MessageId, loan: Loan, site: &SiteName) {
        self.change(|index| index.divert(message, loan, site));
    }

    fn displace(&self, host: &Host) {
        self.change(|index| index.displace(host));
    }

    fn lend(&self, group: &Group, now: Timestamp, limit: LendLimit) -> Lent {
        if self.core.check_sound().is_err() {
            return Lent { parcels: Vec::new(), left: Left::Empty };
        }
        self.change(|index| index.lend(group, now, limit))
    }

    fn lend_these(&self, message: MessageId, indices: &[u32]) -> Option<Parcel> {
        self.core.check_sound().ok()?;
        self.change(|index| index.lend_these(message, indices))
    }

    fn pause(&self, tenants: &[TenantName]) {
        self.change(|index| index.pause(tenants));
    }

    fn lend_singly(&self, tenant: &TenantName, stream: &StreamName) {
        self.change(|index| index.lend_singly(tenant, stream));
    }

    fn release(&self, group: &Group, not_before: Timestamp) {
        self.change(|index| index.release(group, not_before));
    }

    fn open(&self, message: MessageId) -> BoxFuture<'_, Result<Opened, SpoolTrouble>> {
        Box::pin(self.core.open_message(message))
    }

    fn hand_back(&self, message: MessageId, loan: Loan, due: Option<Timestamp>) {
        self.change(|index| index.hand_back(message, loan, due));
    }

    fn settle(&self, settlement: Settlement) -> Result<(), SpoolTrouble> {
        self.settle_now(settlement)
    }

    fn note(&self, notice: Notice) -> BoxFuture<'_, Result<(), SpoolTrouble>> {
        Box::pin(self.note_now(notice))
    }

    fn settle_room(&self) -> BoxFuture<'_, Result<(), SpoolTrouble>> {
        Box::pin(async {
            loop {
                let room = self.core.room.notified();
                tokio::pin!(room);
                room.as_mut().enable();
                self.core.check_sound()?;
                if self.core.unsynced.load(Ordering::Acquire) < limits::UNSYNCED_OUTCOMES_MAX {
                    return Ok(());
                }
                room.await;
            }
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), SpoolTrouble>> {
        Box::pin(async {
            self.core.check_sound()?;
            let (answer, answered) = oneshot::channel();
            self.core.give(Item::Flush(answer), Weight::Urgent).map_err(|_| SpoolTrouble::Closed)?;
            answered.await.unwrap_or(Err(SpoolTrouble::Closed))
        })
    }
}

impl EmbeddedSpool {
    /// Changes the index, and rings the dispatcher when a group wants it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut crate::index::Index) -> R) -> R {
        let mut index = lock(&self.core.index);
        let result = change(&mut index);
        let wake = index.take_wake();
        drop(index);
        if wake {
            self.core.bell.notify_one();
        }
        result
    }
}
