use std::time::Duration;

use redis::Value;

use super::{Connection, EntryId, StreamError, read::Member, reply};

/// An entry that was delivered and not acknowledged, as `XPENDING` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEntry {
    /// The entry.
    pub id: EntryId,
    /// Who holds it.
    pub consumer: String,
    /// How long ago it was last delivered, or renewed by who works on it.
    pub idle: Duration,
    /// How often it was delivered.
    pub deliveries: u64,
}

impl Connection {
    /// At most `count` pending entries of a group, the lowest ids first; none if there is no such stream or group.
    pub async fn pending_entries(
        &self,
        stream: &str,
        group: &str,
        count: usize,
    ) -> Result<Vec<PendingEntry>, StreamError> {
        let what = format!("XPENDING {stream} {group}");
        let mut command = redis::cmd("XPENDING");
        command.arg(stream).arg(group).arg("-").arg("+").arg(count);
        let answer = match self.query(&command, &what).await {
            Err(error) if error.code() == Some("NOGROUP") => return Ok(Vec::new()),
            other => other?,
        };
        reply::array(answer, &what)?.into_iter().map(|item| pending_entry(item, &what)).collect()
    }
}

impl Connection {
    /// At most `count` entries after an id that are pending for a member, with how often each was delivered.
    pub async fn pending_for(
        &self,
        stream: &str,
        member: Member<'_>,
        after: EntryId,
        count: usize,
    ) -> Result<Vec<(EntryId, u32)>, StreamError> {
        let what = format!("XPENDING {stream} {}", member.group);
        let mut command = redis::cmd("XPENDING");
        command.arg(stream).arg(member.group).arg(after.next().to_string()).arg("+").arg(count);
        command.arg(member.consumer);
        let found = reply::array(self.query(&command, &what).await?, &what)?;
        let entry = |item| {
            let entry = pending_entry(item, &what)?;
            Ok((entry.id, u32::try_from(entry.deliveries).unwrap_or(u32::MAX)))
        };
        found.into_iter().map(entry).collect()
    }
}

fn pending_entry(item: Value, what: &str) -> Result<PendingEntry, StreamError> {
    let parts = reply::array(item, what)?;
    let [id, consumer, idle, deliveries] = parts.as_slice() else {
        return Err(reply::unexpected(what, &Value::Array(parts)));
    };
    Ok(PendingEntry {
        id: reply::entry_id(id, what)?,
        consumer: reply::text(consumer, what)?,
        idle: Duration::from_millis(reply::integer(idle, what)?.unsigned_abs()),
        deliveries: reply::integer(deliveries, what)?.unsigned_abs(),
    })
}
