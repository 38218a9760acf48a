//! Small texts under keys of our own, for a time.

use std::time::Duration;

use redis::Value;

use super::{Connection, StreamError, reply};

/// Keeps a text unless one that begins otherwise is kept.
const KEEP_OWN: &str = "
local kept = redis.call('GET', KEYS[1])
if kept and string.sub(kept, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 1
";
/// Forgets a text, if it begins so.
const FORGET_OWN: &str = "
local kept = redis.call('GET', KEYS[1])
if kept and string.sub(kept, 1, #ARGV[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
";

impl Connection {
    /// Keeps the text of `holder`, behind its name, unless the text of another is kept; whether it is. For short names of
    /// one length: the holder of a text is whoever its beginning names.
    pub async fn keep_own_record(
        &self,
        key: &str,
        holder: &str,
        text: &str,
        ttl: Duration,
    ) -> Result<bool, StreamError> {
        let what = format!("EVAL (SET {key})");
        let mut command = redis::cmd("EVAL");
        command.arg(KEEP_OWN).arg(1).arg(key).arg(holder).arg(text);
        command.arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
        Ok(reply::integer(&self.query(&command, &what).await?, &what)? == 1)
    }

    /// Forgets the text of `holder`, if it is kept.
    pub async fn forget_own_record(&self, key: &str, holder: &str) -> Result<(), StreamError> {
        let what = format!("EVAL (DEL {key})");
        let mut command = redis::cmd("EVAL");
        command.arg(FORGET_OWN).arg(1).arg(key).arg(holder);
        self.query(&command, &what).await.map(drop)
    }

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
