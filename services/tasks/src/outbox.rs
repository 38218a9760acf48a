//! How committed events get to Redis: in the order of their commits per task, each at least once, under one `event_id`.
//!
//! The invariants: an event is marked only after Redis has acknowledged it, so that a crash anywhere loses nothing; and
//! of a task's events one at a time is on its way, the next only once the last is acknowledged, so that what Redis
//! refuses for a while does not fall behind what it takes afterwards. One replica publishes at a time.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    time::Duration,
};

use futures_util::StreamExt as _;
use serde_json::{Map, Value};
use synapse_chassis::service::Service;
use synapse_database::{AnyConnection, Change, Database, DatabaseError, Refusable, Row as _, Turn, sqlx};
use synapse_rs::{
    Event, Publisher,
    backoff::Backoff,
    publisher::{PublisherConfig, Receipt},
    shutdown::Shutdown,
};
use tokio::time::{interval, sleep, timeout};

use crate::{
    event::{SOURCE, STREAM},
    metrics,
    settings::Settings,
    task::now,
};

/// Events that are sent together.
const BATCH: i64 = 500;
/// And so many bytes of them; what is read from them takes up to forty times as much.
const BATCH_BYTES: usize = 1 << 20;
/// Events that are marked by one statement.
const MARKED: usize = 500;
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
pub fn spawn(settings: &Settings, database: &Database, service: &Service) {
    let config = PublisherConfig { source: SOURCE.to_owned(), ..PublisherConfig::default() };
    let relay = Relay {
        publisher: Publisher::start(service.common.redis.clone(), config),
        database: database.clone(),
        shutdown: service.shutdown.clone(),
        served: service.served.clone(),
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
    shutdown: Shutdown,
    /// Nobody commits anything any more.
    served: Shutdown,
}

/// An event that waits.
struct Waiting {
    seq: i64,
    task: String,
    event: Result<Event, serde_json::Error>,
}

/// Why a round ended before everything was published.
#[derive(Debug, thiserror::Error)]
enum Setback {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("redis refuses event {seq} of the task {task:?}: {reason}")]
    Refused { seq: i64, task: String, reason: String },
    #[error(
        "event {seq} of the task {task:?} can't be read, and holds up those behind it: {reason}; mend or remove it in the table outbox"
    )]
    Unreadable { seq: i64, task: String, reason: String },
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
        let (mut turn, mut told) = (self.database.turn("synapse_tasks.outbox"), String::new());
        loop {
            let pause = match self.work(&mut turn, &mut pauses).await {
                Ok(()) => TURN,
                Err(setback) => {
                    let reason = setback.to_string();
                    if reason != told {
                        tracing::warn!(reason, "events of tasks wait to be published");
                        told = reason;
                    }
                    pauses.next_delay()
                }
            };
            if self.served.is_cancelled() {
                return;
            }
            self.served.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Publishes for as long as it is our turn.
    async fn work(&self, turn: &mut Turn, pauses: &mut Backoff) -> Result<(), Setback> {
        let committed = self.database.committed();
        while turn.is_ours().await? {
            // Asked before the round: what is committed after it would be missed.
            let is_last = self.served.is_cancelled();
            if self.round().await? > 0 {
                pauses.reset();
                continue;
            }
            if is_last {
                break;
            }
            // Other replicas don't wake us.
            let look = if self.database.is_sqlite() { TURN } else { LOOK };
            let more = timeout(look, committed.notified());
            self.served.run_until_cancelled(more).await;
        }
        Ok(())
    }

    /// Publishes what waits; how many there were.
    async fn round(&self) -> Result<usize, Setback> {
        let mut tasks = HashMap::<String, VecDeque<Waiting>>::new();
        for waiting in self.database.read(waiting).await? {
            tasks.entry(waiting.task.clone()).or_default().push_back(waiting);
        }
        let (mut published, mut setback) = (Vec::new(), None);
        while !tasks.is_empty() {
            let firsts = tasks.values_mut().filter_map(VecDeque::pop_front).collect::<Vec<_>>();
            for (task, outcome) in self.publish(firsts).await {
                match outcome {
                    Ok(seq) => published.push(seq),
                    Err(reason) => {
                        metrics::refused();
                        setback.get_or_insert(reason);
                        // Not past the one that is missing.
                        tasks.remove(&task);
                    }
                }
            }
            tasks.retain(|_, events| !events.is_empty());
        }
        let count = published.len();
        for numbers in published.chunks(MARKED) {
            self.database.write(Mark(numbers.to_vec())).await.map_err(DatabaseError::from)?;
            metrics::published(numbers.len());
        }
        setback.map_or(Ok(count), Err)
    }

    /// Publishes events of different tasks, and waits for what becomes of each.
    async fn publish(&self, events: Vec<Waiting>) -> Vec<(String, Result<i64, Setback>)> {
        let mut sent = Vec::with_capacity(events.len());
        for Waiting { seq, task, event } in events {
            let receipt = match event {
                Ok(event) => self.send(&event).await,
                Err(error) => {
                    let reason = error.to_string();
                    sent.push((task.clone(), Err(Setback::Unreadable { seq, task, reason })));
                    continue;
                }
            };
            sent.push((task, Ok((seq, receipt))));
        }
        let mut outcomes = Vec::with_capacity(sent.len());
        for (task, receipt) in sent {
            let outcome = match receipt {
                Ok((seq, Ok(receipt))) => {
                    receipt.await.map(|_| seq).map_err(|error| (seq, error.to_string()))
                }
                Ok((seq, Err(reason))) => Err((seq, reason)),
                Err(unreadable) => {
                    outcomes.push((task, Err(unreadable)));
                    continue;
                }
            };
            let outcome =
                outcome.map_err(|(seq, reason)| Setback::Refused { seq, task: task.clone(), reason });
            outcomes.push((task, outcome));
        }
        outcomes
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

/// The oldest events that are not published, as many as may be in memory.
async fn waiting(connection: &mut AnyConnection) -> Result<Vec<Waiting>, sqlx::Error> {
    const OLDEST: &str =
        "SELECT seq, task_id, event FROM outbox WHERE published_at IS NULL ORDER BY seq LIMIT $1";
    let mut rows = sqlx::query(OLDEST).bind(BATCH).fetch(connection);
    let (mut waiting, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().await {
        let row = row?;
        let text: &str = row.try_get("event")?;
        bytes += text.len();
        if bytes > BATCH_BYTES && !waiting.is_empty() {
            break;
        }
        waiting.push(Waiting {
            seq: row.try_get("seq")?,
            task: row.try_get("task_id")?,
            event: serde_json::from_str::<Map<String, Value>>(text).map(Event::from),
        });
    }
    Ok(waiting)
}

/// Events that Redis has.
struct Mark(Vec<i64>);

impl Change for Mark {
    type Output = ();
    type Refusal = Infallible;

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
    type Refusal = Infallible;

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
