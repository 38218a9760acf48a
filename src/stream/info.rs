use redis::Value;

use super::{Connection, EntryId, StreamError, reply};

/// How many streams [`Connection::streams`] lists at most.
const MAX_STREAMS: usize = 10_000;

/// How many nodes of a stream (about a hundred entries each, fewer of large ones) are counted for its bytes, and stand for
/// the rest: all of most streams. Takes the server 0.3 ms; with its default of 5 it is wrong by as much as its first
/// entries differ from the others.
const SAMPLES: u32 = 10_000;

/// A stream as `XINFO STREAM` and `MEMORY USAGE` tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// How many entries it holds.
    pub length: u64,
    /// The first entry's id, if it holds any.
    pub first_id: Option<EntryId>,
    /// The id of the last entry ever appended, trimmed or not.
    pub last_generated_id: EntryId,
    /// How many entries were ever appended; `None` before Redis 7.
    pub entries_added: Option<u64>,
    /// The greatest id ever deleted by `XDEL`, trimming apart; `None` before Redis 7.
    pub max_deleted_id: Option<EntryId>,
    /// Bytes of the server's memory, as [`Connection::bytes`] tells them.
    pub bytes: Option<u64>,
    /// How many consumer groups it has.
    pub groups: u64,
}

impl StreamInfo {
    /// Whether an entry after this one was in the stream and is no longer, or may have been.
    pub fn has_lost_since(&self, after: EntryId) -> bool {
        if after >= self.last_generated_id {
            return false;
        }
        if self.max_deleted_id.is_some_and(|deleted| deleted > after) {
            return true;
        }
        let nothing_was_removed = self.entries_added == Some(self.length);
        !nothing_was_removed && self.first_id.is_none_or(|first| first > after)
    }
}

impl Connection {
    /// What the server knows of a stream; `None` if there is no such stream.
    pub async fn info(&self, stream: &str) -> Result<Option<StreamInfo>, StreamError> {
        let Some(mut info) = self.extent(stream).await? else { return Ok(None) };
        // Managed servers may forbid MEMORY: then the size is unknown, and nothing else suffers.
        info.bytes = self.bytes(stream).await.ok();
        Ok(Some(info))
    }

    /// How many entries a stream has; 0 if there is no such stream.
    pub async fn length(&self, stream: &str) -> Result<u64, StreamError> {
        let what = format!("XLEN {stream}");
        let mut command = redis::cmd("XLEN");
        command.arg(stream);
        reply::integer(&self.query(&command, &what).await?, &what).map(i64::unsigned_abs)
    }

    /// Bytes of the server's memory that a stream takes, by its first 10,000 nodes; 0 if there is no such stream.
    pub async fn bytes(&self, stream: &str) -> Result<u64, StreamError> {
        let what = format!("MEMORY USAGE {stream}");
        let mut command = redis::cmd("MEMORY");
        command.arg("USAGE").arg(stream).arg("SAMPLES").arg(SAMPLES);
        match self.query(&command, &what).await? {
            Value::Nil => Ok(0),
            bytes => reply::integer(&bytes, &what).map(i64::unsigned_abs),
        }
    }

    /// The id of the last entry ever appended to a stream; [`EntryId::MIN`] if there is no such stream.
    pub async fn last_id(&self, stream: &str) -> Result<EntryId, StreamError> {
        Ok(self.extent(stream).await?.map_or(EntryId::MIN, |info| info.last_generated_id))
    }

    /// The same without its size, which takes the server longer to tell.
    pub async fn extent(&self, stream: &str) -> Result<Option<StreamInfo>, StreamError> {
        let what = format!("XINFO STREAM {stream}");
        let mut command = redis::cmd("XINFO");
        command.arg("STREAM").arg(stream);
        match self.query(&command, &what).await {
            Ok(answer) => stream_info(reply::pairs(answer, &what)?, &what).map(Some),
            Err(StreamError::Refused { reason, .. }) if reason.contains("no such key") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of all streams of the database, sorted; at most 10,000.
    pub async fn streams(&self) -> Result<Vec<String>, StreamError> {
        self.streams_like("*").await
    }

    /// The names of the streams that a pattern of `SCAN` matches, for example `*:dlq`, sorted; at most 10,000.
    pub async fn streams_like(&self, pattern: &str) -> Result<Vec<String>, StreamError> {
        let mut found = std::collections::BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1_000).arg("TYPE").arg("stream");
            let page = reply::array(self.query(&command, "SCAN").await?, "SCAN")?;
            let [next, names]: [Value; 2] =
                page.try_into().map_err(|page| reply::unexpected("SCAN", &Value::Array(page)))?;
            cursor = reply::text(&next, "SCAN")?;
            for name in reply::array(names, "SCAN")? {
                found.insert(reply::text(&name, "SCAN")?);
            }
            if cursor == "0" || found.len() >= MAX_STREAMS {
                return Ok(found.into_iter().take(MAX_STREAMS).collect());
            }
        }
    }
}

fn stream_info(pairs: Vec<(String, Value)>, what: &str) -> Result<StreamInfo, StreamError> {
    let mut info = StreamInfo {
        length: 0,
        first_id: None,
        last_generated_id: EntryId::MIN,
        entries_added: None,
        max_deleted_id: None,
        bytes: None,
        groups: 0,
    };
    for (name, value) in pairs {
        match name.as_str() {
            "length" => info.length = reply::integer(&value, what)?.unsigned_abs(),
            "last-generated-id" => info.last_generated_id = reply::entry_id(&value, what)?,
            "entries-added" => info.entries_added = Some(reply::integer(&value, what)?.unsigned_abs()),
            "max-deleted-entry-id" => info.max_deleted_id = Some(reply::entry_id(&value, what)?),
            "groups" => info.groups = reply::integer(&value, what)?.unsigned_abs(),
            "first-entry" => {
                if let Value::Array(parts) = &value {
                    info.first_id = parts.first().map(|id| reply::entry_id(id, what)).transpose()?;
                }
            }
            _ => {}
        }
    }
    Ok(info)
}
