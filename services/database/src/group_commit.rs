//! SQLite's one writer: changes that come at the same time are committed together, with one sync of the disk.
//!
//! Whoever waits is answered after the commit. A batch in which the database fails is undone, and its changes are
//! tried again one by one, so that one that can't be written does not take others with it.

use std::{future::Future, pin::Pin, sync::Arc, time::Instant};

use sqlx::{AnyConnection, Executor as _, Row as _};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    change::{Change, Refusable, WriteError},
    error::DatabaseError,
    metrics,
};

/// Changes that may wait; who has one more waits for room.
const QUEUE: usize = 1024;
/// Changes of one commit at most.
const MAX_BATCH: usize = 256;

/// After how many commits there is a look at how long the log is.
const LOOK_EVERY: u32 = 64;
/// Pages of the log beyond which the writer waits for those who still read from it, so that it can begin anew: while one
/// reader follows the other it would grow for ever.
const MAX_LOG_PAGES: i32 = 4_096;

type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'a>>;

/// A change and who waits for it, of any kind.
trait Job: Send {
    /// Applies the change; an error is the database's.
    fn apply<'a>(&'a mut self, connection: &'a mut AnyConnection) -> Applied<'a>;
    /// Whether it was refused: it has written nothing.
    fn is_refused(&self) -> bool;
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// Answers who waits.
    fn answer(self: Box<Self>, committed: Result<(), DatabaseError>);
}

struct Waiting<C: Change> {
    change: C,
    outcome: Option<Result<C::Output, C::Refusal>>,
    answer: oneshot::Sender<Result<C::Output, WriteError<C::Refusal>>>,
}

impl<C: Change> Job for Waiting<C> {
    fn apply<'a>(&'a mut self, connection: &'a mut AnyConnection) -> Applied<'a> {
        Box::pin(async move {
            self.outcome = None;
            self.outcome = Some(match self.change.apply(connection).await {
                Ok(output) => Ok(output),
                Err(Refusable::Refused(refusal)) => Err(refusal),
                Err(Refusable::Failed(error)) => return Err(error),
            });
            Ok(())
        })
    }

    fn is_refused(&self) -> bool {
        matches!(self.outcome, Some(Err(_)))
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn answer(self: Box<Self>, committed: Result<(), DatabaseError>) {
        let answer = match (committed, self.outcome) {
            (Ok(()), Some(Ok(output))) => Ok(output),
            (Ok(()), Some(Err(refusal))) => Err(WriteError::Refused(refusal)),
            (Err(error), _) => Err(error.into()),
            (Ok(()), None) => Err(DatabaseError::Broken("a change was never applied".to_owned()).into()),
        };
        // Who asked may have gone since.
        let _ = self.answer.send(answer);
    }
}

/// Where changes are handed in.
#[derive(Clone)]
pub(crate) struct Writes(mpsc::Sender<Box<dyn Job>>);

impl Writes {
    /// The two ends of the queue.
    pub(crate) fn new(committed: Arc<Notify>) -> (Self, Queue) {
        let (sender, jobs) = mpsc::channel(QUEUE);
        (Self(sender), Queue { jobs, committed })
    }

    /// Hands a change in and waits for its commit.
    pub(crate) async fn write<C: Change>(&self, change: C) -> Result<C::Output, WriteError<C::Refusal>> {
        let gone = || DatabaseError::Unavailable("it is being closed".to_owned());
        let (answer, answered) = oneshot::channel();
        self.0.send(Box::new(Waiting { change, outcome: None, answer })).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// What was handed in.
pub(crate) struct Queue {
    jobs: mpsc::Receiver<Box<dyn Job>>,
    committed: Arc<Notify>,
}

impl Queue {
    /// Commits what is handed in, until nobody is left who could hand anything in.
    pub(crate) async fn run(mut self, mut connection: AnyConnection) {
        let (mut batch, mut commits) = (Vec::new(), 0);
        while self.jobs.recv_many(&mut batch, MAX_BATCH).await > 0 {
            // Who has gone was told that nothing is known; then nothing shall be.
            batch.retain(|job| !job.is_abandoned());
            commit(&mut connection, std::mem::take(&mut batch), &self.committed).await;
            commits += 1;
            if commits == LOOK_EVERY {
                commits = 0;
                // What is wrong with the file the next commit tells better.
                let _ = shorten_log(&mut connection).await;
            }
        }
    }
}

/// Begins the log anew if it is long.
async fn shorten_log(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let looked = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut *connection).await?;
    if looked.try_get::<i32, _>(1)? > MAX_LOG_PAGES {
        // Nobody is kept from writing for longer by one who reads for long; another look comes soon.
        connection.execute("PRAGMA busy_timeout = 250").await?;
        let begun_anew = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        connection.execute("PRAGMA busy_timeout = 5000").await?;
        begun_anew?;
    }
    Ok(())
}

async fn commit(connection: &mut AnyConnection, mut batch: Vec<Box<dyn Job>>, committed: &Notify) {
    if batch.is_empty() {
        return;
    }
    match transaction(connection, &mut batch).await {
        Ok(()) => {
            committed.notify_one();
            for job in batch {
                job.answer(Ok(()));
            }
        }
        // One that does not answer does not answer the others either.
        Err(error) if batch.len() == 1 || error.is_transient() => {
            metrics::failed();
            for job in batch {
                job.answer(Err(error.clone()));
            }
        }
        Err(_) => {
            for job in batch {
                Box::pin(commit(connection, vec![job], committed)).await;
            }
        }
    }
}

async fn transaction(
    connection: &mut AnyConnection,
    batch: &mut [Box<dyn Job>],
) -> Result<(), DatabaseError> {
    let started = Instant::now();
    let applied = apply_all(connection, batch).await;
    match applied {
        Ok(0) => roll_back(connection).await,
        Ok(changes) => {
            if let Err(error) = connection.execute("COMMIT").await {
                roll_back(connection).await;
                return Err(error.into());
            }
            metrics::committed(changes, started.elapsed());
        }
        Err(error) => {
            roll_back(connection).await;
            return Err(error.into());
        }
    }
    Ok(())
}

/// How many of them have something to commit.
async fn apply_all(connection: &mut AnyConnection, batch: &mut [Box<dyn Job>]) -> Result<usize, sqlx::Error> {
    connection.execute("BEGIN IMMEDIATE").await?;
    let mut changes = 0;
    for job in batch {
        let before = written_so_far(connection).await?;
        job.apply(connection).await?;
        if job.is_refused() {
            debug_assert_eq!(
                before,
                written_so_far(connection).await?,
                "a change refused after it had written"
            );
        } else {
            changes += 1;
        }
    }
    Ok(changes)
}

/// How many rows this connection has written; asked in tests alone, as each question costs a trip.
async fn written_so_far(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
    if cfg!(debug_assertions) {
        sqlx::query("SELECT total_changes() AS rows").fetch_one(connection).await?.try_get("rows")
    } else {
        Ok(0)
    }
}

/// After some errors SQLite has done so by itself; saying it again is an error without meaning.
async fn roll_back(connection: &mut AnyConnection) {
    let _ = connection.execute("ROLLBACK").await;
}
