use redis::Value;

use super::{Connection, EntryId, StreamError, reply};

/// What is pending in a group, in short (`XPENDING`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// How many entries.
    pub count: u64,
    /// The first of them.
    pub first: EntryId,
    /// The last of them.
    pub last: EntryId,
}

impl Connection {
    /// What is pending in a group; `None` if nothing is, or there is no such stream or group.
    pub async fn pending(&self, stream: &str, group: &str) -> Result<Option<Pending>, StreamError> {
        let what = format!("XPENDING {stream} {group}");
        let mut command = redis::cmd("XPENDING");
        command.arg(stream).arg(group);
        let answer = match self.query(&command, &what).await {
            Err(error) if error.code() == Some("NOGROUP") => return Ok(None),
            other => other?,
        };
        let parts = reply::array(answer, &what)?;
        let [count, first, last, ..] = parts.as_slice() else {
            return Err(reply::unexpected(&what, &Value::Array(parts)));
        };
        match reply::integer(count, &what)?.unsigned_abs() {
            0 => Ok(None),
            count => Ok(Some(Pending {
                count,
                first: reply::entry_id(first, &what)?,
                last: reply::entry_id(last, &what)?,
            })),
        }
    }
}
