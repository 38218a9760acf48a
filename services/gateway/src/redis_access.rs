//! Short questions to Redis on behalf of clients: what is older than the history, and what is gone.

use std::time::{Duration, Instant};

use synapse_rs::{
    EntryId, RedisSettings,
    backoff::Backoff,
    stream::{Connection, Entry, StreamError, StreamInfo},
};
use tokio::sync::{Mutex, Semaphore};

/// Questions asked at once; others wait, so that a crowd that comes back does not flood Redis.
const CONCURRENT: usize = 32;
/// How long a question is asked again and again while Redis is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that is opened when it is needed and shared by all who ask.
#[derive(Debug)]
pub struct RedisAccess {
    settings: RedisSettings,
    connection: Mutex<Option<Connection>>,
    permits: Semaphore,
}

impl RedisAccess {
    /// Connects at the first question.
    pub fn new(settings: RedisSettings) -> Self {
        Self { settings, connection: Mutex::new(None), permits: Semaphore::new(CONCURRENT) }
    }

    /// At most `count` entries from `from` to `to`, both included.
    pub async fn range(
        &self,
        stream: &str,
        from: EntryId,
        to: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        let mut attempts = Attempts::new(self);
        loop {
            let asked = match attempts.connection().await {
                Ok(connection) => connection.range(stream, from, to, count).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(entries) => return Ok(entries),
                Err(error) => attempts.again_after(error).await?,
            }
        }
    }

    /// What Redis knows of a stream.
    pub async fn extent(&self, stream: &str) -> Result<Option<StreamInfo>, StreamError> {
        let mut attempts = Attempts::new(self);
        loop {
            let asked = match attempts.connection().await {
                Ok(connection) => connection.extent(stream).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(info) => return Ok(info),
                Err(error) => attempts.again_after(error).await?,
            }
        }
    }
}

struct Attempts<'a> {
    access: &'a RedisAccess,
    backoff: Backoff,
    begin: Instant,
}

impl<'a> Attempts<'a> {
    fn new(access: &'a RedisAccess) -> Self {
        Self { access, backoff: Backoff::default(), begin: Instant::now() }
    }

    async fn connection(&self) -> Result<Permitted<'a>, StreamError> {
        let permit = self.access.permits.acquire().await.expect("the semaphore is never closed");
        let mut shared = self.access.connection.lock().await;
        let connection = match &*shared {
            Some(connection) => connection.clone(),
            None => shared.insert(Connection::open(&self.access.settings).await?).clone(),
        };
        Ok(Permitted { connection, _permit: permit })
    }

    /// Waits before the next attempt, unless there should be none.
    async fn again_after(&mut self, error: StreamError) -> Result<(), StreamError> {
        if matches!(error, StreamError::Unreachable { .. }) {
            *self.access.connection.lock().await = None;
        }
        if !error.is_transient() || self.begin.elapsed() > PATIENCE {
            return Err(error);
        }
        tokio::time::sleep(self.backoff.next_delay()).await;
        Ok(())
    }
}

/// The connection, while one of the few may ask.
struct Permitted<'a> {
    connection: Connection,
    _permit: tokio::sync::SemaphorePermit<'a>,
}

impl std::ops::Deref for Permitted<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}
