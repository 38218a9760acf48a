//! Publishing: events are accepted at once and sent by one background task.
//!
//! [`Publisher::publish`] encodes the event straight into the buffer of the next request and returns;
//! it never waits for the network. A [`Writer`] sends whatever has gathered while the last batch was
//! on its way. What is accepted survives failures of Redis and of the network for as long as the
//! process lives: errors that pass are waited out, a lost connection is opened again, and what was
//! not acknowledged is sent again with the same `event_id`.
//!
//! * [`queue`]: the hand-over between callers and the writer, bounded in events and bytes.
//! * [`batch`]: requests that travel together.
//! * [`writer`]: sends batches and counts replies.
//! * [`receipt`]: what became of one event, for who asks.

mod batch;
mod queue;
mod receipt;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the writer does not use it yet"))]
mod spool;
mod stats;
mod writer;

use std::{
    cell::Cell,
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{queue::Queue, receipt::ReceiptState, stats::Counters};
use crate::{
    config::RedisSettings,
    event::{
        Event, InvalidEvent,
        encode::{self, Encoded, Limits},
    },
    shutdown::Shutdown,
};

pub use receipt::{Outcome, Receipt};
pub use spool::{SpoolConfig, SpoolError};
pub use stats::Stats;
pub use writer::Writer;

/// How a publisher behaves.
#[derive(Clone, Debug)]
pub struct PublisherConfig {
    /// The value of `source` for events that name none.
    pub source: String,
    /// The hard limit of a stream's length, sent as `MAXLEN ~`; 0 for none. Default 1,000,000.
    pub maxlen: u64,
    /// The hard limit of single streams.
    pub stream_maxlen: HashMap<String, u64>,
    /// How many events may be accepted and not acknowledged. Default 1,000,000.
    pub queue_events: u64,
    /// How many bytes of requests may be accepted and not acknowledged. Default 64 MiB.
    pub queue_bytes: u64,
    /// How long to wait for more before a request is sent to an idle server. Default 0.
    pub linger: Duration,
    /// How many bytes are written at once at most, unless one event is larger. Default 512 KiB.
    pub max_batch_bytes: usize,
    /// What an event may have.
    pub limits: Limits,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            source: "synapse".to_owned(),
            maxlen: 1_000_000,
            stream_maxlen: HashMap::new(),
            queue_events: 1_000_000,
            queue_bytes: 64 * 1024 * 1024,
            linger: Duration::ZERO,
            max_batch_bytes: 512 * 1024,
            limits: Limits::default(),
        }
    }
}

/// How full a queue was when an event found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Events accepted and not acknowledged.
    pub events: u64,
    /// Bytes of their requests.
    pub bytes: u64,
    /// Bytes that the refused event's request has.
    pub needed: u64,
}

/// Why an event was not accepted. Nothing of it was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// The event is not of the shape its stream asks for.
    #[error(transparent)]
    InvalidEvent(#[from] InvalidEvent),
    /// No stream can have this name.
    #[error("{stream:?} can't be written to: {reason}")]
    InvalidStream {
        /// The name given.
        stream: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Redis takes events more slowly than they come, or not at all.
    #[error(
        "the queue is full: {} events ({} bytes) wait for redis; publish more slowly, wait for room, or raise queue_events or queue_bytes",
        .0.events, .0.bytes
    )]
    QueueFull(Full),
    /// The publisher was closed.
    #[error("the publisher is closed; make a new one")]
    Closed,
}

/// Why an accepted event is not on its stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The server refuses this event for good.
    #[error("redis refused the event for {stream}: {reason}")]
    Refused {
        /// The stream it was meant for.
        stream: String,
        /// The server's words, starting with its code, for example `WRONGTYPE`.
        reason: String,
    },
    /// The publisher ended before redis had it.
    #[error("the publisher ended before redis had the event for {stream}; the last error was: {last_error}")]
    Abandoned {
        /// The stream it was meant for.
        stream: String,
        /// Why it could not be sent.
        last_error: String,
    },
}

/// What a flush could not say of all events: that redis has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// Some are still on their way.
    #[error("{outstanding} events are not acknowledged after {waited:?}; the last error was: {last_error}")]
    Timeout {
        /// Events accepted and not acknowledged.
        outstanding: u64,
        /// How long the flush waited.
        waited: Duration,
        /// Why they could not be sent, or `none`.
        last_error: String,
    },
    /// Some were given up since the last flush.
    #[error("{count} events were given up, the last because: {reason}")]
    GivenUp {
        /// How many.
        count: u64,
        /// Why the last one was.
        reason: String,
    },
}

/// Accepts events and has them sent. Clones share one queue; see the [module](self) for how it works.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use synapse_rs::{Event, Publisher, RedisSettings, publisher::PublisherConfig};
///
/// let settings = RedisSettings::from_url("redis://localhost")?;
/// let publisher = Publisher::start(settings, PublisherConfig::default());
/// let event = Event::new("task-created").with("service", "tasks").with("action", "task-created");
/// publisher.publish("platform-events", &event)?; // returns at once
/// publisher.flush(Duration::from_secs(5)).await?; // redis has it
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
}

/// What callers and the writer share.
pub(crate) struct Shared {
    settings: RedisSettings,
    config: PublisherConfig,
    queue: Queue,
    stats: Counters,
    /// Ends the writer, whatever it is waiting for.
    stop: Shutdown,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("redis", &self.settings.to_string()).finish_non_exhaustive()
    }
}

thread_local! {
    /// Where an event is encoded before it is known to be valid. Taken out while in use, so that an
    /// encoder which itself publishes finds an empty one.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A scratch buffer larger than this is not kept.
const KEPT_SCRATCH_BYTES: usize = 256 * 1024;

// === impl Publisher ===

impl Publisher {
    /// A publisher, and the writer that its owner has to run; nothing is connected or started yet.
    pub fn new(settings: RedisSettings, config: PublisherConfig) -> (Self, Writer) {
        let queue = Queue::new(&config);
        let stats = Counters::default();
        let shared = Arc::new(Shared { settings, config, queue, stats, stop: Shutdown::new() });
        (Self { shared: shared.clone() }, Writer::new(shared))
    }

    /// A publisher whose writer runs on the current tokio runtime until [`Publisher::close`].
    pub fn start(settings: RedisSettings, config: PublisherConfig) -> Self {
        let (publisher, writer) = Self::new(settings, config);
        tokio::spawn(writer.run());
        publisher
    }

    /// Accepts an event for a stream; returns at once.
    pub fn publish(&self, stream: &str, event: &Event) -> Result<(), PublishError> {
        self.publish_with(stream, None, |body| self.encode(stream, event, body))
    }

    /// Accepts an event as soon as there is room for it.
    pub async fn publish_when_room(&self, stream: &str, event: &Event) -> Result<(), PublishError> {
        loop {
            match self.publish(stream, event) {
                Err(PublishError::QueueFull(full)) => self.room(full, None).await,
                other => return other,
            };
        }
    }

    /// Accepts an event for a stream and tells what becomes of it.
    pub fn send(&self, stream: &str, event: &Event) -> Result<Receipt, PublishError> {
        let (receipt, state) = Receipt::new();
        self.publish_with(stream, Some(state), |body| self.encode(stream, event, body))?;
        Ok(receipt)
    }

    fn encode(&self, stream: &str, event: &Event, body: &mut Vec<u8>) -> Result<Encoded, PublishError> {
        Ok(encode::encode(stream, event, &self.shared.config.source, &self.shared.config.limits, body)?)
    }

    /// Accepts an event that `encode` writes as an entry's fields, for callers with events of another form.
    #[cfg(feature = "python")]
    pub(crate) fn publish_encoded<E: From<PublishError>>(
        &self,
        stream: &str,
        receipt: bool,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<Encoded, E>,
    ) -> Result<Option<Receipt>, E> {
        if !receipt {
            self.publish_with(stream, None, encode)?;
            return Ok(None);
        }
        let (receipt, state) = Receipt::new();
        self.publish_with(stream, Some(state), encode)?;
        Ok(Some(receipt))
    }

    fn publish_with<E: From<PublishError>>(
        &self,
        stream: &str,
        receipt: Option<Arc<ReceiptState>>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<Encoded, E>,
    ) -> Result<(), E> {
        let mut scratch = SCRATCH.take();
        scratch.clear();
        let accepted = match encode(&mut scratch) {
            Ok(encoded) => self.shared.queue.push(stream, &scratch, encoded.fields, receipt).map_err(E::from),
            Err(error) => Err(error),
        };
        if scratch.capacity() <= KEPT_SCRATCH_BYTES {
            SCRATCH.set(scratch);
        }
        accepted
    }

    /// Waits until an event that found no room would find some; `false` if `timeout` passes first.
    pub async fn room(&self, full: Full, timeout: Option<Duration>) -> bool {
        let queue = &self.shared.queue;
        queue.wait_progress_async(timeout, |depth| queue.has_room(depth, full.needed)).await
    }

    /// Like [`Publisher::room`], holding this thread.
    pub fn room_blocking(&self, full: Full, timeout: Duration) -> bool {
        let queue = &self.shared.queue;
        queue.wait_progress(Instant::now().checked_add(timeout), |depth| queue.has_room(depth, full.needed))
    }

    /// Waits until redis has everything accepted so far.
    pub async fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        let accepted = self.shared.queue.depth().accepted;
        let is_over = |depth: queue::Depth| depth.settled_before >= accepted;
        let is_over = self.shared.queue.wait_progress_async(Some(timeout), is_over).await;
        self.flushed(is_over, timeout)
    }

    /// Like [`Publisher::flush`], holding this thread.
    pub fn flush_blocking(&self, timeout: Duration) -> Result<(), FlushError> {
        let accepted = self.shared.queue.depth().accepted;
        let is_over = |depth: queue::Depth| depth.settled_before >= accepted;
        let is_over = self.shared.queue.wait_progress(Instant::now().checked_add(timeout), is_over);
        self.flushed(is_over, timeout)
    }

    fn flushed(&self, is_over: bool, waited: Duration) -> Result<(), FlushError> {
        if !is_over {
            let outstanding = self.shared.queue.depth().events;
            let last_error = self.shared.stats.last_error().unwrap_or_else(|| "none".to_owned());
            return Err(FlushError::Timeout { outstanding, waited, last_error });
        }
        match self.shared.stats.take_given_up() {
            Some((count, reason)) => Err(FlushError::GivenUp { count, reason }),
            None => Ok(()),
        }
    }

    /// Accepts no more events, waits until redis has those accepted, and ends the writer.
    ///
    /// What redis does not have after `timeout` is given up; the error says how many.
    pub async fn close(&self, timeout: Duration) -> Result<(), FlushError> {
        self.shared.queue.close();
        let flushed = self.flush(timeout).await;
        self.shared.stop.cancel();
        flushed
    }

    /// Like [`Publisher::close`], holding this thread.
    pub fn close_blocking(&self, timeout: Duration) -> Result<(), FlushError> {
        self.shared.queue.close();
        let flushed = self.flush_blocking(timeout);
        self.shared.stop.cancel();
        flushed
    }

    /// Whether [`Publisher::close`] was called, or the writer has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.queue.is_closed()
    }

    /// What was published so far, and what waits.
    pub fn stats(&self) -> Stats {
        self.shared.stats.snapshot(self.shared.queue.depth())
    }

    /// Where events go.
    pub fn settings(&self) -> &RedisSettings {
        &self.shared.settings
    }

    /// How this publisher behaves.
    pub fn config(&self) -> &PublisherConfig {
        &self.shared.config
    }
}

// === impl Shared ===

impl Shared {
    /// An event that the server will never take.
    fn give_up(&self, stream: u16, reason: String, receipt: Option<&Arc<ReceiptState>>) {
        let stream = self.queue.stream_name(stream);
        self.stats.given_up(&stream, &reason);
        if let Some(receipt) = receipt {
            receipt.settle(&Err(DeliveryError::Refused { stream: stream.to_string(), reason }));
        }
    }

    /// An event that was accepted but can't be sent any more.
    fn abandon(&self, stream: u16, receipt: Option<&Arc<ReceiptState>>) {
        let stream = self.queue.stream_name(stream);
        let last_error = self.stats.last_error().unwrap_or_else(|| "none".to_owned());
        self.stats.abandoned(&stream);
        if let Some(receipt) = receipt {
            receipt.settle(&Err(DeliveryError::Abandoned { stream: stream.to_string(), last_error }));
        }
    }
}
