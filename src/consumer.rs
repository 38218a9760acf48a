//! Consuming: entries are read as a member of a consumer group, decoded and handed over, at least once.
//!
//! A [`Subscription`] hands out batches of [`Delivery`] and takes back what became of each. A
//! [`ConsumerRuntime`] drives a [`Handler`] with one. In both, an entry is acknowledged after it was
//! handled, never before; what can't be decoded goes to the dead letters with the reason, and the
//! reader goes on.
//!
//! * [`subscription`]: opens, hands out, closes.
//! * [`poll`]: the task that reads; it owns the blocking connection.
//! * [`settle`]: the task that acknowledges, gives back, retries and moves to the dead letters, in batches.
//! * [`in_hand`]: what was read and is not settled.

mod in_hand;
mod poll;
mod settle;
mod subscription;

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use metrics::counter;

use crate::{
    backoff::Backoff,
    config::RedisSettings,
    event::Event,
    shutdown::Shutdown,
    stream::{EntryId, StreamError},
};

pub use subscription::{Settler, Subscription};

/// How a consumer reads and what it does about failures.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// The consumer group; created with its stream where it is missing.
    pub group: String,
    /// The streams to read.
    pub streams: Vec<String>,
    /// Where a group that is created begins: an entry id, `0` for the stream's beginning, `$` for its end. Default `0`.
    pub start: String,
    /// At most this many entries are read at once. Default 500.
    pub batch: usize,
    /// An entry that nobody has touched for so long is taken over from its consumer. Default 30 s.
    pub min_idle: Duration,
    /// After this many failed deliveries an entry goes to the dead letters. Default 5.
    pub max_deliveries: u32,
    /// The first and the longest delay before a failed entry is delivered again. Default 100 ms and 30 s.
    pub backoff: (Duration, Duration),
    /// How many events a [`ConsumerRuntime`] handles at once. Default 1.
    pub concurrency: usize,
    /// A handler that takes longer has failed. Default: no limit.
    pub handler_timeout: Option<Duration>,
}

impl ConsumerConfig {
    /// A member of `group` on `streams`, with the defaults.
    pub fn new(group: impl Into<String>, streams: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            group: group.into(),
            streams: streams.into_iter().map(Into::into).collect(),
            start: "0".to_owned(),
            batch: 500,
            min_idle: Duration::from_secs(30),
            max_deliveries: 5,
            backoff: (Duration::from_millis(100), Duration::from_secs(30)),
            concurrency: 1,
            handler_timeout: None,
        }
    }
}

/// Why a consumer could not begin.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsumeError {
    /// A setting can't work.
    #[error("{setting}: {reason}")]
    InvalidSetting {
        /// Which one.
        setting: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// Redis could not be reached, or refused to create the group.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// One event of an entry that is ours to handle.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The stream it is on.
    pub stream: Arc<str>,
    /// Its entry.
    pub id: EntryId,
    /// How often it was delivered, this time included; of entries taken over from another consumer at least 2.
    pub deliveries: u32,
    /// What it says.
    pub event: Event,
}

/// What a handler says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Handled: acknowledge it.
    Done,
    /// It failed this time: deliver it again, later, up to `max_deliveries` times.
    Failed(String),
    /// It will never work: to the dead letters at once.
    Permanent(String),
    /// What the handler needs is not there, for example its database: wait and try again, without counting an attempt.
    Unavailable(Duration),
}

/// Handles events.
pub trait Handler: Send + Sync {
    /// Handles one event; may be called with the same event again.
    fn handle(&self, delivery: &Delivery) -> impl Future<Output = Answer> + Send;
}

/// Hands the events of a group's streams to a handler.
///
/// A handler that panics or takes too long has failed at that event; the others go on.
#[derive(Debug)]
pub struct ConsumerRuntime<H> {
    settings: RedisSettings,
    config: ConsumerConfig,
    handler: H,
}

impl<H: Handler> ConsumerRuntime<H> {
    /// A runtime; nothing is connected yet.
    pub fn new(settings: RedisSettings, config: ConsumerConfig, handler: H) -> Self {
        Self { settings, config, handler }
    }

    /// Handles events until `shutdown`; then finishes and acknowledges what is in hand.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), ConsumeError> {
        let mut subscription = Subscription::open(self.settings.clone(), self.config.clone()).await?;
        let (this, shutdown) = (&self, &shutdown);
        while let Some(Some(batch)) = shutdown.run_until_cancelled(subscription.next()).await {
            let settler = subscription.settler();
            let work = stream::iter(batch).for_each_concurrent(self.config.concurrency.max(1), |delivery| {
                let settler = settler.clone();
                async move { this.handle(delivery, &settler, shutdown).await }
            });
            work.await;
        }
        subscription.close().await;
        Ok(())
    }

    async fn handle(&self, delivery: Delivery, settler: &Settler, shutdown: &Shutdown) {
        loop {
            if shutdown.is_cancelled() {
                return settler.release(&delivery);
            }
            match self.attempt(&delivery).await {
                Answer::Done => return settler.ack(&delivery),
                Answer::Permanent(reason) => return settler.reject(&delivery, "rejected", &reason),
                Answer::Failed(reason) => return self.retry(&delivery, settler, &reason),
                Answer::Unavailable(retry_after) => {
                    let _ = shutdown.run_until_cancelled(tokio::time::sleep(retry_after)).await;
                }
            }
        }
    }

    /// One call of the handler, within its time, its panics caught.
    async fn attempt(&self, delivery: &Delivery) -> Answer {
        let call = AssertUnwindSafe(self.handler.handle(delivery)).catch_unwind();
        let answer = match self.config.handler_timeout {
            None => call.await,
            Some(limit) => match tokio::time::timeout(limit, call).await {
                Ok(answer) => answer,
                Err(_) => return Answer::Failed(format!("the handler took longer than {limit:?}")),
            },
        };
        answer
            .unwrap_or_else(|panic| Answer::Failed(format!("the handler panicked: {}", panic_text(&*panic))))
    }

    fn retry(&self, delivery: &Delivery, settler: &Settler, reason: &str) {
        if delivery.deliveries >= self.config.max_deliveries {
            return settler.reject(delivery, "max_deliveries", reason);
        }
        counter!("synapse_consumer_retries_total", "stream" => delivery.stream.to_string()).increment(1);
        settler.retry(delivery, retry_delay(self.config.backoff, delivery.deliveries));
    }
}

/// A delay for the attempt after this many deliveries, drawn from a range that doubles with each.
pub(crate) fn retry_delay((first, limit): (Duration, Duration), deliveries: u32) -> Duration {
    Backoff::new(first, limit).ceiling(deliveries.saturating_sub(1)).mul_f64(0.5 + fastrand::f64() / 2.0)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
