//! Blocking reads, with a group and without.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{BlockingConnection, Entry, EntryId, StreamError, reply};

/// Where a member of a group reads.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The consumer group.
    pub group: &'a str,
    /// The consumer's name, unique among the group's processes.
    pub consumer: &'a str,
}

impl BlockingConnection {
    /// At most `count` entries of each stream after the given ids, waiting up to `block` for the first (`XREAD`).
    ///
    /// Streams without news are not in the answer; it is empty when the time was up.
    pub async fn read(
        &mut self,
        positions: &[(String, EntryId)],
        count: usize,
        block: Duration,
    ) -> Result<Vec<(String, Vec<Entry>)>, StreamError> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(count).arg("BLOCK").arg(milliseconds(block)).arg("STREAMS");
        for (stream, _) in positions {
            command.arg(stream);
        }
        for (_, id) in positions {
            command.arg(id.to_string());
        }
        self.read_streams(&command, block, "XREAD").await
    }

    /// At most `count` entries of each stream that no member of the group has been given yet (`XREADGROUP >`).
    pub async fn read_group(
        &mut self,
        member: Member<'_>,
        streams: &[String],
        count: usize,
        block: Duration,
    ) -> Result<Vec<(String, Vec<Entry>)>, StreamError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(member.group).arg(member.consumer);
        command.arg("COUNT").arg(count).arg("BLOCK").arg(milliseconds(block)).arg("STREAMS");
        command.arg(streams);
        for _ in streams {
            command.arg(">");
        }
        self.read_streams(&command, block, &format!("XREADGROUP {}", member.group)).await
    }

    /// At most `count` entries that are pending for this very member, after an id (`XREADGROUP` with an id).
    pub async fn read_pending(
        &mut self,
        member: Member<'_>,
        stream: &str,
        after: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(member.group).arg(member.consumer);
        command.arg("COUNT").arg(count).arg("STREAMS").arg(stream).arg(after.to_string());
        let read =
            self.read_streams(&command, Duration::ZERO, &format!("XREADGROUP {}", member.group)).await?;
        Ok(read.into_iter().flat_map(|(_, entries)| entries).collect())
    }

    /// The server's number for this connection, by which another can end its waiting.
    pub async fn client_id(&mut self) -> Result<i64, StreamError> {
        let mut command = redis::cmd("CLIENT");
        command.arg("ID");
        let answer = self.query(&command, Duration::ZERO, "CLIENT ID").await?;
        reply::integer(&answer, "CLIENT ID")
    }

    async fn read_streams(
        &mut self,
        command: &Cmd,
        block: Duration,
        what: &str,
    ) -> Result<Vec<(String, Vec<Entry>)>, StreamError> {
        let answer = self.query(command, block, what).await?;
        let streams = reply::array(answer, what)?;
        streams.into_iter().map(|item| stream_entries(item, what)).collect()
    }
}

fn stream_entries(item: Value, what: &str) -> Result<(String, Vec<Entry>), StreamError> {
    let mut parts = reply::array(item, what)?.into_iter();
    let (Some(name), Some(entries)) = (parts.next(), parts.next()) else {
        return Err(reply::unexpected(what, &Value::Nil));
    };
    Ok((reply::text(&name, what)?, reply::entries(entries, what)?))
}

/// `BLOCK 0` would mean for ever.
fn milliseconds(block: Duration) -> u64 {
    u64::try_from(block.as_millis()).unwrap_or(u64::MAX).max(1)
}
