//! A parcel in a task's hands, with the promise that its loan ends.

use std::sync::Arc;
use std::time::Duration;

use postrider_model::doors::{Clock, Spool};
use postrider_model::{Parcel, Timestamp};

use crate::Doors;

/// How long mail waits after a fault of ours, so that a message that trips us does not trip us all the time.
const FAULT_PAUSE: Duration = Duration::from_secs(300);

/// Holds a parcel; when it is dropped without a word (a panic, a cancelled task), the loan is handed back, so that the mail waits again.
pub(crate) struct Held {
    spool: Arc<dyn Spool>,
    clock: Arc<dyn Clock>,
    parcel: Option<Parcel>,
}

impl Held {
    pub(crate) fn new(doors: &Doors, parcel: Parcel) -> Self {
        Self { spool: doors.spool.clone(), clock: doors.clock.clone(), parcel: Some(parcel) }
    }

    /// The parcel.
    pub(crate) fn parcel(&self) -> &Parcel {
        self.parcel.as_ref().expect("a parcel is held until the guard is consumed")
    }

    /// Without those that were settled already.
    pub(crate) fn forget(&mut self, indices: &[u32]) {
        if let Some(parcel) = &mut self.parcel {
            parcel.deliveries.retain(|lent| !indices.contains(&lent.index));
        }
    }

    /// The loan ends with a settlement.
    pub(crate) fn settled(mut self) {
        self.parcel = None;
    }

    /// The parcel goes on to somebody else.
    pub(crate) fn release(mut self) -> Parcel {
        self.parcel.take().expect("a parcel is held until the guard is consumed")
    }

    /// The loan ends without an outcome.
    pub(crate) fn hand_back(mut self, due: Option<Timestamp>) {
        if let Some(parcel) = self.parcel.take() {
            self.spool.hand_back(parcel.message, parcel.loan, due);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(parcel) = self.parcel.take() {
            self.spool.hand_back(parcel.message, parcel.loan, Some(self.clock.now().after(FAULT_PAUSE)));
        }
    }
}
