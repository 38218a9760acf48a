//! Publishing: events are accepted at once and sent by one background task.
//!
//! [`Publisher::publish`] encodes the event straight into the buffer of the next request and returns;
//! it never waits for the network. A [`Writer`] sends whatever has gathered while the last batch was
//! on its way. What is accepted survives failures of Redis and of the network for as long as the
//! process lives, and with a spool the end of the process too: errors that pass are waited out, a lost
//! connection is opened again, and what did not arrive by it is sent again.
//!
//! * [`queue`]: the hand-over between callers and the writer, bounded in events and bytes.
//! * [`batch`]: requests that travel together; [`record`]: their form on disk.
//! * [`writer`]: the task that connects and keeps connected; [`session`]: sends batches and counts replies.
//! * [`reconcile`], [`bounds`]: which events arrived before a connection was lost.
//! * [`backlog`], [`storing`]: what redis can't take for now goes to disk, into the [`spool`].
//! * [`receipt`]: what became of one event, for who asks.

mod backlog;
mod batch;
mod bounds;
mod config;
mod error;
mod queue;
mod receipt;
mod reconcile;
mod record;
mod session;
mod spool;
mod stats;
mod storing;
mod writer;

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use self::{queue::Queue, receipt::ReceiptState, stats::Counters};
use crate::{
    config::RedisSettings,
    event::{
        Event,
        encode::{self, Encoded},
    },
    shutdown::Shutdown,
};

pub use config::{GivenUp, OnGivenUp, PublisherConfig};
pub use error::{DeliveryError, FlushError, Full, PublishError};
pub use receipt::{Outcome, Receipt};
pub use spool::{SpoolConfig, SpoolError};
pub use stats::Stats;
pub use writer::Writer;

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
    /// Ends the writer with its last clone.
    _owner: Option<Arc<Owner>>,
}

/// Without it nobody can publish any more.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.is_orphaned.store(true, Ordering::Relaxed);
        self.0.queue.close();
    }
}

/// What callers and the writer share.
pub(crate) struct Shared {
    settings: RedisSettings,
    config: PublisherConfig,
    queue: Queue,
    stats: Counters,
    /// Ends the writer, whatever it is waiting for.
    stop: Shutdown,
    /// Everyone who could publish is gone, and nobody waits for what was accepted.
    is_orphaned: AtomicBool,
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

/// How long a closed publisher's writer may take to bring to disk what is left.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A scratch buffer larger than this is not kept.
const KEPT_SCRATCH_BYTES: usize = 256 * 1024;

// === impl Publisher ===

impl Publisher {
    /// A publisher, and the writer that its owner has to run; nothing is connected or started yet.
    pub fn new(settings: RedisSettings, config: PublisherConfig) -> (Self, Writer) {
        let queue = Queue::new(&config);
        let stats = Counters::default();
        let (stop, is_orphaned) = (Shutdown::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { settings, config, queue, stats, stop, is_orphaned });
        let owner = Arc::new(Owner(shared.clone()));
        (Self { shared: shared.clone(), _owner: Some(owner) }, Writer::new(shared))
    }

    /// This publisher for who watches it: such a clone does not keep it open.
    #[cfg(feature = "python")]
    pub(crate) fn watched(&self) -> Self {
        Self { shared: self.shared.clone(), _owner: None }
    }

    /// A publisher whose writer runs on the current tokio runtime until [`Publisher::close`], or until its last clone is
    /// dropped and everything is sent.
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

    /// Waits until redis has everything accepted so far, and what an earlier publisher left in the spool.
    pub async fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        let is_over = self.shared.queue.wait_progress_async(Some(timeout), self.is_flushed()).await;
        self.flushed(is_over, timeout)
    }

    /// Like [`Publisher::flush`], holding this thread.
    pub fn flush_blocking(&self, timeout: Duration) -> Result<(), FlushError> {
        let is_over = self.shared.queue.wait_progress(Instant::now().checked_add(timeout), self.is_flushed());
        self.flushed(is_over, timeout)
    }

    fn is_flushed(&self) -> impl Fn(queue::Depth) -> bool + use<> {
        let accepted = self.shared.queue.depth().accepted;
        move |depth| depth.settled_before >= accepted && depth.inherited == 0
    }

    fn flushed(&self, is_over: bool, waited: Duration) -> Result<(), FlushError> {
        if !is_over {
            return Err(self.unflushed(waited));
        }
        match self.shared.stats.take_given_up() {
            Some((count, reason)) => Err(FlushError::GivenUp { count, reason }),
            None => Ok(()),
        }
    }

    fn unflushed(&self, waited: Duration) -> FlushError {
        let depth = self.shared.queue.depth();
        let outstanding = depth.events - depth.kept + self.shared.stats.spooled();
        let last_error = self.shared.stats.last_error().unwrap_or_else(|| "none".to_owned());
        FlushError::Timeout { outstanding, waited, last_error }
    }

    /// Accepts no more events, waits until redis has those accepted, and ends the writer.
    ///
    /// What redis does not have after `timeout` is left in the spool; without one it is given up, and the error says
    /// how many.
    pub async fn close(&self, timeout: Duration) -> Result<(), FlushError> {
        let queue = &self.shared.queue;
        queue.close();
        let is_over = queue.wait_progress_async(Some(timeout), self.is_flushed()).await;
        let unflushed = self.unflushed(timeout);
        self.shared.stop.cancel();
        // Over when the writer has ended.
        queue.wait_progress_async(Some(END_TIMEOUT), |_| false).await;
        self.closed(is_over, unflushed)
    }

    /// Like [`Publisher::close`], holding this thread.
    pub fn close_blocking(&self, timeout: Duration) -> Result<(), FlushError> {
        let queue = &self.shared.queue;
        queue.close();
        let is_over = queue.wait_progress(Instant::now().checked_add(timeout), self.is_flushed());
        let unflushed = self.unflushed(timeout);
        self.shared.stop.cancel();
        queue.wait_progress(Instant::now().checked_add(END_TIMEOUT), |_| false);
        self.closed(is_over, unflushed)
    }

    fn closed(&self, is_over: bool, unflushed: FlushError) -> Result<(), FlushError> {
        if is_over {
            return self.flushed(true, Duration::ZERO);
        }
        let is_all_on_disk = self.shared.queue.depth().events == 0 && !self.shared.stats.has_given_up();
        if is_all_on_disk && self.shared.config.spool.is_some() { Ok(()) } else { Err(unflushed) }
    }

    /// Whether [`Publisher::close`] was called, or the writer has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.queue.is_closed()
    }

    /// Whether the writer has ended: everything is settled, on disk, or given up.
    pub fn has_ended(&self) -> bool {
        self.shared.queue.has_ended()
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
    fn is_orphaned(&self) -> bool {
        self.is_orphaned.load(Ordering::Relaxed)
    }

    /// An event that the server will never take.
    fn give_up(&self, stream: u16, request: &[u8], reason: String, receipt: Option<&Arc<ReceiptState>>) {
        let stream = self.queue.stream(stream);
        self.stats.given_up(&stream.name, &reason);
        self.tell(
            &stream,
            request,
            DeliveryError::Refused { stream: stream.name.to_string(), reason },
            receipt,
        );
    }

    /// An event that was accepted but can't be sent any more.
    fn abandon(&self, stream: u16, request: &[u8], receipt: Option<&Arc<ReceiptState>>) {
        let stream = self.queue.stream(stream);
        let last_error = self.stats.last_error().unwrap_or_else(|| "none".to_owned());
        self.stats.abandoned(&stream.name);
        let error = DeliveryError::Abandoned { stream: stream.name.to_string(), last_error };
        self.tell(&stream, request, error, receipt);
    }

    /// An event that the next publisher sends.
    fn left_on_disk(&self, receipt: Option<Arc<ReceiptState>>) {
        if let Some(receipt) = receipt {
            receipt.settle(&Err(DeliveryError::Spooled { spool: self.spool_dir() }));
        }
    }

    /// An event that can't be read from disk any more.
    fn unreadable(&self, receipt: &ReceiptState) {
        receipt.settle(&Err(DeliveryError::Unreadable { spool: self.spool_dir() }));
    }

    fn spool_dir(&self) -> String {
        self.config.spool.as_ref().map(|spool| spool.dir.display().to_string()).unwrap_or_default()
    }

    fn tell(
        &self,
        stream: &record::Stream,
        request: &[u8],
        error: DeliveryError,
        receipt: Option<&Arc<ReceiptState>>,
    ) {
        if let Some(OnGivenUp(hook)) = &self.config.on_given_up {
            let fields = encode::read_pairs(stream.body(request)).unwrap_or_default();
            hook(&GivenUp { stream: &stream.name, fields, error: &error });
        }
        if let Some(receipt) = receipt {
            receipt.settle(&Err(error));
        }
    }
}
