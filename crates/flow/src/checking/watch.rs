//! What the judges of all sessions share: which milters work, so that a failing one is told once, with what to do, and told again when it is back; and the places
//! for look-ups about strangers, and what their DNS was silent about.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use postrider_model::limits::VERIFYING_LOOKUPS_MAX;
use postrider_model::policy::{Milter, OnFailure};
use tokio::sync::Semaphore;

use super::asking::Silences;
use super::conversation::Failure;
use crate::Doors;

/// Shared by all sessions of a relay.
#[derive(Debug)]
pub(crate) struct Watch {
    failing: Mutex<BTreeSet<Box<str>>>,
    /// Places for look-ups about strangers.
    pub(super) look_ups: Semaphore,
    /// What their DNS was silent about.
    pub(super) silences: Mutex<Silences>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { failing: Mutex::default(), look_ups: Semaphore::new(VERIFYING_LOOKUPS_MAX), silences: Mutex::default() }
    }
}

impl Watch {
    /// A milter answered.
    pub(super) fn works(&self, doors: &Doors, milter: &Milter) {
        let was_failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner).remove(&milter.name);
        if was_failing {
            doors.log.alarm(None, &format!("milter {} works again", milter.name));
        }
    }

    /// It did not, or not as it should.
    pub(super) fn fails(&self, doors: &Doors, milter: &Milter, failure: &Failure, choice: OnFailure) {
        if !self.failing.lock().unwrap_or_else(PoisonError::into_inner).insert(milter.name.clone()) {
            return;
        }
        let (name, server) = (&milter.name, &milter.server);
        let meanwhile = match choice {
            OnFailure::Accept => "is taken unchecked",
            OnFailure::TempFail => "is refused for now (451)",
            OnFailure::Reject => "is refused for good (550)",
            OnFailure::Hold => "is taken and held",
        };
        doors.log.alarm(
            None,
            &format!("milter {name} at {server}: {failure}. See whether it runs and listens there; until then mail {meanwhile}. This is said once"),
        );
    }
}
