//! Dead letters: entries that could not be handled, with the reason, on `<stream>:dlq`.

use super::{Connection, DEAD_LETTER_SUFFIX, EntryId, StreamError, reply};

/// The fields that a dead letter has besides those of its event.
pub const LETTER_FIELDS: [&str; 7] = [
    "dlq_original_stream",
    "dlq_original_group",
    "dlq_original_id",
    "dlq_reason",
    "dlq_error",
    "dlq_retry_count",
    "dlq_moved_at",
];
/// What the name of an event's own field of such a name, or one that begins so itself, begins with in a dead letter.
pub const OWN_FIELD_PREFIX: &str = "dlq_field_";
/// The field that has all fields of an event with very many, as a JSON array of names and values in turn.
pub const ALL_FIELDS: &str = "dlq_original_fields";

/// How many dead letters a stream keeps, about.
pub const MAX_DEAD_LETTERS: u64 = 100_000;

/// Moves one pending entry: never lost, never twice.
///
/// Two commands would double the entry on a crash between them, and MULTI would acknowledge even
/// when the XADD failed. Here a failing XADD ends the script before the XACK. Lua can pass about
/// 8,000 arguments; the fields of an entry with more are kept as one JSON array.
///
/// Answers whether it was moved, and how many older letters had to go for it.
const SCRIPT: &str = r"
local stream, dead = KEYS[1], KEYS[2]
local group, id, maxlen, is_pending = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local first = 5
local ours = {}
for i = first, #ARGV, 2 do ours[ARGV[i]] = true end
if is_pending and #redis.call('XPENDING', stream, group, id, id, 1) == 0 then return {0, 0} end
local found = redis.call('XRANGE', stream, id, id)
local command = {'XADD', dead, 'MAXLEN', '~', maxlen, '*'}
if found[1] then
  local fields = found[1][2]
  if #fields > 7000 then
    table.insert(command, 'dlq_original_fields')
    table.insert(command, cjson.encode(fields))
  else
    for i = 1, #fields, 2 do
      local name = fields[i]
      if ours[name] or name == 'dlq_original_fields' or string.sub(name, 1, 10) == 'dlq_field_' then
        name = 'dlq_field_' .. name
      end
      table.insert(command, name)
      table.insert(command, fields[i + 1])
    end
  end
end
for i = first, #ARGV do table.insert(command, ARGV[i]) end
local before = redis.call('XLEN', dead)
redis.call(unpack(command))
if is_pending then redis.call('XACK', stream, group, id) end
return {1, before + 1 - redis.call('XLEN', dead)}
";

/// An entry to move to the dead letters, and why.
#[derive(Clone, Debug)]
pub struct DeadLetter<'a> {
    /// The stream the entry is on.
    pub stream: &'a str,
    /// The group in which it is pending, or the name of a reader without a group.
    pub group: &'a str,
    /// Whether it has to be pending in the group, and is acknowledged with the move.
    pub is_pending: bool,
    /// The entry.
    pub id: EntryId,
    /// One word, for example `undecodable`, `rejected`, `max_deliveries`.
    pub reason: &'a str,
    /// What happened, in words.
    pub error: &'a str,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buried {
    /// It was moved; so many older ones had to go, for no more than [`MAX_DEAD_LETTERS`] are kept.
    Moved {
        /// How many.
        dropped: u64,
    },
    /// It was not pending any more: it has been handled or moved meanwhile.
    NotPending,
}

impl Connection {
    /// Moves an entry to the dead letters and acknowledges it.
    pub async fn bury(&self, letter: &DeadLetter<'_>) -> Result<Buried, StreamError> {
        let DeadLetter { stream, group, is_pending, id, reason, error, deliveries } = letter;
        let id = id.to_string();
        let moved_at = jiff::Timestamp::now();
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(2).arg(*stream).arg(format!("{stream}{DEAD_LETTER_SUFFIX}"));
        command.arg(*group).arg(&id).arg(MAX_DEAD_LETTERS).arg(u8::from(*is_pending));
        command.arg("dlq_original_stream").arg(*stream);
        command.arg("dlq_original_group").arg(*group);
        command.arg("dlq_original_id").arg(&id);
        command.arg("dlq_reason").arg(*reason);
        command.arg("dlq_error").arg(*error);
        command.arg("dlq_retry_count").arg(*deliveries);
        command.arg("dlq_moved_at").arg(format!("{moved_at:.6}"));
        let what = format!("moving {id} of {stream} to the dead letters");
        let parts = reply::array(self.query(&command, &what).await?, &what)?;
        let [moved, dropped]: [redis::Value; 2] =
            parts.try_into().map_err(|parts| reply::unexpected(&what, &redis::Value::Array(parts)))?;
        match reply::integer(&moved, &what)? {
            0 => Ok(Buried::NotPending),
            _ => Ok(Buried::Moved { dropped: reply::integer(&dropped, &what)?.max(0).unsigned_abs() }),
        }
    }
}
