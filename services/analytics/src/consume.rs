//! Events become samples: stored first, then acknowledged.
//!
//! Several batches are on their way at once, so that reading, encoding and the store overlap. While the store is away what
//! is in hand is kept, and reading rests; the entries stay ours, for they are renewed.

mod batch;
mod told;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use synapse_chassis::health::Condition;
use synapse_rs::{
    RedisSettings,
    backoff::Backoff,
    consumer::{ConsumerConfig, Settler, Subscription},
    shutdown::Shutdown,
    stream::{INFERENCE_EVENTS, TRAINING_EVENTS},
};
use tokio::time::{sleep, timeout};

use crate::{
    metrics,
    store::{Store, StoreError},
};

use batch::Batch;
use told::Told;

/// The group that reads, shared with older services while a deployment changes over.
pub const GROUP: &str = "analytics-service";
/// The streams that are read.
pub const STREAMS: [&str; 2] = [INFERENCE_EVENTS, TRAINING_EVENTS];
/// How long it is rested while the store is away, at first and at most.
const REST: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// The part of the grace in which batches on their way still get to the store.
const STORING_OF_GRACE: f64 = 0.5;

/// How events are read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// How many events are stored at once at most.
    pub batch: usize,
    /// How many batches are on their way at once.
    pub batches: usize,
    /// How many bytes of events may be in memory.
    pub in_hand_bytes: usize,
}

/// Stores what events say.
#[derive(Debug)]
pub struct Storing<S> {
    store: Arc<S>,
    reading: Reading,
    told: Told,
    /// Whether the store was away at the last batch.
    is_away: AtomicBool,
}

impl<S: Store> Storing<S> {
    /// Into this store.
    pub fn new(store: Arc<S>, reading: Reading) -> Self {
        Self { store, reading, told: Told::default(), is_away: AtomicBool::new(false) }
    }

    /// Stores until `shutdown`, then finishes what is on its way, within its part of `grace`. It ends before that only if
    /// reading has ended by itself.
    pub async fn run(self, redis: RedisSettings, ready: Condition, shutdown: Shutdown, grace: Duration) {
        let Some(subscription) = self.subscribe(&redis, &ready, &shutdown).await else { return };
        ready.met();
        self.work_until(&subscription, &shutdown, grace.mul_f64(STORING_OF_GRACE)).await;
        self.told.tell_now();
        subscription.close().await;
    }

    /// Works until `shutdown` and then until what is in hand is stored or the grace is over; or until reading ends itself.
    async fn work_until(&self, subscription: &Subscription, shutdown: &Shutdown, grace: Duration) {
        let mut workers =
            pin!(join_all((0..self.reading.batches).map(|_| self.work(subscription, shutdown))));
        tokio::select! {
            _ = &mut workers => return,
            () = self.told.tell(shutdown) => {}
        }
        if timeout(grace, workers).await.is_err() {
            tracing::warn!("a batch was not stored in time; its events are given back");
        }
    }

    /// Joins the group, once Redis answers.
    async fn subscribe(
        &self,
        redis: &RedisSettings,
        ready: &Condition,
        shutdown: &Shutdown,
    ) -> Option<Subscription> {
        let mut backoff = Backoff::default();
        loop {
            let config = ConsumerConfig {
                batch: self.reading.batch,
                max_in_hand_bytes: self.reading.in_hand_bytes,
                ..ConsumerConfig::new(GROUP, STREAMS)
            };
            match shutdown.run_until_cancelled(Subscription::open(redis.clone(), config)).await? {
                Ok(subscription) => return Some(subscription),
                Err(error) => {
                    if backoff.attempts() == 0 {
                        tracing::warn!(%error, group = GROUP, "events can't be read yet");
                    }
                    ready.waiting_because(error.to_string());
                }
            }
            shutdown.run_until_cancelled(sleep(backoff.next_delay())).await?;
        }
    }

    /// Takes batches one after the other and stores them.
    async fn work(&self, subscription: &Subscription, shutdown: &Shutdown) {
        let settler = subscription.settler();
        let next = || shutdown.run_until_cancelled(subscription.next(self.reading.batch));
        while let Some(Some(deliveries)) = next().await {
            let batch = Batch::read(deliveries, &settler, &self.told);
            if !self.store_all(batch, &settler, shutdown).await {
                return;
            }
        }
    }

    /// Stores a batch, however long the store is away; `false` if the service leaves before that.
    async fn store_all(&self, mut batch: Batch<'_>, settler: &Settler, shutdown: &Shutdown) -> bool {
        let mut backoff = Backoff::new(REST.0, REST.1);
        while !batch.is_empty() {
            let obstacle = match self.store.write(&batch.samples).await {
                Ok(written) => batch.settle(written),
                Err(error) => Some(error),
            };
            let Some(obstacle) = obstacle else {
                self.came_back();
                return true;
            };
            self.went_away(&obstacle);
            let rest = backoff.next_delay();
            let rest = match obstacle {
                StoreError::Unavailable { retry_after: Some(after), .. } => after.max(rest),
                _ => rest,
            };
            settler.pause(rest);
            if shutdown.run_until_cancelled(sleep(rest)).await.is_none() {
                return false;
            }
        }
        true
    }

    fn went_away(&self, obstacle: &StoreError) {
        metrics::store_failed("write");
        if self.is_away.swap(true, Ordering::Relaxed) {
            tracing::debug!(error = %obstacle, "events still can't be stored");
            return;
        }
        metrics::store_away(true);
        if matches!(obstacle, StoreError::Failed(_)) {
            tracing::error!(error = %obstacle, "events can't be stored; they wait, and reading rests until they can");
        } else {
            tracing::warn!(error = %obstacle, "events can't be stored; they wait, and reading rests until they can");
        }
    }

    fn came_back(&self) {
        if self.is_away.swap(false, Ordering::Relaxed) {
            metrics::store_away(false);
            tracing::info!("events can be stored again");
        }
    }
}

/// How long ago an entry of this time in milliseconds since 1970 was.
fn age(ms: u64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(ms))
}
