//! The hand-off: everybody gives, one committer takes all that is there.
//!
//! **Promises.** What was given is taken exactly once, in the order given; a taker that sleeps is woken by what it sleeps for. Checked with loom.

use std::time::Duration;

use crate::sync::{Condvar, Mutex, lock};

/// How heavy what is given weighs on the committer's patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Somebody waits for the sync.
    Mail,
    /// So many outcomes; nobody waits.
    Outcomes(usize),
    /// Nobody may wait for company.
    Urgent,
}

pub(crate) struct Handoff<T> {
    state: Mutex<State<T>>,
    arrival: Condvar,
}

struct State<T> {
    items: Vec<T>,
    mail: usize,
    outcomes: usize,
    urgent: bool,
    closed: bool,
    /// What the sleeping taker wants to be woken for.
    wanted: Option<Wanted>,
}

/// When there is enough.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    mail: usize,
    outcomes: usize,
}

impl<T> State<T> {
    fn satisfies(&self, wanted: Wanted) -> bool {
        self.urgent || self.closed || self.mail >= wanted.mail || self.outcomes >= wanted.outcomes
    }
}

/// How long a taker waits for more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Mail that may still come while mail is there.
    pub(crate) company: usize,
    pub(crate) company_wait: Duration,
    /// Outcomes that go without mail as soon as they are so many.
    pub(crate) outcomes: usize,
    pub(crate) outcomes_wait: Duration,
}

/// What was taken.
pub(crate) struct Taken<T> {
    pub(crate) items: Vec<T>,
    pub(crate) closed: bool,
    /// Mail there when the wait for company began, and at its end; `None` when there was no wait.
    pub(crate) company: Option<(usize, usize)>,
}

impl<T> Handoff<T> {
    pub(crate) fn new() -> Self {
        let state = State { items: Vec::new(), mail: 0, outcomes: 0, urgent: false, closed: false, wanted: None };
        Self { state: Mutex::new(state), arrival: Condvar::new() }
    }

    /// Gives an item; gives it back when the hand-off is closed.
    pub(crate) fn give(&self, item: T, weight: Weight) -> Result<(), T> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(item);
        }
        state.items.push(item);
        match weight {
            Weight::Mail => state.mail += 1,
            Weight::Outcomes(count) => state.outcomes += count,
            Weight::Urgent => state.urgent = true,
        }
        if state.wanted.is_some_and(|wanted| state.satisfies(wanted)) {
            state.wanted = None;
            drop(state);
            self.arrival.notify_one();
        }
        Ok(())
    }

    /// Nothing more is taken in; what is there may still be taken.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.arrival.notify_all();
    }

    /// Takes all that is there, without waiting.
    pub(crate) fn take_now(&self) -> Taken<T> {
        let mut state = lock(&self.state);
        Self::take_all(&mut state, None)
    }

    fn take_all(state: &mut State<T>, company: Option<(usize, usize)>) -> Taken<T> {
        (state.mail, state.outcomes, state.urgent, state.wanted) = (0, 0, false, None);
        Taken { items: std::mem::take(&mut state.items), closed: state.closed, company }
    }

    /// Waits until there is something (at most so long, when that is given), and a little longer for what may come with it; then takes all.
    #[cfg(not(loom))]
    pub(crate) fn take(&self, at_most: Option<Duration>, patience: impl FnOnce() -> Patience) -> Taken<T> {
        let mut state = self.sleep(lock(&self.state), Wanted { mail: 1, outcomes: 1 }, at_most);
        if state.items.is_empty() {
            return Self::take_all(&mut state, None);
        }
        let patience = patience();
        let mut company = None;
        if state.mail == 0 {
            let wanted = Wanted { mail: 1, outcomes: patience.outcomes };
            state = self.sleep(state, wanted, Some(patience.outcomes_wait));
        } else if patience.company > 0 {
            let before = state.mail;
            let wanted = Wanted { mail: before + patience.company, outcomes: usize::MAX };
            state = self.sleep(state, wanted, Some(patience.company_wait));
            company = Some((before, state.mail));
        }
        Self::take_all(&mut state, company)
    }

    #[cfg(not(loom))]
    fn sleep<'a>(
        &'a self,
        mut state: crate::sync::MutexGuard<'a, State<T>>,
        wanted: Wanted,
        at_most: Option<Duration>,
    ) -> crate::sync::MutexGuard<'a, State<T>> {
        state.wanted = Some(wanted);
        let unsatisfied = |state: &mut State<T>| !state.satisfies(wanted);
        let mut state = match at_most {
            None => self.arrival.wait_while(state, unsatisfied).unwrap_or_else(|poisoned| poisoned.into_inner()),
            Some(at_most) => match self.arrival.wait_timeout_while(state, at_most, unsatisfied) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            },
        };
        state.wanted = None;
        state
    }

    /// The same without patience: loom has no time.
    #[cfg(loom)]
    pub(crate) fn take(&self, _: Option<Duration>, _: impl FnOnce() -> Patience) -> Taken<T> {
        let wanted = Wanted { mail: 1, outcomes: 1 };
        let mut state = lock(&self.state);
        while !state.satisfies(wanted) {
            state.wanted = Some(wanted);
            state = self.arrival.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        Self::take_all(&mut state, None)
    }
}
