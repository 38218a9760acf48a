use std::{any::Any, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    task::{JoinSet, coop::consume_budget},
    time::{Instant, sleep, timeout},
};
use tracing::error;

use super::{ConsumeError, ConsumerConfig, Delivery, Settler, Subscription};
use crate::{config::RedisSettings, shutdown::Shutdown};

/// What a handler says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Handled: acknowledge it.
    Done,
    /// It failed this time: deliver it again, later, up to `max_deliveries` times.
    Failed(String),
    /// It will never work: to the dead letters at once.
    Permanent(String),
    /// What the handler needs is not there, for example its database: hand nothing out for so long and try again,
    /// without counting an attempt.
    Unavailable(Duration),
}

/// Handles events.
pub trait Handler: Send + Sync {
    /// Handles one event; may be called with the same event again.
    fn handle(&self, delivery: &Delivery) -> impl Future<Output = Answer> + Send;
}

/// Hands the events of a group's streams to a handler, `concurrency` at a time.
///
/// A handler that panics or takes too long has failed at that event; the others go on.
#[derive(Debug)]
pub struct ConsumerRuntime<H> {
    settings: RedisSettings,
    config: ConsumerConfig,
    handler: H,
}

impl<H: Handler + 'static> ConsumerRuntime<H> {
    /// A runtime; nothing is connected yet.
    pub fn new(settings: RedisSettings, config: ConsumerConfig, handler: H) -> Self {
        Self { settings, config, handler }
    }

    /// Handles events until `shutdown`; then finishes and acknowledges what handlers have, gives back the rest and
    /// leaves the group.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), ConsumeError> {
        let concurrency = self.config.concurrency;
        let subscription = Arc::new(Subscription::open_with_thread(self.settings, self.config).await?);
        let handler = Arc::new(self.handler);
        let mut workers = JoinSet::new();
        for _ in 0..concurrency {
            let worker = Worker {
                settler: subscription.settler(),
                subscription: subscription.clone(),
                handler: handler.clone(),
                shutdown: shutdown.clone(),
            };
            workers.spawn(worker.run());
        }
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended {
                error!(%error, "a worker broke; the events it had are given back");
            }
        }
        if let Some(subscription) = Arc::into_inner(subscription) {
            subscription.close().await;
        }
        Ok(())
    }
}

/// Handles one event after the other.
struct Worker<H> {
    settler: Settler,
    subscription: Arc<Subscription>,
    handler: Arc<H>,
    shutdown: Shutdown,
}

impl<H: Handler> Worker<H> {
    async fn run(self) {
        while !self.shutdown.is_cancelled() {
            let next = self.subscription.next(1);
            let Some(Some(batch)) = self.shutdown.run_until_cancelled(next).await else { return };
            for delivery in batch {
                self.handle(&delivery).await;
            }
            // With events always at hand it would never wait, and nobody else get to run.
            consume_budget().await;
        }
    }

    async fn handle(&self, delivery: &Delivery) {
        loop {
            match self.attempt(delivery).await {
                Answer::Done => return self.settler.ack(delivery),
                Answer::Permanent(error) => return self.settler.reject(delivery, "rejected", error),
                Answer::Failed(error) => return self.settler.fail(delivery, error, None),
                Answer::Unavailable(retry_after) => {
                    self.settler.pause(retry_after);
                    if self.shutdown.run_until_cancelled(sleep(retry_after)).await.is_none() {
                        // Given back with the rest.
                        return;
                    }
                }
            }
        }
    }

    /// One call of the handler, within its time, its panics caught.
    async fn attempt(&self, delivery: &Delivery) -> Answer {
        let begin = Instant::now();
        // Called within, for it may panic before there is anything to await.
        let call = AssertUnwindSafe(async { self.handler.handle(delivery).await }).catch_unwind();
        let answer = match self.settler.config().handler_timeout {
            None => call.await,
            Some(limit) => timeout(limit, call)
                .await
                .unwrap_or_else(|_| Ok(Answer::Failed(format!("the handler took longer than {limit:?}")))),
        };
        self.settler.handled_in(delivery, begin.elapsed());
        answer
            .unwrap_or_else(|panic| Answer::Failed(format!("the handler panicked: {}", panic_text(&*panic))))
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
