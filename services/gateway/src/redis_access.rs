//! Short questions to Redis on behalf of clients: what is older than the history, and what is gone.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use synapse_rs::{
    EntryId, RedisSettings,
    backoff::Backoff,
    stream::{Connection, Entry, SharedConnection, StreamError, StreamInfo},
};
use tokio::{sync::Semaphore, time::sleep};

/// Questions asked at once; others wait, so that a crowd that comes back does not flood Redis.
const CONCURRENT: usize = 32;
/// How long a question is asked again and again while Redis is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that is opened when it is needed and shared by all who ask.
#[derive(Debug)]
pub struct RedisAccess {
    connection: SharedConnection,
    permits: Semaphore,
    /// The last question was not answered, which has been said.
    fails: AtomicBool,
}

impl RedisAccess {
    /// Connects at the first question.
    pub fn new(settings: RedisSettings) -> Self {
        Self {
            connection: SharedConnection::new(settings),
            permits: Semaphore::new(CONCURRENT),
            fails: AtomicBool::new(false),
        }
    }

    /// At most `count` entries from `from` to `to`, both included.
    pub async fn range(
        &self,
        stream: &'static str,
        from: EntryId,
        to: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        self.ask(|connection| async move { connection.range(stream, from, to, count).await }).await
    }

    /// What Redis knows of a stream.
    pub async fn extent(&self, stream: &'static str) -> Result<Option<StreamInfo>, StreamError> {
        self.ask(|connection| async move { connection.extent(stream).await }).await
    }

    /// Asks until there is an answer, or no prospect of one.
    async fn ask<T, F>(&self, question: impl Fn(Connection) -> F) -> Result<T, StreamError>
    where
        F: Future<Output = Result<T, StreamError>>,
    {
        let (mut backoff, begin) = (Backoff::default(), Instant::now());
        loop {
            let permit = self.permits.acquire().await;
            let answer = self.connection.ask(&question).await;
            drop(permit);
            match answer {
                Err(error) if error.is_transient() && begin.elapsed() <= PATIENCE => {
                    sleep(backoff.next_delay()).await;
                }
                Err(error) => {
                    if !self.fails.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "clients that come back can't be told what they have missed");
                    }
                    return Err(error);
                }
                Ok(answer) => {
                    self.fails.store(false, Ordering::Relaxed);
                    return Ok(answer);
                }
            }
        }
    }
}
