//! Locks that a child of `fork` can use, or their models when a test tries every order of events (`make test-loom`).
//!
//! The standard library's locks keep nothing outside of themselves. Locks that queue their waiters in a table of the
//! process (`parking_lot`) would hang in a child that was forked while another thread had its hand on that table.
//!
//! A panic while a lock is held leaves it usable: what these locks guard is whole between any two statements.

#[cfg(all(test, loom_model))]
use loom::sync as locks;
#[cfg(not(all(test, loom_model)))]
use std::sync as locks;

use std::{sync::PoisonError, time::Instant};

pub(crate) use locks::MutexGuard;

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(locks::Mutex<T>);

#[derive(Debug, Default)]
pub(crate) struct Condvar(locks::Condvar);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(locks::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Waits until notified, or for no reason, or until `deadline`; whether that has passed is for the caller to see.
    pub(crate) fn wait<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, T> {
        let Some(deadline) = deadline else {
            return self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        let timeout = deadline.saturating_duration_since(Instant::now());
        self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
