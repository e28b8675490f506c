//! Mail that is settled without an attempt: its domain does not exist, takes no mail, cannot be looked up; or its time has passed.
//!
//! A batch at a time, so that a million mails for a domain that is gone neither fill memory nor hold others up.

use std::time::Duration;

use postrider_core::classify::{self, Fate};
use postrider_model::doors::{Left, LendLimit};
use postrider_model::policy::Snapshot;
use postrider_model::{Diagnosis, Group, Outcome, Parcel, Phase, Reason, Settlement, Timestamp, Trouble, limits};

use super::{Dispatcher, Errand};
use crate::Doors;
use crate::deliver::{defer, settle};
use crate::held::Held;
use crate::keep;
use crate::returns::{self, Taker};

/// Parcels of one batch.
const BATCH: usize = 50;

impl Dispatcher {
    /// Settles what is due in a claimed group with this diagnosis, batch by batch.
    pub(super) fn settle_unsent(&mut self, group: Group, diagnosis: Diagnosis) {
        let now = self.doors.clock.now();
        let limit = LendLimit { parcels: BATCH, recipients_per_parcel: limits::PARCEL_RECIPIENTS_MAX };
        let lent = self.doors.spool.lend(&group, now, limit);
        if lent.parcels.is_empty() {
            if lent.left == Left::Due {
                self.doors.spool.release(&group, now.after(Duration::from_secs(60)));
            }
            return;
        }
        let more = (lent.left == Left::Due).then(|| (group, diagnosis.clone()));
        self.settle_batch(lent.parcels, diagnosis, more);
    }

    /// Bounces parcels whose time has passed.
    pub(super) fn expire(&mut self, parcels: Vec<Parcel>) {
        if parcels.is_empty() {
            return;
        }
        self.settle_batch(parcels, expired(self.doors.clock.now()), None);
    }

    pub(super) fn settle_batch(&mut self, parcels: Vec<Parcel>, diagnosis: Diagnosis, more: Option<(Group, Diagnosis)>) {
        let (doors, snapshot) = (self.doors.clone(), self.snapshot.clone());
        let held: Vec<Held> = parcels.into_iter().map(|parcel| Held::new(&doors, parcel)).collect();
        self.errands.spawn(async move {
            for parcel in held {
                settle_one(&doors, &snapshot, parcel, &diagnosis).await;
            }
            Errand::Unsent(more)
        });
    }
}

/// What is said of mail whose time has passed.
pub(crate) fn expired(now: Timestamp) -> Diagnosis {
    Diagnosis { at: now, phase: Phase::Local, reason: Reason::Trouble(Trouble::Expired), remote: None, address: None }
}

/// Settles one parcel without an attempt.
pub(crate) async fn settle_one(doors: &Doors, snapshot: &Snapshot, held: Held, diagnosis: &Diagnosis) {
    if doors.spool.settle_room().await.is_err() {
        return;
    }
    let opened = match doors.spool.open(held.parcel().message).await {
        Ok(opened) => opened,
        Err(trouble) => {
            doors.log.alarm(Some(held.parcel().message), &format!("cannot read an accepted message: {trouble}"));
            return held.hand_back(Some(doors.clock.now().after(Duration::from_secs(3600))));
        }
    };
    let message = opened.message.clone();
    let now = doors.clock.now();
    let fate = match &diagnosis.reason {
        Reason::Trouble(trouble) => classify::classify_trouble(trouble).fate,
        Reason::Reply(_) => Fate::Defer,
    };
    let parcel = held.parcel();
    let outcomes: Vec<_> = parcel
        .deliveries
        .iter()
        .map(|lent| {
            let outcome = match fate {
                Fate::Defer => defer(doors, snapshot, parcel, &message, *lent, diagnosis.clone()),
                Fate::Bounce | Fate::Delivered => Outcome::Bounced { diagnosis: diagnosis.clone() },
            };
            (lent.index, outcome)
        })
        .collect();
    let report = returns::report(doors, snapshot, &message, parcel, &outcomes, Taker::nobody()).await;
    let settlement = Settlement { loan: parcel.loan, message: message.id, at: now, attempt: None, outcomes, report };
    keep::before_the_end(doors, &message, &settlement.outcomes).await;
    settle(doors, &message, settlement, held);
}
