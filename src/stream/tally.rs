//! Counting dead letters where they are.

use redis::Value;

use super::{Connection, EntryId, StreamError, reply};

/// Counts entries by group and reason, so many of them and so many bytes together; at least a few. Only the server can do
/// it without sending them all.
const SCRIPT: &str = r"
local from, most, left = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local heaps, found, looked, bytes, last = {}, {}, 0, 0, from
while looked < most and bytes < left do
  local part = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 16)
  for _, entry in ipairs(part) do
    local fields, group, reason = entry[2], '', ''
    for i = 1, #fields, 2 do
      bytes = bytes + #fields[i] + #fields[i + 1]
      if fields[i] == 'dlq_original_group' then group = fields[i + 1] end
      if fields[i] == 'dlq_reason' then reason = fields[i + 1] end
    end
    last = entry[1]
    local key = #group .. ':' .. group .. reason
    if not heaps[key] then
      heaps[key] = {group, reason, 0, last, last}
      found[#found + 1] = heaps[key]
    end
    heaps[key][3] = heaps[key][3] + 1
    heaps[key][5] = last
    looked = looked + 1
  end
  if #part < 16 then return {0, looked, bytes, last, found} end
  from = '(' .. last
end
return {1, looked, bytes, last, found}
";

/// Dead letters of one group and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The group that could not handle them; empty if they do not say.
    pub group: String,
    /// The reason; empty if they do not say.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The id of the first among the dead letters.
    pub oldest: EntryId,
    /// The id of the last.
    pub newest: EntryId,
}

/// Some dead letters, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// By group and reason.
    pub kinds: Vec<Kind>,
    /// How many there are of all kinds.
    pub letters: u64,
    /// How many bytes they have.
    pub bytes: usize,
    /// Where those begin that were not looked at; `None` at the end.
    pub next: Option<EntryId>,
}

impl Connection {
    /// Counts about `most` dead letters or `bytes` of them from an id on; at least one if there is one.
    pub async fn tally(
        &self,
        dead: &str,
        from: EntryId,
        most: u64,
        bytes: usize,
    ) -> Result<Tally, StreamError> {
        let what = format!("counting {dead}");
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(dead).arg(from.to_string()).arg(most.max(1)).arg(bytes.max(1));
        let parts = reply::array(self.query(&command, &what).await?, &what)?;
        let [more, letters, bytes, last, found]: [Value; 5] =
            parts.try_into().map_err(|parts| reply::unexpected(&what, &Value::Array(parts)))?;
        let number = |value: &Value| reply::integer(value, &what).map(i64::unsigned_abs);
        let kind = |value: Value| {
            let parts = reply::array(value, &what)?;
            let [group, reason, count, oldest, newest]: [Value; 5] =
                parts.try_into().map_err(|parts| reply::unexpected(&what, &Value::Array(parts)))?;
            Ok(Kind {
                group: reply::text(&group, &what)?,
                reason: reply::text(&reason, &what)?,
                count: number(&count)?,
                oldest: reply::entry_id(&oldest, &what)?,
                newest: reply::entry_id(&newest, &what)?,
            })
        };
        let last = reply::entry_id(&last, &what)?;
        Ok(Tally {
            kinds: reply::array(found, &what)?.into_iter().map(kind).collect::<Result<_, _>>()?,
            letters: number(&letters)?,
            bytes: usize::try_from(number(&bytes)?).unwrap_or(usize::MAX),
            next: (number(&more)? == 1).then(|| last.next()),
        })
    }
}
