//! Handing events over from callers to the writer.
//!
//! Callers append whole requests under one short lock. The writer takes whole batches. The
//! invariants, which hold whenever the lock is free:
//!
//! * `events` and `bytes` count what was accepted and is neither settled nor on disk, queued or in flight, and of what is
//!   on disk the `kept` events whose receipts somebody holds; they exceed the limits by one event at most, and only if
//!   it came first.
//! * `ready_events` and `ready_bytes` are those of the batches in `ready`.
//! * `asleep` is set while the writer waits, and then `ready` does not hold what it waits for; whoever brings it there
//!   takes the waker out and wakes the writer. So the writer is woken once, and only when it sleeps.

mod figures;
mod progress;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

use super::{Full, PublishError, PublisherConfig, batch::Batch, receipt::ReceiptState, record::Stream};
use crate::sync::{Condvar, Mutex, MutexGuard};

pub(super) use figures::{Depth, Settled, Wanted};

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
    max_events: u64,
    max_bytes: u64,
    batch_bytes: usize,
    maxlen: u64,
    stream_maxlen: HashMap<String, u64>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Batch>,
    ready_events: u64,
    ready_bytes: usize,
    spare: Vec<Batch>,
    places: HashMap<Box<str>, u16>,
    streams: Vec<Stream>,
    asleep: Option<(Waker, Wanted)>,
    accepted: u64,
    settled_before: u64,
    /// Accepted, and neither settled nor on disk, but for those kept.
    events: u64,
    bytes: u64,
    /// Of the events: those that are on disk, and count for their receipts.
    kept: u64,
    /// On disk from earlier publishers, and not settled; 1 as long as the spool has not been looked into.
    inherited: u64,
    /// How many callers wait for progress.
    flushing: usize,
    closed: bool,
    ended: bool,
}

impl State {
    /// Whether so many bytes are ready; a flush makes do with less.
    fn has(&self, bytes: usize) -> bool {
        let is_urgent = self.flushing > 0 || self.closed;
        self.ready_bytes >= bytes || (is_urgent && bytes < usize::MAX && self.ready_bytes > 0)
    }

    fn depth(&self) -> Depth {
        Depth {
            accepted: self.accepted,
            settled_before: self.settled_before,
            events: self.events,
            bytes: self.bytes,
            kept: self.kept,
            inherited: self.inherited,
            queued: self.ready_events,
            queued_bytes: self.ready_bytes,
        }
    }
}

impl Queue {
    pub(super) fn new(config: &PublisherConfig) -> Self {
        Self {
            state: Mutex::new(State { inherited: u64::from(config.spool.is_some()), ..State::default() }),
            progress: Condvar::new(),
            progress_async: Notify::new(),
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
        let place = match state.places.get(stream) {
            Some(place) => *place,
            None => self.add_stream(state, stream)?,
        };
        let head = &state.streams[usize::from(place)].head;
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
        let batch = open_batch(&mut state.ready, &mut state.spare, self.batch_bytes, len, state.accepted);
        batch.push(&parts, place, receipt);
        state.accepted += 1;
        state.events += 1;
        state.bytes += len as u64;
        state.ready_events += 1;
        state.ready_bytes += len;
        let waker = self.wake_up(state);
        drop(guard);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// The writer's waker, if it sleeps and what it waits for is there.
    fn wake_up(&self, state: &mut State) -> Option<Waker> {
        let (_, wanted) = state.asleep.as_ref()?;
        if self.meets(state, *wanted) { state.asleep.take().map(|(waker, _)| waker) } else { None }
    }

    fn meets(&self, state: &State, wanted: Wanted) -> bool {
        state.has(wanted.bytes) || (wanted.crowd && self.is_crowded(state))
    }

    /// Three quarters full, and some of it can be brought elsewhere: time to make room, for who can.
    fn is_crowded(&self, state: &State) -> bool {
        let is_full = state.events >= self.max_events - self.max_events / 4
            || state.bytes >= self.max_bytes - self.max_bytes / 4;
        // What is on disk and has a receipt takes room as well.
        is_full && state.ready_events > 0
    }

    fn add_stream(&self, state: &mut State, stream: &str) -> Result<u16, PublishError> {
        let invalid = |reason: String| PublishError::InvalidStream { stream: stream.to_owned(), reason };
        if stream.is_empty() || stream.len() > MAX_STREAM_NAME_BYTES {
            return Err(invalid(format!("a stream's name has 1 to {MAX_STREAM_NAME_BYTES} bytes")));
        }
        if state.streams.len() >= MAX_STREAMS {
            return Err(invalid(format!("one publisher writes to at most {MAX_STREAMS} streams")));
        }
        let maxlen = self.stream_maxlen.get(stream).copied().unwrap_or(self.maxlen);
        let place = u16::try_from(state.streams.len()).expect("bounded by MAX_STREAMS");
        state.places.insert(stream.into(), place);
        state.streams.push(Stream::new(stream, maxlen));
        Ok(place)
    }

    /// The place of a stream, for events that come from disk.
    pub(super) fn place_of(&self, stream: &str) -> Result<u16, PublishError> {
        let mut state = self.state.lock();
        match state.places.get(stream) {
            Some(place) => Ok(*place),
            None => self.add_stream(&mut state, stream),
        }
    }

    /// A stream by its place.
    pub(super) fn stream(&self, place: u16) -> Stream {
        self.state.lock().streams[usize::from(place)].clone()
    }

    /// All streams, each at its place.
    pub(super) fn streams(&self) -> Vec<Stream> {
        self.state.lock().streams.clone()
    }

    /// Takes the oldest batch, if what is wanted is there.
    pub(super) fn take(&self, wanted: Wanted) -> Option<Batch> {
        let mut state = self.state.lock();
        if !self.meets(&state, wanted) {
            return None;
        }
        let batch = state.ready.pop_front()?;
        state.ready_events -= batch.len() as u64;
        state.ready_bytes -= batch.buffered_bytes();
        Some(batch)
    }

    /// Puts back what was taken last.
    pub(super) fn put_back(&self, batch: Batch) {
        let mut state = self.state.lock();
        state.ready_events += batch.len() as u64;
        state.ready_bytes += batch.buffered_bytes();
        state.ready.push_front(batch);
    }

    /// Waits until what is wanted is there, or the queue is closed. For the writer alone.
    pub(super) fn ready(&self, wanted: Wanted) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(move |cx| self.poll_ready(wanted, cx))
    }

    fn poll_ready(&self, wanted: Wanted, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if self.meets(&state, wanted) || state.closed {
            state.asleep = None;
            return Poll::Ready(());
        }
        state.asleep = Some((cx.waker().clone(), wanted));
        Poll::Pending
    }

    /// The writer says what was settled, and the number below which everything is.
    pub(super) fn settled(&self, settled: &Settled, settled_before: u64) {
        let mut state = self.state.lock();
        state.settled_before = settled_before;
        state.kept -= settled.kept;
        self.make_room(state, settled.events, settled.bytes);
    }

    /// The writer says what is on disk now: it takes no room any more, but is not settled. Of `kept` more events
    /// somebody holds the receipts, for which they go on to count.
    pub(super) fn spooled(&self, events: u64, bytes: u64, kept: u64) {
        let mut state = self.state.lock();
        state.kept += kept;
        self.make_room(state, events, bytes);
    }

    fn make_room(&self, mut state: MutexGuard<'_, State>, events: u64, bytes: u64) {
        state.events -= events;
        state.bytes -= bytes;
        drop(state);
        self.progress.notify_all();
        self.progress_async.notify_waiters();
    }

    /// The writer says how many events of earlier publishers are on disk and not settled.
    pub(super) fn inherited(&self, events: u64) {
        self.state.lock().inherited = events;
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
        let mut state = self.state.lock();
        state.closed = true;
        self.wake_all(state);
    }

    /// The writer has ended: nothing will be settled any more.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.ended = true;
        self.wake_all(state);
    }

    fn wake_all(&self, mut state: MutexGuard<'_, State>) {
        let asleep = state.asleep.take();
        drop(state);
        if let Some((waker, _)) = asleep {
            waker.wake();
        }
        self.progress.notify_all();
        self.progress_async.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    pub(super) fn depth(&self) -> Depth {
        self.state.lock().depth()
    }

    /// Whether the queue is nearly full.
    pub(super) fn has_crowd(&self) -> bool {
        self.is_crowded(&self.state.lock())
    }

    /// Whether someone waits for a flush, so that lingering would only delay.
    pub(super) fn is_flushing(&self) -> bool {
        let state = self.state.lock();
        state.flushing > 0 || state.closed
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

#[cfg(all(test, loom_model))]
mod loom;
