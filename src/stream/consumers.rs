use std::time::Duration;

use redis::Value;
use serde::Serialize;

use super::{Connection, StreamError, reply};

/// A consumer of a group, as `XINFO CONSUMERS` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsumerInfo {
    /// Its name.
    pub name: String,
    /// Entries delivered to it and not acknowledged.
    pub pending: u64,
    /// How long ago it last asked for anything.
    #[serde(rename = "idle_ms", serialize_with = "as_milliseconds")]
    pub idle: Duration,
}

fn as_milliseconds<S: serde::Serializer>(idle: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX))
}

impl Connection {
    /// The consumers of a group; none if there is no such stream or group.
    pub async fn consumers(&self, stream: &str, group: &str) -> Result<Vec<ConsumerInfo>, StreamError> {
        let what = format!("XINFO CONSUMERS {stream} {group}");
        let mut command = redis::cmd("XINFO");
        command.arg("CONSUMERS").arg(stream).arg(group);
        let answer = match self.query(&command, &what).await {
            Err(StreamError::Refused { reason, .. })
                if reason.contains("no such key") || reason.starts_with("NOGROUP") =>
            {
                return Ok(Vec::new());
            }
            other => other?,
        };
        let consumer = |item| consumer_info(reply::pairs(item, &what)?, &what);
        reply::array(answer, &what)?.into_iter().map(consumer).collect()
    }
}

fn consumer_info(pairs: Vec<(String, Value)>, what: &str) -> Result<ConsumerInfo, StreamError> {
    let mut info = ConsumerInfo { name: String::new(), pending: 0, idle: Duration::ZERO };
    for (name, value) in pairs {
        match name.as_str() {
            "name" => info.name = reply::text(&value, what)?,
            "pending" => info.pending = reply::integer(&value, what)?.unsigned_abs(),
            "idle" => info.idle = Duration::from_millis(reply::integer(&value, what)?.unsigned_abs()),
            _ => {}
        }
    }
    Ok(info)
}
