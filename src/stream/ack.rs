use super::{Connection, EntryId, StreamError, reply};

impl Connection {
    /// Acknowledges entries of a group; gives how many of them were pending.
    pub async fn ack(&self, stream: &str, group: &str, ids: &[EntryId]) -> Result<u64, StreamError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let mut command = redis::cmd("XACK");
        command.arg(stream).arg(group);
        for id in ids {
            command.arg(id.to_string());
        }
        let what = format!("XACK {stream} {group}");
        let answer = self.query(&command, &what).await?;
        reply::integer(&answer, &what).map(i64::unsigned_abs)
    }
}
