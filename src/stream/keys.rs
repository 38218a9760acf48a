//! Keys, whatever they hold.

use std::time::Duration;

use super::{Connection, StreamError, reply};

impl Connection {
    /// What kind of value a key holds (`TYPE`), for example `stream`; `None` if there is no such key.
    pub async fn key_type(&self, key: &str) -> Result<Option<String>, StreamError> {
        let what = format!("TYPE {key}");
        let kind = reply::text(&self.query(redis::cmd("TYPE").arg(key), &what).await?, &what)?;
        Ok((kind != "none").then_some(kind))
    }

    /// How long until the server deletes a key by itself (`PTTL`); `None` if it does not.
    pub async fn expires_in(&self, key: &str) -> Result<Option<Duration>, StreamError> {
        let what = format!("PTTL {key}");
        let left = reply::integer(&self.query(redis::cmd("PTTL").arg(key), &what).await?, &what)?;
        Ok(u64::try_from(left).ok().map(Duration::from_millis))
    }
}
