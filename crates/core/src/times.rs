//! When a message may go, until when, and before whom: what the sender's wishes mean here (RFC 2852, RFC 4865, RFC 6710).
//!
//! **Promises.** A hold that has passed is none. `BY=seconds;R` sets a deadline; `BY=seconds;N` sets none, because delivery goes on (`returns` tells the
//! sender). A wish for urgency moves a message inside its own lane only, so nobody buys another's turn with it.
//!
//! **Does badly.** A next hop that does not offer DELIVERBY is given mail of `R` all the same, in time; that it may then take longer is beyond us, and the
//! sender who wants to know asks NOTIFY=SUCCESS or the trace modifier.

use std::time::Duration;

use postrider_model::{Priority, Timestamp};
use postrider_smtp::wishes::{ByMode, DeliverBy, Hold, MtPriority};

/// Before this instant the message is not sent.
pub fn release_at(hold: Option<Hold>, arrived_at: Timestamp) -> Option<Timestamp> {
    let at = match hold? {
        Hold::For(seconds) => arrived_at.after(Duration::from_secs(seconds.into())),
        Hold::Until(seconds) => Timestamp::from_millis(seconds.saturating_mul(1000)),
    };
    (at > arrived_at).then_some(at)
}

/// After this instant the message is not sent, but returned.
pub fn deadline(deliver_by: Option<DeliverBy>, arrived_at: Timestamp) -> Option<Timestamp> {
    let by = deliver_by.filter(|by| by.mode == ByMode::Return)?;
    Some(arrived_at.after(Duration::from_secs(u64::try_from(by.seconds).unwrap_or(0))))
}

/// The message's place inside its lane: its stream's, unless the sender asks for another (RFC 6710 §5; three levels are what we tell apart).
pub fn priority(of_stream: Priority, wish: Option<MtPriority>) -> Priority {
    match wish.map_or(0, MtPriority::level) {
        ..0 => Priority::Low,
        0 => of_stream,
        1.. => Priority::High,
    }
}

/// The earlier of two instants that may not be.
pub fn sooner(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_700_000_000_500);

    #[test]
    fn holds_and_deadlines() {
        let at = |millis: u64| Some(Timestamp::from_millis(millis));
        for (hold, release) in [
            (None, None),
            (Some(Hold::For(60)), at(1_700_000_060_500)),
            (Some(Hold::Until(1_700_000_060)), at(1_700_000_060_000)),
            (Some(Hold::Until(1_700_000_000)), None),
            (Some(Hold::Until(u64::MAX)), at(u64::MAX)),
        ] {
            assert_eq!(release_at(hold, NOON), release, "{hold:?}");
        }
        for (by, until) in [("60;R", at(1_700_000_060_500)), ("60;N", None), ("-5;N", None)] {
            assert_eq!(deadline(DeliverBy::parse(by), NOON), until, "{by}");
        }
        assert_eq!(deadline(None, NOON), None);
        for (one, other, first) in [(None, None, None), (at(1), None, at(1)), (at(2), at(1), at(1))] {
            assert_eq!((sooner(one, other), sooner(other, one)), (first, first));
        }
    }

    #[test]
    fn urgency() {
        for (wish, expected) in
            [(None, Priority::Normal), (Some(-9), Priority::Low), (Some(0), Priority::Normal), (Some(1), Priority::High)]
        {
            assert_eq!(priority(Priority::Normal, wish.map(MtPriority::new)), expected);
        }
    }
}
