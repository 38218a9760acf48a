use std::time::Duration;

use redis::Value;
use serde::Serialize;

use super::{Connection, EntryId, StreamError, read::Member, reply};

/// A consumer group of a stream, as `XINFO GROUPS` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupInfo {
    /// The group's name.
    pub name: String,
    /// How many consumers it knows, idle ones included.
    pub consumers: u64,
    /// Entries delivered and not acknowledged.
    pub pending: u64,
    /// The last entry delivered to any of its consumers.
    pub last_delivered_id: EntryId,
    /// Entries not delivered yet; `None` where the server can't know (entries were deleted in between).
    pub lag: Option<u64>,
    /// How many entries it was ever given; `None` where the server can't know, and before Redis 7.
    #[serde(skip)]
    pub entries_read: Option<u64>,
    /// Of the pending entries the one that was appended first.
    pub oldest_pending_id: Option<EntryId>,
    /// How long ago that entry was appended, by the server's clock.
    #[serde(rename = "oldest_pending_ms", serialize_with = "as_milliseconds")]
    pub oldest_pending: Option<Duration>,
    /// How long ago it was last delivered, or renewed by the consumer that works on it.
    #[serde(rename = "oldest_pending_idle_ms", serialize_with = "as_milliseconds")]
    pub oldest_pending_idle: Option<Duration>,
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn as_milliseconds<S: serde::Serializer>(age: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}

impl Connection {
    /// Creates the group at `start`, and the stream if there is none; `false` if the group was there already.
    pub async fn create_group(&self, stream: &str, group: &str, start: &str) -> Result<bool, StreamError> {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(stream).arg(group).arg(start).arg("MKSTREAM");
        match self.query(&command, &format!("XGROUP CREATE {stream} {group}")).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a consumer known to its group, so that operators see it before it was given anything.
    pub async fn create_consumer(&self, stream: &str, member: Member<'_>) -> Result<(), StreamError> {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATECONSUMER").arg(stream).arg(member.group).arg(member.consumer);
        self.query(&command, &format!("XGROUP CREATECONSUMER {stream} {}", member.group)).await.map(drop)
    }

    /// Sets from where on a group reads.
    pub async fn set_group_id(&self, stream: &str, group: &str, id: EntryId) -> Result<(), StreamError> {
        let mut command = redis::cmd("XGROUP");
        command.arg("SETID").arg(stream).arg(group).arg(id.to_string());
        self.query(&command, &format!("XGROUP SETID {stream} {group}")).await.map(drop)
    }

    /// The groups of a stream; none if there is no such stream.
    pub async fn groups(&self, stream: &str) -> Result<Vec<GroupInfo>, StreamError> {
        let what = format!("XINFO GROUPS {stream}");
        let mut command = redis::cmd("XINFO");
        command.arg("GROUPS").arg(stream);
        let answer = match self.query(&command, &what).await {
            Err(StreamError::Refused { reason, .. }) if reason.contains("no such key") => {
                return Ok(Vec::new());
            }
            other => other?,
        };
        let mut groups = Vec::new();
        for item in reply::array(answer, &what)? {
            let mut group = group_info(reply::pairs(item, &what)?, &what)?;
            if group.pending > 0 {
                self.add_oldest_pending(stream, &mut group).await?;
            }
            groups.push(group);
        }
        Ok(groups)
    }

    /// Adds what is pending longest; nothing if it was acknowledged meanwhile.
    async fn add_oldest_pending(&self, stream: &str, group: &mut GroupInfo) -> Result<(), StreamError> {
        if let Some(first) = self.pending_entries(stream, &group.name, 1).await?.first() {
            let now_ms = match self.now_ms().await {
                // It may be forbidden: then our own clock has to do.
                Err(StreamError::Refused { .. }) => jiff::Timestamp::now().as_millisecond().unsigned_abs(),
                now_ms => now_ms?,
            };
            group.oldest_pending_id = Some(first.id);
            group.oldest_pending = Some(Duration::from_millis(now_ms.saturating_sub(first.id.ms)));
            group.oldest_pending_idle = Some(first.idle);
        }
        Ok(())
    }

    /// Deletes a consumer that holds nothing; `false` if it holds entries, which are never dropped.
    pub async fn delete_idle_consumer(
        &self,
        stream: &str,
        group: &str,
        consumer: &str,
    ) -> Result<bool, StreamError> {
        // DELCONSUMER alone would silently drop what is pending.
        const SCRIPT: &str = "if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end \
                              redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) return 1";
        let what = format!("XGROUP DELCONSUMER {stream} {group}");
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(stream).arg(group).arg(consumer);
        let answer = self.query(&command, &what).await?;
        Ok(reply::integer(&answer, &what)? == 1)
    }

    /// Deletes the consumers that hold nothing and have not been heard of for `idle`; gives their names.
    ///
    /// One that lives after all is made again by its next read.
    pub async fn delete_dead_consumers(
        &self,
        stream: &str,
        group: &str,
        idle: Duration,
    ) -> Result<Vec<String>, StreamError> {
        const SCRIPT: &str = r"
            local deleted = {}
            for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
              local info = {}
              for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
              if info.pending == 0 and info.idle > tonumber(ARGV[2]) then
                redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], info.name)
                table.insert(deleted, info.name)
              end
            end
            return deleted";
        let what = format!("XGROUP DELCONSUMER {stream} {group}");
        let mut command = redis::cmd("EVAL");
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        command.arg(SCRIPT).arg(1).arg(stream).arg(group).arg(idle_ms);
        let names = reply::array(self.query(&command, &what).await?, &what)?;
        names.iter().map(|name| reply::text(name, &what)).collect()
    }
}

fn group_info(pairs: Vec<(String, Value)>, what: &str) -> Result<GroupInfo, StreamError> {
    let mut info = GroupInfo {
        name: String::new(),
        consumers: 0,
        pending: 0,
        last_delivered_id: EntryId::MIN,
        lag: None,
        entries_read: None,
        oldest_pending_id: None,
        oldest_pending: None,
        oldest_pending_idle: None,
    };
    for (name, value) in pairs {
        match name.as_str() {
            "name" => info.name = reply::text(&value, what)?,
            "consumers" => info.consumers = reply::integer(&value, what)?.unsigned_abs(),
            "pending" => info.pending = reply::integer(&value, what)?.unsigned_abs(),
            "last-delivered-id" => info.last_delivered_id = reply::entry_id(&value, what)?,
            "entries-read" if value != Value::Nil => {
                info.entries_read = Some(reply::integer(&value, what)?.unsigned_abs());
            }
            "lag" if value != Value::Nil => info.lag = Some(reply::integer(&value, what)?.unsigned_abs()),
            _ => {}
        }
    }
    Ok(info)
}
