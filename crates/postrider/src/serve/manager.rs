//! What the service manager is told (sd_notify(3)): ready, about to stop, and still alive. Without a manager nothing is said.
//!
//! **Promises.** "Still alive" is said only while the dispatcher answers, so that the watchdog restarts a relay that hangs, and not one that is busy.

use std::sync::Arc;
use std::time::Duration;

use postrider_model::doors::Insight;
use sd_notify::NotifyState;

/// The relay takes mail.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The relay ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the watchdog that all is well, three times in each of its periods.
pub async fn keep_watchdog_quiet(insight: Arc<dyn Insight>) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let pause = (period / 3).max(Duration::from_millis(10));
    loop {
        match tokio::time::timeout(pause, insight.connections_out()).await {
            Ok(Some(_)) => tell(&[NotifyState::Watchdog]),
            Ok(None) => tracing::error!("alarm: the dispatcher has ended; the watchdog is not told that all is well"),
            Err(_) => tracing::warn!("the dispatcher is slow; the watchdog hears nothing this time"),
        }
        tokio::time::sleep(pause).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(trouble) = sd_notify::notify(states) {
        tracing::warn!(%trouble, "the service manager could not be told");
    }
}
