//! Readers without a group, shown as one: where the slowest of them stands is where the group stands, so that whoever looks
//! at the stream's groups sees how far behind they are.
//!
//! Each reader tells its position again and again; one that no longer does is forgotten after a time. They are in the
//! sorted set `synapse:onlookers:<group>`, by when that is, and each has a hash `synapse:onlookers:<group>:<reader>` of
//! streams and positions that expires then. The group is moved only while it has no consumers: somebody may be using it.

use std::time::Duration;

use super::{Connection, EntryId, StreamError, reply};

/// What the keys begin with.
const PREFIX: &str = "synapse:onlookers:";

/// Tells where one reader stands, and moves the group of each stream to the slowest. Ids are compared as texts of digits, as
/// numbers beyond 2⁵³ are not exact here. Gives how many groups were moved.
const SCRIPT: &str = r"
local all, own, group, reader, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', all, '-inf', '(' .. now)
redis.call('ZADD', all, now + ttl, reader)
redis.call('PEXPIRE', all, ttl)
redis.call('DEL', own)
for i = 4, #ARGV, 3 do redis.call('HSET', own, ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2]) end
redis.call('PEXPIRE', own, ttl)
local readers = redis.call('ZRANGE', all, 0, -1)
local function less(a, b)
  local a_ms, a_seq = a:match('(%d+)-(%d+)')
  local b_ms, b_seq = b:match('(%d+)-(%d+)')
  if #a_ms ~= #b_ms then return #a_ms < #b_ms end
  if a_ms ~= b_ms then return a_ms < b_ms end
  if #a_seq ~= #b_seq then return #a_seq < #b_seq end
  return a_seq < b_seq
end
local moved = 0
for i = 4, #ARGV, 3 do
  local stream, id, read = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  for _, other in ipairs(readers) do
    local place = redis.call('HGET', all .. ':' .. other, stream)
    local other_id, other_read = (place or ''):match('(%S+) (%S+)')
    if other_id and less(other_id, id) then id, read = other_id, other_read end
  end
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  local consumers = false
  if not groups.err then
    for _, found in ipairs(groups) do
      local fields = {}
      for at = 1, #found, 2 do fields[found[at]] = found[at + 1] end
      if fields.name == group then consumers = fields.consumers end
    end
  end
  local done
  if consumers == false then
    done = redis.pcall('XGROUP', 'CREATE', stream, group, id, 'MKSTREAM')
  end
  if consumers == 0 or (done and not done.err) then
    done = { err = '' }
    if read ~= '-' then done = redis.pcall('XGROUP', 'SETID', stream, group, id, 'ENTRIESREAD', read) end
    if done.err then done = redis.pcall('XGROUP', 'SETID', stream, group, id) end
    if not done.err then moved = moved + 1 end
  end
end
return moved
";

/// Forgets a reader.
const LEAVE: &str = "redis.call('ZREM', KEYS[1], ARGV[1]) return redis.call('DEL', KEYS[2])";

/// Where a reader stands in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The stream.
    pub stream: &'a str,
    /// The last entry that it has read.
    pub id: EntryId,
    /// How many entries had been appended up to there; `None` if it does not know.
    pub entries_read: Option<u64>,
}

impl Connection {
    /// Tells where `reader` stands, for `ttl`; and has `group` stand where the slowest of its readers does. A stream that is
    /// not there is made. How many groups are where they should be: not those that somebody consumes by.
    pub async fn tell_places(
        &self,
        group: &str,
        reader: &str,
        ttl: Duration,
        places: &[Place<'_>],
    ) -> Result<u64, StreamError> {
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(2).arg(format!("{PREFIX}{group}")).arg(format!("{PREFIX}{group}:{reader}"));
        command.arg(group).arg(reader).arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        for place in places {
            command.arg(place.stream).arg(place.id.to_string());
            match place.entries_read {
                Some(read) => command.arg(read),
                None => command.arg("-"),
            };
        }
        let what = format!("XGROUP SETID {group}");
        let moved = reply::integer(&self.query(&command, &what).await?, &what)?;
        Ok(u64::try_from(moved).unwrap_or_default())
    }

    /// Forgets a reader that leaves.
    pub async fn forget_places(&self, group: &str, reader: &str) -> Result<(), StreamError> {
        let mut command = redis::cmd("EVAL");
        command.arg(LEAVE).arg(2).arg(format!("{PREFIX}{group}")).arg(format!("{PREFIX}{group}:{reader}"));
        command.arg(reader);
        self.query(&command, &format!("ZREM {PREFIX}{group}")).await.map(drop)
    }
}
