//! Waiting until something is settled.

use std::time::{Duration, Instant};

use super::{Depth, Queue};

impl Queue {
    fn enter_flush(&self) -> Flushing<'_> {
        let mut state = self.state.lock();
        state.flushing += 1;
        let waker = self.wake_up(&mut state);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Flushing { queue: self }
    }

    /// Blocks this thread until something is settled, the queue is closed, or `deadline` passes (`false`).
    pub(in crate::publisher) fn wait_progress(
        &self,
        deadline: Option<Instant>,
        mut over: impl FnMut(Depth) -> bool,
    ) -> bool {
        let _flushing = self.enter_flush();
        let mut state = self.state.lock();
        loop {
            let depth = state.depth();
            if over(depth) || state.ended {
                return over(depth);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            state = self.progress.wait(state, deadline);
        }
    }

    /// Like [`Queue::wait_progress`] without holding a thread.
    pub(in crate::publisher) async fn wait_progress_async(
        &self,
        timeout: Option<Duration>,
        mut over: impl FnMut(Depth) -> bool,
    ) -> bool {
        let _flushing = self.enter_flush();
        let wait = async {
            loop {
                let progress = self.progress_async.notified();
                tokio::pin!(progress);
                // Registered before looking, so that nothing is missed in between.
                progress.as_mut().enable();
                if over(self.depth()) {
                    return true;
                }
                if self.state.lock().ended {
                    return false;
                }
                progress.await;
            }
        };
        match timeout {
            None => wait.await,
            Some(timeout) => tokio::time::timeout(timeout, wait).await.unwrap_or(false),
        }
    }
}

/// While it lives, the writer does not linger.
struct Flushing<'a> {
    queue: &'a Queue,
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.queue.state.lock().flushing -= 1;
    }
}
