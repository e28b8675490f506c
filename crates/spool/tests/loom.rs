//! The hand-off under every interleaving: `RUSTFLAGS="--cfg loom" cargo test -p postrider-spool --test loom --release`.

#![allow(unexpected_cfgs, reason = "cfg(loom) is set by hand")]
#![cfg(loom)]

#[allow(dead_code, reason = "only the part without time is checked")]
#[path = "../src/handoff.rs"]
mod handoff;

mod sync {
    pub use loom::sync::{Condvar, Mutex, MutexGuard};

    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }
}

use std::time::Duration;

use handoff::{Handoff, Patience, Weight};
use loom::sync::Arc;
use loom::thread;

fn none() -> Patience {
    Patience { company: 0, company_wait: Duration::ZERO, outcomes: 1, outcomes_wait: Duration::ZERO }
}

/// Takes until the hand-off is closed and empty.
fn take_all(handoff: &Handoff<u32>) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        let taken = handoff.take(None, none);
        all.extend(taken.items);
        if taken.closed {
            return all;
        }
    }
}

#[test]
fn everything_given_is_taken_once_in_order() {
    loom::model(|| {
        let handoff = Arc::new(Handoff::new());
        let givers: Vec<_> = [10, 20]
            .map(|base| {
                let handoff = handoff.clone();
                thread::spawn(move || {
                    assert!(handoff.give(base, Weight::Mail).is_ok());
                    if base == 10 {
                        assert!(handoff.give(base + 1, Weight::Outcomes(1)).is_ok());
                    }
                })
            })
            .into_iter()
            .collect();
        let taker = {
            let handoff = handoff.clone();
            // Nobody closes: a waking that is lost would leave the taker asleep for ever, which loom tells.
            thread::spawn(move || {
                let mut all = Vec::new();
                while all.len() < 3 {
                    all.extend(handoff.take(None, none).items);
                }
                all
            })
        };
        givers.into_iter().for_each(|giver| giver.join().unwrap());
        let taken = taker.join().unwrap();
        for base in [10, 20] {
            let of_one: Vec<u32> = taken.iter().copied().filter(|item| item / 10 * 10 == base).collect();
            assert_eq!(of_one, if base == 10 { vec![10, 11] } else { vec![20] });
        }
    });
}

#[test]
fn what_comes_with_the_closing_is_taken_or_given_back() {
    loom::model(|| {
        let handoff = Arc::new(Handoff::new());
        let giver = {
            let handoff = handoff.clone();
            thread::spawn(move || handoff.give(1, Weight::Mail).is_ok())
        };
        let closer = {
            let handoff = handoff.clone();
            thread::spawn(move || handoff.close())
        };
        let mut taken = take_all(&handoff);
        let was_given = giver.join().unwrap();
        closer.join().unwrap();
        taken.extend(handoff.take_now().items);
        assert_eq!(taken.len(), usize::from(was_given));
    });
}
