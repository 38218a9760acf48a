//! Work that outlives its request: replays of streams and of dead letters.
//!
//! A job runs in the hub that was asked. What is known of it is kept in Redis, `synapse:replay:<id>`, for a day, so that
//! every hub can tell, and can ask the one that runs it to stop.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use synapse_chassis::error::ApiError;
use synapse_rs::{
    backoff::Backoff,
    dead_letters::Sorting,
    replay::Replay,
    shutdown::Shutdown,
    stream::{Connection, SharedConnection, StreamError},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::metrics;

/// For how long what is known of a job is kept.
const KEPT: Duration = Duration::from_hours(24);
/// How often it is written down.
const WRITTEN_EVERY: Duration = Duration::from_secs(1);
/// For how long a job asks again while Redis is away.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long the last word of a job may take.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What a job does.
#[derive(Debug)]
pub enum Work {
    /// Copies a range.
    Replay(Box<Replay>),
    /// Puts dead letters back.
    DeadLetters(Box<Sorting>),
}

/// How a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It runs; or its hub died, if `updated_at` is long ago.
    Running,
    /// It has done all.
    Done,
    /// It was told to stop.
    Cancelled,
    /// Its hub left; what is left can be asked for again from `progress.position` on.
    Interrupted,
    /// It could not go on.
    Failed,
}

/// What is known of a job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// `replay` or `dead_letters`.
    pub kind: String,
    /// How it is.
    pub state: State,
    /// What was asked for.
    #[schema(value_type = Object)]
    pub request: Value,
    /// How far it is: of a replay `position`, `end`, `examined`, `copied`, `possible_duplicates`, `unanswered`; of dead
    /// letters `total`, `examined`, `done`, `without_event`, `refused`.
    #[schema(value_type = Object)]
    pub progress: Value,
    /// Why it failed; while it runs, what it waits for: it tries again.
    pub error: Option<String>,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When this was written.
    pub updated_at: String,
}

/// The jobs of this hub. Clones are the same.
#[derive(Clone, Debug)]
pub struct Jobs {
    redis: Arc<SharedConnection>,
    places: Arc<Semaphore>,
    running: Arc<Mutex<HashMap<String, Running>>>,
    tasks: TaskTracker,
    leaving: Shutdown,
}

#[derive(Clone, Debug)]
struct Running {
    cancel: Shutdown,
    record: watch::Receiver<Record>,
}

impl Work {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Replay(_) => "replay",
            Self::DeadLetters(_) => "dead_letters",
        }
    }

    fn progress(&self) -> Value {
        let progress = match self {
            Self::Replay(replay) => serde_json::to_value(replay.progress()),
            Self::DeadLetters(sorting) => serde_json::to_value(sorting.progress()),
        };
        progress.unwrap_or_default()
    }

    /// Entries copied or put back.
    fn done(&self) -> u64 {
        match self {
            Self::Replay(replay) => replay.progress().copied,
            Self::DeadLetters(sorting) => sorting.progress().done,
        }
    }

    /// When the next step may be taken.
    fn due(&self) -> Instant {
        match self {
            Self::Replay(replay) => replay.due(),
            Self::DeadLetters(_) => Instant::now(),
        }
    }

    /// What it comes to when there is nothing more to do.
    fn end(&self) -> (State, Option<String>) {
        match self {
            Self::Replay(_) => (State::Done, None),
            Self::DeadLetters(sorting) => match sorting.refused() {
                Some(refused) => (State::Failed, Some(refused.to_string())),
                None => (State::Done, None),
            },
        }
    }

    async fn advance(&mut self, connection: &Connection) -> Result<bool, StreamError> {
        match self {
            Self::Replay(replay) => replay.advance(connection).await,
            Self::DeadLetters(sorting) => sorting.advance(connection).await,
        }
    }
}

impl Jobs {
    /// None yet.
    pub fn new(redis: Arc<SharedConnection>, at_once: usize, leaving: Shutdown) -> Self {
        let places = Arc::new(Semaphore::new(at_once));
        Self { redis, places, running: Arc::default(), tasks: TaskTracker::new(), leaving }
    }

    /// A place for one more job.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            ApiError::new(
                http::StatusCode::TOO_MANY_REQUESTS,
                "too_many_replays",
                "this hub runs as many replays as it may (MAX_REPLAYS); wait for one to end or cancel one",
            )
        })
    }

    /// Starts a job, and gives what is known of it once it has ended or `patience` is over.
    pub async fn start(
        &self,
        place: OwnedSemaphorePermit,
        work: Work,
        request: Value,
        patience: Duration,
    ) -> Record {
        let now = now();
        let first = Record {
            id: Uuid::now_v7().to_string(),
            kind: work.kind().to_owned(),
            state: State::Running,
            request,
            progress: work.progress(),
            error: None,
            started_at: now.clone(),
            updated_at: now,
        };
        let id = first.id.clone();
        let (tell, mut record) = watch::channel(first);
        let cancel = Shutdown::new();
        let running = Running { cancel: cancel.clone(), record: record.clone() };
        self.running.lock().insert(id.clone(), running);
        metrics::replays(self.running.lock().len());
        let jobs = self.clone();
        self.tasks.spawn(async move {
            Job { redis: jobs.redis.clone(), leaving: jobs.leaving.clone(), cancel, work, tell }.run().await;
            jobs.running.lock().remove(&id);
            metrics::replays(jobs.running.lock().len());
            drop(place);
        });
        let _ = timeout(patience, record.wait_for(|record| record.state != State::Running)).await;
        record.borrow().clone()
    }

    /// What is known of a job, here or in another hub; `None` if nothing is.
    pub async fn find(&self, connection: &Connection, id: &str) -> Result<Option<Record>, StreamError> {
        if let Some(running) = self.running.lock().get(id) {
            return Ok(Some(running.record.borrow().clone()));
        }
        let text = connection.record(&key(id)).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Tells a job to stop, and gives what is known of it then.
    pub async fn cancel(&self, connection: &Connection, id: &str) -> Result<Option<Record>, StreamError> {
        let running = self.running.lock().get(id).cloned();
        if let Some(Running { cancel, mut record }) = running {
            cancel.cancel();
            let _ = timeout(LAST_WORD, record.wait_for(|record| record.state != State::Running)).await;
            let record = record.borrow().clone();
            return Ok(Some(record));
        }
        let found = self.find(connection, id).await?;
        if found.as_ref().is_some_and(|record| record.state == State::Running) {
            connection.keep_record(&cancel_key(id), "1", KEPT).await?;
        }
        Ok(found)
    }

    /// Waits until the hub leaves and all jobs have stopped.
    pub async fn drain(&self) {
        self.leaving.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn key(id: &str) -> String {
    format!("synapse:replay:{id}")
}

fn cancel_key(id: &str) -> String {
    format!("synapse:replay:{id}:cancel")
}

fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// A job while it runs.
struct Job {
    redis: Arc<SharedConnection>,
    leaving: Shutdown,
    cancel: Shutdown,
    work: Work,
    tell: watch::Sender<Record>,
}

impl Job {
    async fn run(mut self) {
        let (state, error) = self.work_until_end().await;
        self.note(state, error);
        // What was asked for is over either way.
        let _ = timeout(LAST_WORD, self.write_down()).await;
        let record = self.tell.borrow();
        tracing::info!(id = record.id, kind = record.kind, ?state, progress = %record.progress, "a replay ended");
    }

    /// Stops between two steps only, so that nobody has to wonder what the last one did.
    async fn work_until_end(&mut self) -> (State, Option<String>) {
        let mut backoff = Backoff::default();
        // When it is written down next, and before when no step is tried, because the one before failed.
        let (mut write, mut retry) = (Instant::now(), Instant::now());
        let mut failing: Option<(Instant, StreamError)> = None;
        loop {
            if write <= Instant::now() {
                write = Instant::now() + WRITTEN_EVERY;
                self.note(State::Running, failing.as_ref().map(|(_, error)| error.to_string()));
                if self.write_down().await.is_ok_and(|is_cancelled| is_cancelled) {
                    return (State::Cancelled, None);
                }
            }
            tokio::select! {
                biased;
                () = self.leaving.cancelled() => return (State::Interrupted, None),
                () = self.cancel.cancelled() => return (State::Cancelled, None),
                () = sleep_until(retry.max(self.work.due())) => {}
                () = sleep_until(write) => continue,
            }
            match self.step().await {
                Ok(true) => {
                    failing = None;
                    backoff.reset();
                }
                Ok(false) => return self.work.end(),
                Err(error) if error.is_transient() => {
                    let since = failing.map_or_else(Instant::now, |(since, _)| since);
                    if since.elapsed() > PATIENCE {
                        return (State::Failed, Some(error.to_string()));
                    }
                    failing = Some((since, error));
                    retry = Instant::now() + backoff.next_delay();
                    // A connection that broke is noticed and left by asking.
                    let _ = self.redis.ask(|connection| async move { connection.ping().await }).await;
                }
                Err(error) => return (State::Failed, Some(error.to_string())),
            }
            self.note(State::Running, failing.as_ref().map(|(_, error)| error.to_string()));
        }
    }

    async fn step(&mut self) -> Result<bool, StreamError> {
        let before = self.work.done();
        let stepped = match self.redis.get().await {
            Ok(connection) => self.work.advance(&connection).await,
            Err(error) => Err(error),
        };
        metrics::replayed(self.work.kind(), self.work.done() - before);
        stepped
    }

    fn note(&self, state: State, error: Option<String>) {
        self.tell.send_modify(|record| {
            record.state = state;
            record.error = error;
            record.progress = self.work.progress();
            record.updated_at = now();
        });
    }

    /// Writes down what is known, and learns whether another hub was asked to stop it.
    async fn write_down(&self) -> Result<bool, StreamError> {
        let record = self.tell.borrow().clone();
        let (text, id) = (serde_json::to_string(&record).unwrap_or_default(), record.id.as_str());
        let text = text.as_str();
        self.redis
            .ask(|connection| async move {
                connection.keep_record(&key(id), text, KEPT).await?;
                Ok(connection.record(&cancel_key(id)).await?.is_some())
            })
            .await
    }
}
