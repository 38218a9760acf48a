//! Since when groups have had no consumers, which Redis does not say.
//!
//! The hash `synapse:idle-groups:<stream>` has, for each group of the stream that has no consumers, the moment at which
//! that was first seen: milliseconds since 1970 by the server's clock. So it outlives whoever looks.

use std::{collections::HashMap, time::Duration};

use super::{Connection, StreamError, reply};

/// What the key of each hash begins with.
pub const PREFIX: &str = "synapse:idle-groups:";

/// Notes those that are new, forgets those that are in use or gone, and gives all with their moments.
const SCRIPT: &str = r"
local now, keep_ms = ARGV[1], ARGV[2]
local idle = {}
for i = 3, #ARGV do
  idle[ARGV[i]] = true
  redis.call('HSETNX', KEYS[1], ARGV[i], now)
end
local known = redis.call('HGETALL', KEYS[1])
local answer = {}
for i = 1, #known, 2 do
  if idle[known[i]] then
    table.insert(answer, known[i])
    table.insert(answer, known[i + 1])
  else
    redis.call('HDEL', KEYS[1], known[i])
  end
end
if #answer > 0 then redis.call('PEXPIRE', KEYS[1], keep_ms) end
return answer
";

impl Connection {
    /// Says that exactly these groups of a stream have no consumers at `now_ms`, and learns since when each has had none.
    ///
    /// What is not said again within `keep` is forgotten.
    pub async fn idle_since(
        &self,
        stream: &str,
        groups: &[&str],
        now_ms: u64,
        keep: Duration,
    ) -> Result<HashMap<String, u64>, StreamError> {
        let key = format!("{PREFIX}{stream}");
        let what = format!("noting the idle groups of {stream}");
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 50);
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(key).arg(now_ms).arg(keep_ms).arg(groups);
        let known = reply::pairs(self.query(&command, &what).await?, &what)?;
        let moment = |(group, at): (String, redis::Value)| {
            let since = reply::text(&at, &what)?.parse().map_err(|_| reply::unexpected(&what, &at))?;
            Ok((group, since))
        };
        known.into_iter().map(moment).collect()
    }
}
