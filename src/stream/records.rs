//! Small texts under keys of our own, for a time.

use std::time::Duration;

use redis::Value;

use super::{Connection, StreamError, reply};

impl Connection {
    /// Keeps a text for `ttl`.
    pub async fn keep_record(&self, key: &str, text: &str, ttl: Duration) -> Result<(), StreamError> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(text).arg("PX").arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
        self.query(&command, &format!("SET {key}")).await.map(drop)
    }

    /// The text kept under a key, if there is one still.
    pub async fn record(&self, key: &str) -> Result<Option<String>, StreamError> {
        let what = format!("GET {key}");
        let mut command = redis::cmd("GET");
        command.arg(key);
        match self.query(&command, &what).await? {
            Value::Nil => Ok(None),
            text => reply::text(&text, &what).map(Some),
        }
    }
}
