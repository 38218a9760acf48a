//! A lock that one of many processes holds for a time, unless it renews it.

use std::time::Duration;

use super::{Connection, StreamError, reply};

/// The lock of the one of all hubs that trims.
pub const TRIMMER: &str = "synapse:trimmer";

/// Renews the lock if it is ours.
const RENEW: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";

/// Gives the lock up if it is ours.
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

impl Connection {
    /// Takes the lock `key` for `ttl` if nobody holds it, or holds it on if `owner` does; `false` if another does.
    pub async fn hold_lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<bool, StreamError> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        // First what it takes to hold it on: who may not do that does not take it either.
        let mut command = redis::cmd("EVAL");
        command.arg(RENEW).arg(1).arg(key).arg(owner).arg(ttl_ms);
        let what = format!("PEXPIRE {key}");
        if reply::integer(&self.query(&command, &what).await?, &what)? == 1 {
            return Ok(true);
        }
        let mut command = redis::cmd("SET");
        command.arg(key).arg(owner).arg("NX").arg("PX").arg(ttl_ms);
        Ok(self.query(&command, &format!("SET {key}")).await? != redis::Value::Nil)
    }

    /// Gives the lock up, so that another takes it at once; `false` if `owner` does not hold it.
    pub async fn release_lock(&self, key: &str, owner: &str) -> Result<bool, StreamError> {
        let mut command = redis::cmd("EVAL");
        command.arg(RELEASE).arg(1).arg(key).arg(owner);
        let what = format!("DEL {key}");
        Ok(reply::integer(&self.query(&command, &what).await?, &what)? == 1)
    }
}
