//! The word that all is to end, for all who wait for it.
//!
//! They hear it in the order in which they began to wait: `tokio::sync::watch` wakes its receivers in an order of chance, and the simulator could not
//! give the same run twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Said once, and then for ever.
#[derive(Clone, Default)]
pub(crate) struct Ending(Arc<Said>);

#[derive(Default)]
struct Said {
    said: AtomicBool,
    bell: Notify,
}

impl Ending {
    /// Says it.
    pub(crate) fn say(&self) {
        self.0.said.store(true, Ordering::Release);
        self.0.bell.notify_waiters();
    }

    /// Returns when it was said.
    pub(crate) async fn said(&self) {
        let heard = self.0.bell.notified();
        tokio::pin!(heard);
        // From here on nothing is missed.
        heard.as_mut().enable();
        if !self.0.said.load(Ordering::Acquire) {
            heard.await;
        }
    }
}
