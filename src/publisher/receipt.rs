//! What became of one event.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::DeliveryError;
use crate::{
    stream::EntryId,
    sync::{Condvar, Mutex},
};

/// What an event became: its entry's id, or why it was given up.
pub type Outcome = Result<EntryId, DeliveryError>;

/// Tells what became of one event; a future of its [`Outcome`].
#[derive(Clone, Debug)]
pub struct Receipt {
    state: Arc<ReceiptState>,
}

/// The part of a receipt that travels with the request.
#[derive(Debug, Default)]
pub(super) struct ReceiptState {
    inner: Mutex<Inner>,
    settled: Condvar,
}

#[derive(Default)]
struct Inner {
    outcome: Option<Outcome>,
    wakers: Vec<Waker>,
    callbacks: Vec<Callback>,
}

type Callback = Box<dyn FnOnce(&Outcome) + Send>;

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

// === impl Receipt ===

impl Receipt {
    pub(super) fn new() -> (Self, Arc<ReceiptState>) {
        let state = Arc::new(ReceiptState::default());
        (Self { state: state.clone() }, state)
    }

    /// What became of the event, if that is known already.
    pub fn outcome(&self) -> Option<Outcome> {
        self.state.inner.lock().outcome.clone()
    }

    /// Waits in this thread until the outcome is known; `None` if `timeout` passes first.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Outcome> {
        // None: too far off to come.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut inner = self.state.inner.lock();
        while inner.outcome.is_none() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            inner = self.state.settled.wait(inner, deadline);
        }
        inner.outcome.clone()
    }

    /// Calls back once the outcome is known, in the writer's thread: at once if it is known already.
    pub fn on_settled(&self, callback: impl FnOnce(&Outcome) + Send + 'static) {
        let mut inner = self.state.inner.lock();
        match inner.outcome.clone() {
            None => inner.callbacks.push(Box::new(callback)),
            Some(outcome) => {
                drop(inner);
                callback(&outcome);
            }
        }
    }
}

impl Future for Receipt {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut inner = self.state.inner.lock();
        if let Some(outcome) = &inner.outcome {
            return Poll::Ready(outcome.clone());
        }
        // Clones may be awaited by several tasks, one clone again and again by the same.
        if !inner.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

// === impl ReceiptState ===

impl ReceiptState {
    pub(super) fn settle(&self, outcome: &Outcome) {
        let mut inner = self.inner.lock();
        inner.outcome = Some(outcome.clone());
        let (wakers, callbacks) = (std::mem::take(&mut inner.wakers), std::mem::take(&mut inner.callbacks));
        drop(inner);
        self.settled.notify_all();
        wakers.into_iter().for_each(Waker::wake);
        for callback in callbacks {
            callback(outcome);
        }
    }
}

#[cfg(all(test, loom_model))]
mod loom;
