//! The connection for short commands that the tasks of a subscription share.

use parking_lot::Mutex;

use crate::{
    config::RedisSettings,
    stream::{Connection, StreamError},
};

/// Opened when it is needed, and again after it broke.
#[derive(Debug)]
pub(super) struct Link {
    settings: RedisSettings,
    current: Mutex<Option<Connection>>,
}

impl Link {
    pub(super) fn new(settings: RedisSettings) -> Self {
        Self { settings, current: Mutex::new(None) }
    }

    pub(super) fn settings(&self) -> &RedisSettings {
        &self.settings
    }

    /// Says something to Redis, once.
    pub(super) async fn ask<T>(
        &self,
        action: impl AsyncFnOnce(Connection) -> Result<T, StreamError>,
    ) -> Result<T, StreamError> {
        let current = self.current.lock().clone();
        let connection = if let Some(connection) = current {
            connection
        } else {
            let connection = Connection::open(&self.settings).await?;
            *self.current.lock() = Some(connection.clone());
            connection
        };
        let outcome = action(connection).await;
        if matches!(outcome, Err(StreamError::Unreachable { .. } | StreamError::Unauthorized { .. })) {
            // It may be another's new one by now: then that is opened once more.
            *self.current.lock() = None;
        }
        outcome
    }
}
