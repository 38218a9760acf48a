//! How committed events get to Redis: in the order of their commits per task, each at least once, under one `event_id`.
//!
//! The invariant: an event is marked only after Redis has acknowledged it, so that a crash anywhere loses nothing; and
//! within a task no event is sent before all earlier ones of it were acknowledged or sent. One replica publishes at a time.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use synapse_chassis::service::Service;
use synapse_database::{
    AnyConnection, Change, Database, DatabaseError, Refusable, Row as _, WriteError, sqlx,
};
use synapse_rs::{
    Event, Publisher,
    backoff::Backoff,
    publisher::{PublisherConfig, Receipt},
    shutdown::Shutdown,
};
use tokio::{
    sync::Notify,
    time::{interval, sleep},
};

use crate::{
    event::{SOURCE, STREAM},
    metrics,
    settings::Settings,
    task::now,
};

/// Events that are sent together.
const BATCH: i64 = 500;
/// How often a replica looks for what others have committed, and whether it is its turn.
const LOOK: Duration = Duration::from_millis(100);
const TURN: Duration = Duration::from_secs(1);
/// How long is waited after Redis or the database has said no.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const GAUGES: Duration = Duration::from_secs(5);
const SWEEP: Duration = Duration::from_mins(10);
/// Rows that are swept away at once.
const SWEPT: i64 = 1_000;
/// The part of the grace in which events on their way still get to Redis.
const PUBLISHING_OF_GRACE: f64 = 0.5;

/// Starts what publishes, what counts and what sweeps.
pub fn spawn(settings: &Settings, database: &Database, committed: &Arc<Notify>, service: &Service) {
    let config = PublisherConfig { source: SOURCE.to_owned(), ..PublisherConfig::default() };
    let relay = Relay {
        publisher: Publisher::start(service.common.redis.clone(), config),
        database: database.clone(),
        committed: committed.clone(),
        shutdown: service.shutdown.clone(),
    };
    service.spawn("relay", relay.run(service.common.shutdown_grace));
    let (counted, shutdown) = (database.clone(), service.shutdown.clone());
    service.spawn("gauges", async move { count(counted, shutdown).await });
    let (swept, shutdown, age) = (database.clone(), service.shutdown.clone(), settings.remember);
    service.spawn("sweep", async move { sweep(swept, shutdown, age).await });
}

struct Relay {
    publisher: Publisher,
    database: Database,
    committed: Arc<Notify>,
    shutdown: Shutdown,
}

/// An event that waits.
struct Waiting {
    seq: i64,
    event: Event,
}

/// Why a round ended before everything was published.
#[derive(Debug, thiserror::Error)]
enum Setback {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("redis refuses an event: {0}")]
    Refused(String),
}

impl Relay {
    /// Publishes until the service leaves and nothing waits any more, or its time is up.
    async fn run(self, grace: Duration) {
        let time_is_up = async {
            self.shutdown.cancelled().await;
            sleep(grace.mul_f64(PUBLISHING_OF_GRACE)).await;
        };
        tokio::select! {
            () = self.take_turns() => {}
            () = time_is_up => tracing::info!("what waits is published after the next start, under the same event_id"),
        }
        // Everything that was acknowledged is marked; of what was not, nothing is lost.
        let _ = self.publisher.close(Duration::ZERO).await;
    }

    async fn take_turns(&self) {
        let mut pauses = Backoff::new(PAUSE.0, PAUSE.1);
        loop {
            let pause = match self.work(&mut pauses).await {
                Ok(()) => TURN,
                Err(setback) => {
                    if pauses.attempts() == 0 {
                        tracing::warn!(error = %setback, "events of tasks wait to be published");
                    }
                    pauses.next_delay()
                }
            };
            if self.shutdown.is_cancelled() {
                return;
            }
            self.shutdown.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Publishes for as long as it is our turn.
    async fn work(&self, pauses: &mut Backoff) -> Result<(), Setback> {
        let Some(mut lease) = self.database.lease("synapse_tasks.outbox").await? else { return Ok(()) };
        while lease.is_held().await {
            // Whoever commits from here on is seen in this round or wakes us for the next.
            let committed = self.committed.notified();
            let mut committed = std::pin::pin!(committed);
            committed.as_mut().enable();
            if self.round().await? > 0 {
                pauses.reset();
                continue;
            }
            if self.shutdown.is_cancelled() {
                break;
            }
            // Other replicas don't wake us.
            let look = if self.database.is_sqlite() { Duration::MAX } else { LOOK };
            let more = tokio::time::timeout(look, committed);
            self.shutdown.run_until_cancelled(more).await;
        }
        Ok(())
    }

    /// Publishes what waits; how many there were.
    async fn round(&self) -> Result<usize, Setback> {
        let waiting = self.database.read(waiting).await?;
        let mut sent = Vec::with_capacity(waiting.len());
        for Waiting { seq, event } in waiting {
            sent.push((seq, self.send(&event).await));
        }
        let (mut published, mut setback) = (Vec::with_capacity(sent.len()), None);
        for (seq, receipt) in sent {
            let delivered = match receipt {
                Ok(receipt) => receipt.await.map(drop).map_err(|error| error.to_string()),
                Err(refused) => Err(refused),
            };
            match delivered {
                Ok(()) => published.push(seq),
                Err(refused) => {
                    metrics::refused();
                    setback.get_or_insert(Setback::Refused(refused));
                }
            }
        }
        let count = published.len();
        if count > 0 {
            self.database.write(Mark(published)).await.map_err(|error| match error {
                WriteError::Refused(never) => match never {},
                WriteError::Database(error) => error,
            })?;
            metrics::published(count);
        }
        setback.map_or(Ok(count), Err)
    }

    async fn send(&self, event: &Event) -> Result<Receipt, String> {
        use synapse_rs::publisher::PublishError::QueueFull;
        loop {
            match self.publisher.send(STREAM, event) {
                Ok(receipt) => return Ok(receipt),
                Err(QueueFull(full)) => {
                    self.publisher.room(full, None).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// The oldest events that are not published.
async fn waiting(connection: &mut AnyConnection) -> Result<Vec<Waiting>, sqlx::Error> {
    const OLDEST: &str = "SELECT seq, event FROM outbox WHERE published_at IS NULL ORDER BY seq LIMIT $1";
    let rows = sqlx::query(OLDEST).bind(BATCH).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let text: String = row.try_get("event")?;
            let fields: Map<String, Value> =
                serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(error.into()))?;
            Ok(Waiting { seq: row.try_get("seq")?, event: Event::from(fields) })
        })
        .collect()
}

/// Events that Redis has.
struct Mark(Vec<i64>);

impl Change for Mark {
    type Output = ();
    type Refusal = std::convert::Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<(), Refusable<Self::Refusal>> {
        // By number, each of them: of two commits at once the later number may be seen first.
        let numbers: Vec<_> = self.0.iter().map(i64::to_string).collect();
        let statement = format!("UPDATE outbox SET published_at = $1 WHERE seq IN ({})", numbers.join(","));
        sqlx::query(sqlx::AssertSqlSafe(statement)).persistent(false).bind(now()).execute(connection).await?;
        Ok(())
    }
}

/// Keeps the gauges of what waits.
async fn count(database: Database, shutdown: Shutdown) {
    const WAITING: &str =
        "SELECT COUNT(*) AS events, MIN(created_at) AS oldest FROM outbox WHERE published_at IS NULL";
    let mut beat = interval(GAUGES);
    while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
        let counted = database.read(async |connection| {
            let row = sqlx::query(WAITING).fetch_one(connection).await?;
            Ok((row.try_get::<i64, _>("events")?, row.try_get::<Option<i64>, _>("oldest")?))
        });
        if let Ok((events, oldest)) = counted.await {
            metrics::waiting(events, oldest.map_or(0, |oldest| now().saturating_sub(oldest).max(0)));
        }
    }
}

/// Removes what has been published, and what was answered, longer ago than `age`.
async fn sweep(database: Database, shutdown: Shutdown, age: Duration) {
    let mut beat = interval(SWEEP);
    while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
        let before = now().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        // In pieces, so that others get their turn.
        while let Ok(1..) = database.write(Sweep { before }).await {
            if shutdown.is_cancelled() {
                return;
            }
        }
    }
}

struct Sweep {
    before: i64,
}

impl Change for Sweep {
    type Output = u64;
    type Refusal = std::convert::Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<u64, Refusable<Self::Refusal>> {
        const EVENTS: &str = "DELETE FROM outbox WHERE seq IN \
                              (SELECT seq FROM outbox WHERE published_at < $1 ORDER BY published_at LIMIT $2)";
        const ANSWERS: &str = "DELETE FROM answers WHERE (asker, idempotency_key) IN \
                               (SELECT asker, idempotency_key FROM answers WHERE created_at < $1 LIMIT $2)";
        let mut swept = 0;
        for statement in [EVENTS, ANSWERS] {
            let done = sqlx::query(statement).bind(self.before).bind(SWEPT).execute(&mut *connection).await?;
            swept += done.rows_affected();
        }
        Ok(swept)
    }
}
