//! From threads that must not wait for the interpreter to one of Python's that may.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::Duration,
};

use pyo3::prelude::*;

/// A bounded queue between threads. What finds no room in it is counted and left out.
pub(super) struct Mailbox<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    max_items: usize,
    max_bytes: usize,
}

struct State<T> {
    items: VecDeque<T>,
    bytes: usize,
    left_out: u64,
    /// Whoever has taken items and has not come back for more.
    at_work: Option<ThreadId>,
    has_ended: bool,
}

/// What was taken out of a mailbox.
pub(super) struct Taken<T> {
    pub items: VecDeque<T>,
    /// How many found no room since the last time.
    pub left_out: u64,
}

impl<T: Send> Mailbox<T> {
    pub(super) const fn new(max_items: usize, max_bytes: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, left_out: 0, at_work: None, has_ended: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), max_items, max_bytes }
    }

    /// Puts something of so many bytes in, which is made only if there is room. Waits for nobody but a moment.
    pub(super) fn put(&self, bytes: usize, make: impl FnOnce() -> T) {
        let mut state = self.lock();
        if state.has_ended {
            return;
        }
        if state.items.len() >= self.max_items || state.bytes.saturating_add(bytes) > self.max_bytes {
            state.left_out += 1;
            return;
        }
        let was_empty = state.items.is_empty();
        state.items.push_back(make());
        state.bytes += bytes;
        drop(state);
        if was_empty {
            self.changed.notify_all();
        }
    }

    /// Waits for items and takes all there are; `None` once there will be no more. Asked again, those before are done.
    pub(super) fn take(&self, py: Python<'_>) -> Option<Taken<T>> {
        py.detach(|| {
            let mut state = self.lock();
            state.at_work = None;
            self.changed.notify_all();
            while state.items.is_empty() && state.left_out == 0 {
                if state.has_ended {
                    return None;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.at_work = Some(thread::current().id());
            state.bytes = 0;
            Some(Taken {
                items: std::mem::take(&mut state.items),
                left_out: std::mem::take(&mut state.left_out),
            })
        })
    }

    /// Nothing more is put in; who waits takes what is left.
    pub(super) fn end(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Whether this thread has taken items and has not come back for more.
    pub(super) fn is_at_work_here(&self) -> bool {
        self.lock().at_work == Some(thread::current().id())
    }

    /// Waits until all that was put in is done; `false` if `timeout` passes first.
    pub(super) fn done(&self, timeout: Duration) -> bool {
        let is_busy = |state: &mut State<T>| state.at_work.is_some() || !state.items.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
