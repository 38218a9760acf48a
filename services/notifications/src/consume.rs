//! Events become notifications: stored first, then acknowledged and announced.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use synapse_rs::{
    RedisSettings,
    backoff::Backoff,
    consumer::{Answer, ConsumeError, ConsumerConfig, ConsumerRuntime, Delivery, Handler},
    shutdown::Shutdown,
};
use tokio::sync::Notify;

use crate::{announce::Announcer, metrics, notification::Notification, push, rules, store::Store};

/// The group that reads, shared with older services while a deployment changes over.
pub const GROUP: &str = "notification-service";
/// How long reading rests while the database does not answer.
const REST: Duration = Duration::from_secs(1);
/// A reader that ran for so long was well.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Stores what events become.
#[derive(Clone, Debug)]
pub struct Storing {
    /// Where.
    pub store: Store,
    /// Tells all replicas.
    pub announcer: Arc<Announcer>,
    /// Woken when there is something to push.
    pub pushes: Arc<Notify>,
    /// How old an event may be and still be shown at once.
    pub max_age: Duration,
    /// Whether the database was away at the last event.
    pub is_away: Arc<AtomicBool>,
}

impl Handler for Storing {
    async fn handle(&self, delivery: &Delivery) -> Answer {
        let notification = match Notification::of(delivery, SystemTime::now(), self.max_age) {
            Ok(Some(notification)) => notification,
            Ok(None) => return Answer::Done,
            Err(error) => {
                metrics::unfit();
                tracing::warn!(stream = &*delivery.stream, id = %delivery.id, %error, "an event tells nobody anything");
                return Answer::Done;
            }
        };
        let push = notification.is_live.then(|| push::message::of(&notification));
        match self.store.insert(notification.clone(), push).await {
            Ok(stored) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!("notifications are stored again");
                }
                if !stored.is_new {
                    metrics::repeated();
                    return Answer::Done;
                }
                metrics::made(&notification.title, notification.is_live);
                if notification.is_live {
                    self.announcer.announce(&notification);
                }
                if stored.pushes > 0 {
                    self.pushes.notify_one();
                }
                Answer::Done
            }
            Err(error) if error.is_transient() => {
                metrics::database_failed("store");
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "notifications can't be stored; reading rests until they can");
                }
                Answer::Unavailable(REST)
            }
            Err(error) => Answer::Failed(error.to_string()),
        }
    }
}

impl Storing {
    /// Stores until `shutdown`, then finishes what is in hand.
    pub async fn run(self, redis: RedisSettings, concurrency: usize, shutdown: Shutdown) {
        let mut backoff = Backoff::default();
        loop {
            let config = ConsumerConfig {
                concurrency,
                // What one user is told comes in the order in which it happened.
                ordered_by: Some("user_id".to_owned()),
                ..ConsumerConfig::new(GROUP, rules::streams())
            };
            let began = Instant::now();
            let runtime = ConsumerRuntime::new(redis.clone(), config, self.clone());
            match runtime.run(shutdown.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    if began.elapsed() > HEALTHY_AFTER {
                        backoff.reset();
                    }
                    if backoff.attempts() == 0 {
                        tracing::warn!(%error, group = GROUP, "events can't be read yet");
                    }
                    debug_assert!(matches!(error, ConsumeError::Stream(_)), "the settings are fixed ones");
                }
            }
            let pause = tokio::time::sleep(backoff.next_delay());
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }
}
