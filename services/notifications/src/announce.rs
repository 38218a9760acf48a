//! All replicas are told of a notification, by a stream of its own, once it is stored.
//!
//! Who stores a notification announces it at once. What a crash or an outage leaves unannounced is found again in the
//! table ([`Announcer::sweep`]); an announcement may so be made twice, and whoever hears it skips the second.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use synapse_database::DatabaseError;
use synapse_rs::{
    Publisher, RedisSettings, backoff::Backoff, publisher::PublisherConfig, shutdown::Shutdown,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use uuid::Uuid;

use crate::{
    metrics,
    notification::{Notification, now_ms},
    store::{Mark, Store},
};

/// The stream by which replicas hear of notifications.
pub const STREAM: &str = "synapse:notifications";
/// How many announcements it keeps.
const KEPT: u64 = 10_000;
/// How often the table is looked through for what nobody has announced.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// What is younger may be on its way by whoever stored it.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// How long marks are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// Marks that may wait while the database does not answer.
const MAX_UNWRITTEN: usize = 65_536;
/// Marks that are written by one change.
const MARKS_AT_ONCE: usize = 500;

/// Announces notifications, and notes in the table what happened to them.
#[derive(Debug)]
pub struct Announcer {
    publisher: Publisher,
    /// On their way to Redis.
    on_the_way: Arc<Mutex<HashSet<Uuid>>>,
    marks: Marks,
}

/// Where it is said what happened to notifications; written soon.
#[derive(Clone, Debug)]
pub struct Marks(mpsc::Sender<Said>);

/// What was said.
#[derive(Debug)]
pub enum Said {
    /// This happened to a notification.
    Mark(Uuid, Mark),
    /// Of a user's notifications those up to this one are not shown any more.
    PassedOver(String, i64),
    /// Nothing more will be said.
    Finished,
}

/// What was said and is not written yet.
pub type Unwritten = mpsc::Receiver<Said>;

impl Marks {
    /// Nothing was said yet.
    pub fn new() -> (Self, Unwritten) {
        let (sender, receiver) = mpsc::channel(MAX_UNWRITTEN);
        (Self(sender), receiver)
    }

    /// Says what happened to a notification. Without it the notification is announced, or shown, once more: so it is
    /// left out where too much waits, or nobody listens any more.
    pub fn say(&self, id: Uuid, mark: Mark) {
        self.try_say(Said::Mark(id, mark));
    }

    /// Says that a user's notifications up to this one are left to the inbox.
    pub fn pass_over(&self, user: String, sequence: i64) {
        self.try_say(Said::PassedOver(user, sequence));
    }

    fn try_say(&self, said: Said) {
        if self.0.try_send(said).is_err() {
            metrics::mark_left_out();
        }
    }

    /// Nothing more will be said.
    pub async fn finish(&self) {
        // Nobody listens any more: then it is finished.
        let _ = self.0.send(Said::Finished).await;
    }
}

impl Announcer {
    /// Nothing is connected yet.
    pub fn new(redis: RedisSettings, marks: Marks) -> Arc<Self> {
        let config = PublisherConfig {
            source: "synapse-notifications".to_owned(),
            maxlen: KEPT,
            queue_events: 100_000,
            ..PublisherConfig::default()
        };
        Arc::new(Self { publisher: Publisher::start(redis, config), on_the_way: Arc::default(), marks })
    }

    /// Tells all replicas; returns at once. What can't be told now is found by [`Announcer::sweep`].
    pub fn announce(&self, notification: &Notification) {
        let id = notification.id;
        if !self.on_the_way.lock().insert(id) {
            return;
        }
        match self.publisher.send(STREAM, &notification.to_event()) {
            Ok(receipt) => {
                let (on_the_way, marks) = (self.on_the_way.clone(), self.marks.clone());
                receipt.on_settled(move |outcome| {
                    on_the_way.lock().remove(&id);
                    match outcome {
                        Ok(_) => marks.say(id, Mark::Announced),
                        Err(error) => {
                            metrics::announce_failed();
                            tracing::warn!(%error, %id, "a notification was not announced; it will be again");
                        }
                    }
                });
            }
            Err(error) => {
                self.on_the_way.lock().remove(&id);
                metrics::announce_failed();
                tracing::debug!(%error, %id, "a notification is announced later");
            }
        }
    }

    /// Announces what a crash or an outage has left, until `shutdown`.
    pub async fn sweep(self: Arc<Self>, store: Store, shutdown: Shutdown) {
        // Alone, nobody else can be about to announce what is there at the start.
        let mut left_alone = if store.is_alone() { Duration::ZERO } else { LEFT_ALONE };
        let mut beat = interval(SWEEP_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
            let before_ms = now_ms() - i64::try_from(left_alone.as_millis()).unwrap_or(i64::MAX);
            match shutdown.run_until_cancelled(self.announce_left(&store, before_ms)).await {
                Some(Ok(())) => left_alone = LEFT_ALONE,
                Some(Err(error)) => {
                    metrics::database_failed("sweep");
                    tracing::debug!(%error, "the table can't be looked through");
                }
                None => return,
            }
        }
    }

    async fn announce_left(&self, store: &Store, before_ms: i64) -> Result<(), DatabaseError> {
        let mut place = Some(0);
        while let Some(after) = place {
            let left;
            (left, place) = store.unannounced(before_ms, after).await?;
            for notification in &left {
                self.announce(notification);
            }
        }
        Ok(())
    }

    /// Has Redis take what is on its way; nothing is announced after.
    pub async fn close(&self, patience: Duration) {
        if let Err(error) = self.publisher.close(patience).await {
            tracing::info!(%error, "some notifications are announced after the next start");
        }
        self.marks.finish().await;
    }
}

/// Writes what was said into the table, until it is finished.
pub async fn write_marks(store: Store, mut unwritten: Unwritten, shutdown: Shutdown) {
    let (mut said, mut is_finished) = (Vec::new(), false);
    while !is_finished {
        said.clear();
        if unwritten.recv_many(&mut said, MARKS_AT_ONCE).await == 0 {
            return;
        }
        // Together with what is said soon: each write would hold up a notification that is to be stored.
        let _ = timeout(GATHER, async { while gather(&mut unwritten, &mut said).await {} }).await;
        let (mut announced, mut delivered) = (Vec::new(), Vec::new());
        for said in &said {
            match said {
                Said::Mark(id, Mark::Announced) => announced.push(*id),
                Said::Mark(id, Mark::Delivered) => delivered.push(*id),
                Said::PassedOver(user, sequence) => pass_over(&store, user, *sequence, &shutdown).await,
                Said::Finished => is_finished = true,
            }
        }
        tokio::join!(
            write_mark(&store, &announced, Mark::Announced, &shutdown),
            write_mark(&store, &delivered, Mark::Delivered, &shutdown),
        );
    }
}

/// Whether more is to be waited for.
async fn gather(unwritten: &mut Unwritten, said: &mut Vec<Said>) -> bool {
    let is_open = unwritten.recv_many(said, MARKS_AT_ONCE).await > 0;
    is_open && said.len() < MARKS_AT_ONCE && !said.iter().any(|said| matches!(said, Said::Finished))
}

async fn write_mark(store: &Store, ids: &[Uuid], mark: Mark, shutdown: &Shutdown) {
    if ids.is_empty() {
        return;
    }
    let mut backoff = Backoff::default();
    while let Err(error) = store.mark(ids, mark).await {
        metrics::database_failed("mark");
        if !error.is_transient() || shutdown.is_cancelled() {
            tracing::warn!(
                %error, count = ids.len(), ?mark,
                "what happened to notifications is not written; they are announced, or shown, once more"
            );
            return;
        }
        shutdown.run_until_cancelled(sleep(backoff.next_delay())).await;
    }
    if mark == Mark::Announced {
        metrics::announced(ids.len());
    }
}

async fn pass_over(store: &Store, user: &str, sequence: i64, shutdown: &Shutdown) {
    while !shutdown.is_cancelled() {
        match store.pass_over(user.to_owned(), sequence).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                metrics::database_failed("pass over");
                tracing::debug!(%error, "older notifications may be shown at the next connection");
                return;
            }
        }
    }
}
