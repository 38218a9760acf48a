//! Handing events over from callers to the writer.
//!
//! Callers append whole requests under one short lock. The writer takes whole batches. The
//! invariants, which hold whenever the lock is free:
//!
//! * `events` and `bytes` count what was accepted and is not settled, queued or in flight, and never
//!   exceed the limits.
//! * `ready_bytes` is the size of the batches in `ready`.
//! * `wake_at` is `usize::MAX` unless the writer waits for that many bytes to be ready; whoever
//!   brings `ready_bytes` there sets it back and wakes the writer. So the writer is woken once, and
//!   only when it sleeps.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::{Full, PublishError, PublisherConfig, batch::Batch, receipt::ReceiptState};
use crate::stream::append::AppendHead;

/// A writer that has requests in flight is woken when this much has gathered for the next batch.
pub(super) const WORTH_SENDING_BYTES: usize = 32 * 1024;

/// Emptied batches kept for another use.
const SPARE_BATCHES: usize = 4;

/// How many streams one publisher may write to.
const MAX_STREAMS: usize = 10_000;

/// How long a stream's name may be.
const MAX_STREAM_NAME_BYTES: usize = 512;

pub(super) struct Queue {
    state: Mutex<State>,
    /// Something was settled: there may be room, or a flush may be over.
    progress: Condvar,
    progress_async: Notify,
    writer: Notify,
    max_events: u64,
    max_bytes: u64,
    batch_bytes: usize,
    maxlen: u64,
    stream_maxlen: HashMap<String, u64>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Batch>,
    ready_bytes: usize,
    spare: Vec<Batch>,
    heads: HashMap<Box<str>, (u16, AppendHead)>,
    stream_names: Vec<Arc<str>>,
    wake_at: usize,
    accepted: u64,
    settled_before: u64,
    /// Accepted and not settled.
    events: u64,
    bytes: u64,
    /// How many callers wait for progress.
    flushing: usize,
    closed: bool,
    ended: bool,
}

/// What is queued and in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth {
    pub accepted: u64,
    pub settled_before: u64,
    pub events: u64,
    pub bytes: u64,
    pub queued: u64,
    pub queued_bytes: usize,
}

impl State {
    /// Whether to send now what has gathered: there is enough of it, or someone waits.
    fn is_worth(&self, worth: usize) -> bool {
        self.ready_bytes >= worth.max(1) || (self.ready_bytes > 0 && (self.flushing > 0 || self.closed))
    }

    fn depth(&self) -> Depth {
        Depth {
            accepted: self.accepted,
            settled_before: self.settled_before,
            events: self.events,
            bytes: self.bytes,
            queued: self.ready.iter().map(|batch| batch.len() as u64).sum(),
            queued_bytes: self.ready_bytes,
        }
    }
}

impl Queue {
    pub(super) fn new(config: &PublisherConfig) -> Self {
        Self {
            state: Mutex::new(State { wake_at: usize::MAX, ..State::default() }),
            progress: Condvar::new(),
            progress_async: Notify::new(),
            writer: Notify::new(),
            max_events: config.queue_events,
            max_bytes: config.queue_bytes,
            batch_bytes: config.max_batch_bytes,
            maxlen: config.maxlen,
            stream_maxlen: config.stream_maxlen.clone(),
        }
    }

    /// Accepts an event whose fields are `body`, as bulk strings; nothing waits.
    pub(super) fn push(
        &self,
        stream: &str,
        body: &[u8],
        fields: usize,
        receipt: Option<Arc<ReceiptState>>,
    ) -> Result<(), PublishError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.closed {
            return Err(PublishError::Closed);
        }
        if !state.heads.contains_key(stream) {
            self.add_stream(state, stream)?;
        }
        let (index, head) = &state.heads[stream];
        let mut count = itoa::Buffer::new();
        let count = count.format(head.arguments + 2 * fields).as_bytes();
        let parts = [b"*", count, b"\r\n", &head.text, body];
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if !self.fits(state.events, state.bytes, len as u64) {
            return Err(PublishError::QueueFull(Full {
                events: state.events,
                bytes: state.bytes,
                needed: len as u64,
            }));
        }
        let index = *index;
        let batch = open_batch(&mut state.ready, &mut state.spare, self.batch_bytes, len, state.accepted);
        batch.push(&parts, index, receipt);
        state.accepted += 1;
        state.events += 1;
        state.bytes += len as u64;
        state.ready_bytes += len;
        let wake = state.ready_bytes >= state.wake_at;
        if wake {
            state.wake_at = usize::MAX;
        }
        drop(guard);
        if wake {
            self.writer.notify_one();
        }
        Ok(())
    }

    fn add_stream(&self, state: &mut State, stream: &str) -> Result<(), PublishError> {
        let invalid = |reason: String| PublishError::InvalidStream { stream: stream.to_owned(), reason };
        if stream.is_empty() || stream.len() > MAX_STREAM_NAME_BYTES {
            return Err(invalid(format!("a stream's name has 1 to {MAX_STREAM_NAME_BYTES} bytes")));
        }
        if state.heads.len() >= MAX_STREAMS {
            return Err(invalid(format!("one publisher writes to at most {MAX_STREAMS} streams")));
        }
        let maxlen = self.stream_maxlen.get(stream).copied().unwrap_or(self.maxlen);
        let index = u16::try_from(state.heads.len()).expect("bounded by MAX_STREAMS");
        state.heads.insert(stream.into(), (index, AppendHead::new(stream, maxlen)));
        state.stream_names.push(stream.into());
        Ok(())
    }

    /// The name of a stream by its place.
    pub(super) fn stream_name(&self, index: u16) -> Arc<str> {
        self.state.lock().stream_names[usize::from(index)].clone()
    }

    /// Takes the oldest batch if at least `worth` bytes are ready.
    pub(super) fn take(&self, worth: usize) -> Option<Batch> {
        let mut state = self.state.lock();
        if !state.is_worth(worth) {
            return None;
        }
        let batch = state.ready.pop_front()?;
        state.ready_bytes -= batch.buffered_bytes();
        Some(batch)
    }

    /// Waits until at least `worth` bytes are ready, or the queue is closed.
    pub(super) async fn ready(&self, worth: usize) {
        loop {
            {
                let mut state = self.state.lock();
                if state.is_worth(worth) || state.closed {
                    state.wake_at = usize::MAX;
                    return;
                }
                state.wake_at = worth.max(1);
            }
            self.writer.notified().await;
        }
    }

    /// The writer says what was settled, and the number below which everything is.
    pub(super) fn settled(&self, events: u64, bytes: u64, settled_before: u64) {
        let mut state = self.state.lock();
        state.events -= events;
        state.bytes -= bytes;
        state.settled_before = settled_before;
        drop(state);
        self.progress.notify_all();
        self.progress_async.notify_waiters();
    }

    /// Gives an emptied batch back for another use.
    pub(super) fn recycle(&self, mut batch: Batch) {
        batch.clear();
        let mut state = self.state.lock();
        if state.spare.len() < SPARE_BATCHES {
            state.spare.push(batch);
        }
    }

    /// The number of the oldest event that waits to be taken, or of the next to be accepted.
    pub(super) fn oldest_seq(&self) -> u64 {
        let state = self.state.lock();
        state.ready.front().map_or(state.accepted, Batch::oldest_seq)
    }

    /// Refuses events from now on, and wakes everyone who waits.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.wake_all();
    }

    /// The writer has ended: nothing will be settled any more.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.ended = true;
        drop(state);
        self.wake_all();
    }

    fn wake_all(&self) {
        self.writer.notify_one();
        self.progress.notify_all();
        self.progress_async.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(super) fn depth(&self) -> Depth {
        self.state.lock().depth()
    }

    /// Whether someone waits for a flush, so that lingering would only delay.
    pub(super) fn is_flushing(&self) -> bool {
        let state = self.state.lock();
        state.flushing > 0 || state.closed
    }

    fn enter_flush(&self) -> Flushing<'_> {
        self.state.lock().flushing += 1;
        self.writer.notify_one();
        Flushing { queue: self }
    }

    /// Blocks this thread until something is settled, the queue is closed, or `deadline` passes (`false`).
    pub(super) fn wait_progress(
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
            match deadline {
                None => self.progress.wait(&mut state),
                Some(deadline) => {
                    if self.progress.wait_until(&mut state, deadline).timed_out() {
                        return false;
                    }
                }
            }
        }
    }

    /// Like [`Queue::wait_progress`] without holding a thread.
    pub(super) async fn wait_progress_async(
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

    /// Whether a request of `needed` bytes would be accepted now.
    pub(super) fn has_room(&self, depth: Depth, needed: u64) -> bool {
        self.fits(depth.events, depth.bytes, needed)
    }

    /// A request larger than the whole queue is taken when the queue is empty.
    fn fits(&self, events: u64, bytes: u64, needed: u64) -> bool {
        events == 0 || (events < self.max_events && bytes + needed <= self.max_bytes)
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

/// The batch that takes the next `len` bytes.
fn open_batch<'a>(
    ready: &'a mut VecDeque<Batch>,
    spare: &mut Vec<Batch>,
    batch_bytes: usize,
    len: usize,
    first_seq: u64,
) -> &'a mut Batch {
    let is_open = ready.back().is_some_and(|batch| batch.buffered_bytes() + len <= batch_bytes);
    if !is_open {
        let mut batch = spare.pop().unwrap_or_else(|| Batch::with_capacity(WORTH_SENDING_BYTES));
        batch.first_seq = first_seq;
        ready.push_back(batch);
    }
    ready.back_mut().expect("a batch was pushed if there was none")
}
