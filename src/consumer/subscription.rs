use std::{
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    ConsumeError, ConsumerConfig, Delivery,
    in_hand::InHand,
    poll::Poller,
    settle::{Clerk, Desk},
};
use crate::{
    config::RedisSettings,
    shutdown::Shutdown,
    stream::{Connection, StreamError, read::Member},
};

/// Places for batches that wait to be taken. The reader holds one while it waits for news; the other is
/// for what is delivered again.
const READ_AHEAD: usize = 2;

/// A member of a consumer group: hands out batches, takes back what became of each event.
///
/// Whatever is not settled when it is closed or dropped is given back at once; when the process dies,
/// others take it over after `min_idle`.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    batches: mpsc::Receiver<Vec<Delivery>>,
    poller: JoinHandle<()>,
    clerk: JoinHandle<()>,
}

/// Says what became of events; cheap to clone.
#[derive(Clone, Debug)]
pub struct Settler {
    shared: Arc<Shared>,
}

/// What the tasks of a subscription share.
#[derive(Debug)]
pub(super) struct Shared {
    pub settings: RedisSettings,
    pub config: ConsumerConfig,
    pub consumer: String,
    pub in_hand: InHand,
    pub desk: Desk,
    /// Ends reading.
    pub stop: Shutdown,
    /// Ends settling, after reading has ended.
    pub drained: Shutdown,
    streams: Vec<Arc<str>>,
}

// === impl Subscription ===

impl Subscription {
    /// Joins the group, creating it and its streams where they are missing.
    ///
    /// Fails at once if Redis can't be reached; later failures of Redis are waited out.
    pub async fn open(settings: RedisSettings, config: ConsumerConfig) -> Result<Self, ConsumeError> {
        check(&config)?;
        let streams = config.streams.iter().map(|stream| stream.as_str().into()).collect();
        let shared = Arc::new(Shared {
            settings,
            config,
            consumer: consumer_name(),
            in_hand: InHand::default(),
            desk: Desk::default(),
            stop: Shutdown::new(),
            drained: Shutdown::new(),
            streams,
        });
        let connection = Connection::open(&shared.settings).await?;
        shared.create_groups(&connection).await?;
        let (sender, batches) = mpsc::channel(READ_AHEAD);
        let clerk = Clerk {
            shared: shared.clone(),
            batches: sender.downgrade(),
            waiting: BinaryHeap::new(),
            connection: Some(connection),
            has_given_up: false,
        };
        let clerk = tokio::spawn(clerk.run());
        let poller = tokio::spawn(Poller { shared: shared.clone(), batches: sender }.run());
        Ok(Self { shared, batches, poller, clerk })
    }

    /// The next batch, in stream order; waits for it. `None` once the subscription is closed.
    ///
    /// Safe to cancel: no event is lost with the future.
    pub async fn next(&mut self) -> Option<Vec<Delivery>> {
        self.batches.recv().await
    }

    /// Where to say what became of events.
    pub fn settler(&self) -> Settler {
        Settler { shared: self.shared.clone() }
    }

    /// The name of this member of the group.
    pub fn consumer(&self) -> &str {
        &self.shared.consumer
    }

    /// Stops reading, tells Redis what was settled, gives back what was not, and leaves the group.
    pub async fn close(mut self) {
        self.shared.stop.cancel();
        // What was read but not taken is given back with the rest of what is in hand.
        self.batches.close();
        while self.batches.recv().await.is_some() {}
        let _ = (&mut self.poller).await;
        self.shared.drained.cancel();
        let _ = (&mut self.clerk).await;
    }
}

impl Subscription {
    /// Ends at once, as if the process had died: what is in hand is taken over by others after `min_idle`.
    pub fn abandon(self) {
        self.poller.abort();
        self.clerk.abort();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.drained.cancel();
    }
}

fn check(config: &ConsumerConfig) -> Result<(), ConsumeError> {
    let invalid =
        |setting, reason: &str| Err(ConsumeError::InvalidSetting { setting, reason: reason.to_owned() });
    if config.group.is_empty() {
        return invalid("group", "the consumer group needs a name");
    }
    if config.streams.is_empty() || config.streams.iter().any(String::is_empty) {
        return invalid("streams", "name at least one stream, for example model-events");
    }
    if !matches!(config.start.as_str(), "0" | "$") && config.start.parse::<crate::EntryId>().is_err() {
        return invalid("start", "expected 0 (from the beginning), $ (from now on) or an entry id");
    }
    if config.batch == 0 || config.batch > 100_000 {
        return invalid("batch", "expected 1 to 100000 entries");
    }
    if config.min_idle < Duration::from_millis(10) {
        return invalid("min_idle", "expected at least 10 ms");
    }
    Ok(())
}

/// A name that no other process, and no other consumer of this one, has.
fn consumer_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{count}-{:08x}", host.trim(), std::process::id(), fastrand::u32(..))
}

// === impl Settler ===

impl Settler {
    /// It was handled.
    pub fn ack(&self, delivery: &Delivery) {
        self.shared.desk.ack(&delivery.stream, delivery.id);
    }

    /// It was not handled, and somebody else may have it at once.
    pub fn release(&self, delivery: &Delivery) {
        self.shared.desk.release(&delivery.stream, delivery.id);
    }

    /// It failed: it is delivered again after `delay`.
    pub fn retry(&self, delivery: &Delivery, delay: Duration) {
        self.shared.desk.retry(&delivery.stream, delivery.id, delay, delivery.deliveries);
    }

    /// It goes to the dead letters: `reason` in one word, `error` in words.
    pub fn reject(&self, delivery: &Delivery, reason: &'static str, error: &str) {
        self.shared.desk.bury(&delivery.stream, delivery.id, reason, error, delivery.deliveries);
    }

    /// How the consumer was set up.
    pub fn config(&self) -> &ConsumerConfig {
        &self.shared.config
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn member(&self) -> Member<'_> {
        Member { group: &self.config.group, consumer: &self.consumer }
    }

    /// The shared name of one of our streams.
    pub(super) fn stream(&self, name: &str) -> Option<Arc<str>> {
        self.streams.iter().find(|stream| &***stream == name).cloned()
    }

    pub(super) async fn create_groups(&self, connection: &Connection) -> Result<(), StreamError> {
        for stream in &self.config.streams {
            connection.create_group(stream, &self.config.group, &self.config.start).await?;
        }
        Ok(())
    }
}
