//! The machine's clock, watched: somebody is told when it was set, because what waits keeps the dates that it was given.
//!
//! **Promises.** A jump of more than [`JUMP_MIN`] is told within [`LOOK_EVERY`], with what it means for mail and what to do. Nothing is changed by itself: whether the clock
//! was wrong before or is wrong now, only a person knows.

use std::sync::Arc;
use std::time::Duration;

use postrider_model::Timestamp;
use postrider_model::doors::{Clock, MailLog};
use tokio::time::{Instant, MissedTickBehavior};

/// How often it is compared with time that only goes on.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Less is the work of those who keep clocks right.
const JUMP_MIN: Duration = Duration::from_secs(60);

/// Tells of each jump, for ever.
pub async fn watch(clock: Arc<dyn Clock>, log: Arc<dyn MailLog>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = (clock.now(), Instant::now());
    loop {
        ticks.tick().await;
        let now = (clock.now(), Instant::now());
        if let Some(sentence) = jumped(seen.0, now.0, now.1.duration_since(seen.1)) {
            log.alarm(None, &sentence);
        }
        seen = now;
    }
}

/// What to say when so much time passed between two looks at the clock.
fn jumped(before: Timestamp, now: Timestamp, passed: Duration) -> Option<String> {
    let expected = before.after(passed);
    let (ahead, back) = (now.since(expected), expected.since(now));
    let shown = |time: Duration| format!("{} s", time.as_secs());
    if back > JUMP_MIN {
        return Some(format!(
            "the clock went back by {}: mail that waits keeps its dates, and waits so much longer; `postrider queue retry --all` tries it now",
            shown(back)
        ));
    }
    (ahead > JUMP_MIN).then(|| {
        format!(
            "the clock went ahead by {}, or the machine slept: mail that waits is due sooner, and given up sooner; if the clock is wrong now, \
             `postrider queue hold --all` until it is right",
            shown(ahead)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_jump_is_told() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1_000);
        for (before, now, passed, said) in [
            (1_000, 1_005, 5, None),
            (1_000, 1_064, 5, None),
            (1_000, 1_066, 5, Some("ahead by 61 s")),
            (1_000, 946, 5, None),
            (1_000, 944, 5, Some("back by 61 s")),
            (1_000, 4_600, 3_600, None),
            (1_000_000, 0, 5, Some("back by 1000005 s")),
        ] {
            let found = jumped(at(before), at(now), Duration::from_secs(passed));
            assert_eq!(found.is_some(), said.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(said.unwrap_or_default()), "{before} {now} {passed}");
        }
    }
}
