//! Removing a stream's oldest entries, and single ones.

use redis::Value;

use super::{Connection, EntryId, StreamError, reply};

/// How many entries one command removes at most; freeing many more would hold up everybody else.
pub const STEP: u64 = 100_000;

/// Trims no further than the lower of the last delivered and the first pending entry of each group but those named,
/// looked up in the same moment. Ids are compared as decimal texts: Lua's numbers are too short for them.
const WITHIN_GROUPS: &str = r"
local function is_before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms == b_ms then a_ms, b_ms = a_seq, b_seq end
  if #a_ms ~= #b_ms then return #a_ms < #b_ms end
  return a_ms < b_ms
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local cut, limit = ARGV[1], ARGV[2]
local free = {}
for i = 3, #ARGV do free[ARGV[i]] = true end
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #flat, 2 do group[flat[i]] = flat[i + 1] end
  if not free[group['name']] then
    if is_before(group['last-delivered-id'], cut) then cut = group['last-delivered-id'] end
    if group['pending'] > 0 then
      local first = redis.call('XPENDING', KEYS[1], group['name'])[2]
      if first and is_before(first, cut) then cut = first end
    end
  end
end
if limit == '0' then return redis.call('XTRIM', KEYS[1], 'MINID', '=', cut) end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', cut, 'LIMIT', limit)
";

/// How much is removed of what may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// All of it.
    Exact,
    /// Whole nodes of the stream (about a hundred entries) only, which is what frees memory, and at most so many entries.
    Nodes(u64),
}

impl Connection {
    /// Removes entries before `id`, as far as every group but the `free` ones has read and acknowledged them; gives
    /// how many.
    pub async fn trim_before(
        &self,
        stream: &str,
        id: EntryId,
        amount: Amount,
        free: &[&str],
    ) -> Result<u64, StreamError> {
        let limit = match amount {
            Amount::Exact => 0,
            Amount::Nodes(limit) => limit.max(1),
        };
        let what = format!("XTRIM {stream}");
        let mut command = redis::cmd("EVAL");
        command.arg(WITHIN_GROUPS).arg(1).arg(stream).arg(id.to_string()).arg(limit).arg(free);
        self.count(&command, &what).await
    }

    /// Removes what lies before `id` and is acknowledged by all groups; gives how many. Needs a server with `XACKDEL`
    /// (Redis 8.2).
    pub async fn trim_acknowledged(
        &self,
        stream: &str,
        id: EntryId,
        amount: Amount,
    ) -> Result<u64, StreamError> {
        let mut command = redis::cmd("XTRIM");
        command.arg(stream).arg("MINID");
        match amount {
            Amount::Exact => command.arg("=").arg(id.to_string()),
            Amount::Nodes(limit) => command.arg("~").arg(id.to_string()).arg("LIMIT").arg(limit.max(1)),
        };
        command.arg("ACKED");
        self.count(&command, &format!("XTRIM {stream}")).await
    }

    /// Removes the oldest entries, whoever needs them, until `length` are left; gives how many.
    pub async fn trim_to_length(&self, stream: &str, length: u64) -> Result<u64, StreamError> {
        let mut command = redis::cmd("XTRIM");
        command.arg(stream).arg("MAXLEN").arg("=").arg(length);
        self.count(&command, &format!("XTRIM {stream}")).await
    }

    /// Removes these entries, whoever needs them; gives how many were there.
    pub async fn delete(&self, stream: &str, ids: &[EntryId]) -> Result<u64, StreamError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let mut command = redis::cmd("XDEL");
        command.arg(stream);
        for id in ids {
            command.arg(id.to_string());
        }
        self.count(&command, &format!("XDEL {stream}")).await
    }

    async fn count(&self, command: &redis::Cmd, what: &str) -> Result<u64, StreamError> {
        match self.query(command, what).await? {
            Value::Int(count) => Ok(count.unsigned_abs()),
            other => Err(reply::unexpected(what, &other)),
        }
    }
}
