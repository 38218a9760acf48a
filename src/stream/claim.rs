//! Taking over, renewing and giving back what is pending.

use std::time::Duration;

use super::{Connection, Entry, EntryId, StreamError, read::Member, reply};

/// What [`Connection::take_over`] found.
#[derive(Debug)]
pub struct TakenOver {
    /// Entries that are now ours; one without fields was trimmed away while pending.
    pub entries: Vec<Entry>,
    /// Ids that were pending but are gone from the stream: the server has dropped them from the pending list.
    pub lost: Vec<EntryId>,
    /// Where to go on; [`EntryId::MIN`] when the whole list was seen.
    pub cursor: EntryId,
}

impl Connection {
    /// Takes over at most `count` entries that nobody has touched for `min_idle` (`XAUTOCLAIM`).
    pub async fn take_over(
        &self,
        stream: &str,
        member: Member<'_>,
        min_idle: Duration,
        cursor: EntryId,
        count: usize,
    ) -> Result<TakenOver, StreamError> {
        let what = format!("XAUTOCLAIM {stream} {}", member.group);
        let mut command = redis::cmd("XAUTOCLAIM");
        command.arg(stream).arg(member.group).arg(member.consumer).arg(whole_milliseconds(min_idle));
        command.arg(cursor.to_string()).arg("COUNT").arg(count);
        let mut parts = reply::array(self.query(&command, &what).await?, &what)?.into_iter();
        let (Some(next), Some(entries)) = (parts.next(), parts.next()) else {
            return Err(reply::unexpected(&what, &redis::Value::Nil));
        };
        // Redis 6.2 has no third part.
        let lost = parts.next().map_or_else(|| Ok(Vec::new()), |ids| reply::array(ids, &what))?;
        Ok(TakenOver {
            entries: reply::entries(entries, &what)?,
            lost: lost.iter().map(|id| reply::entry_id(id, &what)).collect::<Result<_, _>>()?,
            cursor: reply::entry_id(&next, &what)?,
        })
    }

    /// Says that these entries are still being worked on, without counting a delivery (`XCLAIM … JUSTID`).
    pub async fn renew(&self, stream: &str, member: Member<'_>, ids: &[EntryId]) -> Result<(), StreamError> {
        self.touch(stream, member, ids, Duration::ZERO).await
    }

    /// Gives entries back, so that another member may take them over at once.
    ///
    /// `idle` is how long they shall seem to have been idle: the group's `min_idle` or more.
    pub async fn release(
        &self,
        stream: &str,
        member: Member<'_>,
        ids: &[EntryId],
        idle: Duration,
    ) -> Result<(), StreamError> {
        self.touch(stream, member, ids, idle).await
    }

    async fn touch(
        &self,
        stream: &str,
        member: Member<'_>,
        ids: &[EntryId],
        idle: Duration,
    ) -> Result<(), StreamError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("XCLAIM");
        command.arg(stream).arg(member.group).arg(member.consumer).arg(0);
        for id in ids {
            command.arg(id.to_string());
        }
        command.arg("IDLE").arg(whole_milliseconds(idle)).arg("JUSTID");
        self.query(&command, &format!("XCLAIM {stream} {}", member.group)).await.map(drop)
    }
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
