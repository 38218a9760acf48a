//! A connection that many share and that is opened again when it breaks.

use std::{
    fmt,
    future::Future,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::{Connection, StreamError};
use crate::config::RedisSettings;

/// For how long nobody tries again after connecting failed: those who waited for it would else fail one by one.
const PAUSE: Duration = Duration::from_millis(200);

/// Opens a connection when it is needed and shares it among all who ask.
#[derive(Debug)]
pub struct SharedConnection {
    settings: RedisSettings,
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Closed,
    /// The number tells this connection from those before it.
    Open(u64, Connection),
    Failed(Instant, StreamError),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open(..) => "open",
            Self::Failed(..) => "failed",
        })
    }
}

impl SharedConnection {
    /// Connects at the first question.
    pub fn new(settings: RedisSettings) -> Self {
        Self { settings, state: Mutex::default() }
    }

    /// Where Redis is.
    pub fn settings(&self) -> &RedisSettings {
        &self.settings
    }

    /// The connection, opened if there is none.
    pub async fn get(&self) -> Result<Connection, StreamError> {
        self.open().await.map(|(_, _, connection)| connection)
    }

    /// Asks by way of the connection. One that broke is left; if it had been open before, it is asked once more by a
    /// new one, so that a restart of Redis is not noticed. The question must bear to be asked twice.
    pub async fn ask<T, F>(&self, question: impl Fn(Connection) -> F) -> Result<T, StreamError>
    where
        F: Future<Output = Result<T, StreamError>>,
    {
        loop {
            let (number, is_new, connection) = self.open().await?;
            match question(connection).await {
                Err(error @ StreamError::Unreachable { .. }) => {
                    self.leave(number).await;
                    if is_new {
                        return Err(error);
                    }
                }
                // The address may lead to another server by now, which takes what this one refuses.
                Err(error @ StreamError::Refused { .. })
                    if matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "LOADING")) =>
                {
                    self.leave(number).await;
                    return Err(error);
                }
                other => return other,
            }
        }
    }

    /// The connection's number, whether it was opened just now, and itself.
    async fn open(&self) -> Result<(u64, bool, Connection), StreamError> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Open(number, connection) => return Ok((*number, false, connection.clone())),
            State::Failed(at, error) if at.elapsed() < PAUSE => return Err(error.clone()),
            State::Failed(..) | State::Closed => {}
        }
        match Connection::open(&self.settings).await {
            Ok(connection) => {
                let number = fastrand::u64(..);
                *state = State::Open(number, connection.clone());
                Ok((number, true, connection))
            }
            Err(error) => {
                *state = State::Failed(Instant::now(), error.clone());
                Err(error)
            }
        }
    }

    /// Leaves the connection of this number, unless somebody else has.
    async fn leave(&self, number: u64) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::Open(open, _) if *open == number) {
            *state = State::Closed;
        }
    }
}
