//! The locks. The loom test of the hand-off brings its own.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

/// Takes a lock. Who panicked while holding it left a value that is still whole: every change under our locks is finished or not begun.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
