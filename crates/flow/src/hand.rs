//! Ending deliveries by a person's word: lent by their ids, and settled like any other, so that no crash loses one or tells of it twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use postrider_core::suspend::Suspensions;
use postrider_model::doors::{End, Ended, Hand, SpoolTrouble, Suspension};
use postrider_model::policy::Snapshot;
use postrider_model::{BoxFuture, DeliveryId, Diagnosis, MessageId, Outcome, Phase, Reason, Settlement, Trouble};

use crate::Doors;
use crate::deliver::settle;
use crate::dispatch::Command;
use crate::held::Held;
use crate::keep;
use crate::relay::Relay;
use crate::returns::{self, Taker};

impl Hand for Relay {
    fn end(&self, deliveries: Vec<DeliveryId>, how: End, reason: Arc<str>) -> BoxFuture<'_, Result<Ended, SpoolTrouble>> {
        Box::pin(async move {
            let named = deliveries.len();
            let lent = self.lend_to_hand(deliveries).await;
            let (doors, snapshot) = self.doors_and_snapshot();
            // Whoever asked may go away in the middle; what was lent is settled all the same.
            let ending = tokio::spawn(async move { end_all(&doors, &snapshot, lent, how, &reason).await });
            let ended = ending.await.unwrap_or_else(|_| Err(SpoolTrouble::Io("a fault of ours; what was not ended waits again".into())))?;
            Ok(Ended { ended, left: named - ended })
        })
    }

    fn recall(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // A relay that only captures has no schedule to take from.
            let _ = self.ask(Command::Recall).await;
        })
    }

    fn suspend(&self, suspensions: Vec<Suspension>) {
        self.order(Command::Suspend(Suspensions::new(suspensions)));
    }
}

impl Relay {
    async fn lend_to_hand(&self, deliveries: Vec<DeliveryId>) -> Vec<Held> {
        let mut named: BTreeMap<MessageId, Vec<u32>> = BTreeMap::new();
        deliveries.into_iter().for_each(|id| named.entry(id.message).or_default().push(id.index));
        let asked = named.clone();
        if let Some(lent) = self.ask(|answer| Command::Lend(asked, answer)).await {
            return lent;
        }
        // Nobody else lends here.
        let (doors, _) = self.doors_and_snapshot();
        let parcels = named.iter().filter_map(|(message, indices)| doors.spool.lend_these(*message, indices));
        parcels.map(|parcel| Held::new(&doors, parcel)).collect()
    }
}

/// Ends what was lent; says how many deliveries. After a trouble of the spool the rest is handed back.
async fn end_all(doors: &Doors, snapshot: &Snapshot, lent: Vec<Held>, how: End, reason: &Arc<str>) -> Result<usize, SpoolTrouble> {
    let (mut ended, mut trouble) = (0, None);
    for held in lent {
        if trouble.is_some() {
            held.hand_back(None);
            continue;
        }
        let count = held.parcel().deliveries.len();
        match end_one(doors, snapshot, held, how, reason).await {
            Ok(true) => ended += count,
            Ok(false) => {}
            Err(why) => trouble = Some(why),
        }
    }
    match trouble {
        Some(trouble) if ended == 0 => Err(trouble),
        _ => Ok(ended),
    }
}

/// Whether it ended. A message that cannot be read can be cancelled, but not bounced: there would be nobody to tell.
async fn end_one(doors: &Doors, snapshot: &Snapshot, held: Held, how: End, reason: &Arc<str>) -> Result<bool, SpoolTrouble> {
    if let Err(trouble) = doors.spool.settle_room().await {
        held.hand_back(None);
        return Err(trouble);
    }
    let now = doors.clock.now();
    let parcel = held.parcel();
    let (loan, id) = (parcel.loan, parcel.message);
    let reason = Reason::Trouble(Trouble::Operator(reason.clone()));
    let diagnosis = Diagnosis { at: now, phase: Phase::Local, reason, remote: None, address: None };
    let outcomes: Vec<(u32, Outcome)> =
        parcel.deliveries.iter().map(|lent| (lent.index, Outcome::Bounced { diagnosis: diagnosis.clone() })).collect();
    let message = match (doors.spool.open(id).await, how) {
        (Ok(opened), _) => opened.message,
        (Err(trouble), End::Cancel) => {
            doors.log.alarm(Some(id), &format!("cancelled without having been read: {trouble}"));
            held.settled();
            return doors.spool.settle(Settlement { loan, message: id, at: now, attempt: None, outcomes, report: None }).map(|()| true);
        }
        (Err(trouble), End::Bounce) => {
            doors.log.alarm(Some(id), &format!("cannot be bounced, because it cannot be read: {trouble}; it can be cancelled"));
            held.hand_back(None);
            return Ok(false);
        }
    };
    let report = match how {
        End::Cancel => None,
        End::Bounce => returns::report(doors, snapshot, &message, held.parcel(), &outcomes, Taker::nobody()).await,
    };
    keep::before_the_end(doors, &message, &outcomes).await;
    settle(doors, &message, Settlement { loan, message: id, at: now, attempt: None, outcomes, report }, held);
    Ok(true)
}
