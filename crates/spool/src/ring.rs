//! The newest events, in memory, for followers that keep up.

use std::collections::VecDeque;
use std::sync::Mutex;

use postrider_model::Event;
use tokio::sync::Notify;

use crate::sync::lock;

/// A bounded row of events without gaps.
pub(crate) struct Ring {
    events: Mutex<Row>,
    grown: Notify,
    events_max: usize,
}

struct Row {
    events: VecDeque<Event>,
    /// The sequence after the last event.
    next: u64,
}

impl Ring {
    /// A ring that already has some events, and goes on at `next`.
    pub(crate) fn new(events: Vec<Event>, next: u64, events_max: usize) -> Self {
        let ring = Self::empty(events.first().map_or(next, |event| event.sequence), events_max);
        ring.push(events);
        ring
    }

    fn empty(next: u64, events_max: usize) -> Self {
        Self { events: Mutex::new(Row { events: VecDeque::new(), next }), grown: Notify::new(), events_max }
    }

    /// Appends events, in order and without a gap.
    pub(crate) fn push(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        {
            let mut row = lock(&self.events);
            for event in events {
                row.next = event.sequence + 1;
                row.events.push_back(event);
            }
            let surplus = row.events.len().saturating_sub(self.events_max);
            row.events.drain(..surplus);
        }
        self.grown.notify_waiters();
    }

    /// Events from `sequence` on; `Err` with the first kept when that is gone.
    pub(crate) fn read(&self, sequence: u64, max: usize) -> Result<Vec<Event>, u64> {
        let row = lock(&self.events);
        let first = row.next - row.events.len() as u64;
        if sequence < first {
            return Err(first);
        }
        let skip = usize::try_from(sequence - first).unwrap_or(usize::MAX).min(row.events.len());
        Ok(row.events.range(skip..).take(max).cloned().collect())
    }

    /// The sequence after the last event.
    pub(crate) fn end(&self) -> u64 {
        lock(&self.events).next
    }

    pub(crate) async fn wait(&self, sequence: u64) {
        loop {
            let grown = self.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            if lock(&self.events).next > sequence {
                return;
            }
            grown.await;
        }
    }
}
