//! Putting dead letters back onto streams.

use bytes::Bytes;
use redis::Value;

use super::{Connection, EntryId, StreamError, reply};

/// The most fields of an entry that a script can append: Lua passes about 8,000 arguments.
const MAX_SCRIPT_FIELDS: usize = 3_500;

/// Appends what is still among the dead letters and deletes it there. A refused XADD ends the script: what was moved
/// before it stays moved, the rest stays where it is.
const SCRIPT: &str = r"
local moved, at = 0, 2
while at <= #ARGV do
  local id, fields = ARGV[at], tonumber(ARGV[at + 1]) * 2
  if #redis.call('XRANGE', KEYS[1], id, id) == 1 then
    local command = {'XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*'}
    for i = at + 2, at + 1 + fields do table.insert(command, ARGV[i]) end
    redis.call(unpack(command))
    redis.call('XDEL', KEYS[1], id)
    moved = moved + 1
  end
  at = at + 2 + fields
end
return moved
";

/// Follows an XADD in the same transaction, where it can't be prevented: deletes the letter if the stream's last entry
/// is what was to be added; takes that back if the letter is gone, so that somebody else has put it back.
const SETTLE: &str = r"
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if not last or #last[2] ~= #ARGV - 1 then return redis.error_reply('ERR the letter was not appended') end
for i = 2, #ARGV do
  if last[2][i - 1] ~= ARGV[i] then return redis.error_reply('ERR the letter was not appended') end
end
if redis.call('XDEL', KEYS[1], ARGV[1]) == 1 then return 1 end
redis.call('XDEL', KEYS[2], last[1])
return 0
";

/// A dead letter and what is appended in its place.
#[derive(Clone, Debug)]
pub struct Return {
    /// The letter's id among the dead letters.
    pub id: EntryId,
    /// The fields to append, at least one.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl Connection {
    /// Appends letters of `dead` to `stream` and deletes them from `dead`; gives how many were still there.
    ///
    /// Each is moved as one step: never lost, never twice. On an error some may have been moved. The stream keeps about
    /// `maxlen` entries.
    pub async fn put_back(
        &self,
        dead: &str,
        stream: &str,
        letters: &[Return],
        maxlen: u64,
    ) -> Result<u64, StreamError> {
        let (small, large): (Vec<_>, Vec<_>) =
            letters.iter().partition(|letter| letter.fields.len() <= MAX_SCRIPT_FIELDS);
        let mut moved = 0;
        if !small.is_empty() {
            let what = format!("putting dead letters back onto {stream}");
            let mut command = redis::cmd("EVAL");
            command.arg(SCRIPT).arg(2).arg(dead).arg(stream).arg(maxlen);
            for letter in small {
                command.arg(letter.id.to_string()).arg(letter.fields.len());
                for (field, value) in &letter.fields {
                    command.arg(field.as_ref()).arg(value.as_ref());
                }
            }
            moved += reply::integer(&self.query(&command, &what).await?, &what)?.unsigned_abs();
        }
        for letter in large {
            moved += u64::from(self.put_back_large(dead, stream, letter, maxlen).await?);
        }
        Ok(moved)
    }

    /// The same for a letter with more fields than a script can append.
    async fn put_back_large(
        &self,
        dead: &str,
        stream: &str,
        letter: &Return,
        maxlen: u64,
    ) -> Result<bool, StreamError> {
        let what = format!("putting {} of {dead} back onto {stream}", letter.id);
        let mut transaction = redis::pipe();
        transaction.atomic();
        transaction.cmd("XADD").arg(stream).arg("MAXLEN").arg("~").arg(maxlen).arg("*");
        for (field, value) in &letter.fields {
            transaction.arg(field.as_ref()).arg(value.as_ref());
        }
        transaction.cmd("EVAL").arg(SETTLE).arg(2).arg(dead).arg(stream).arg(letter.id.to_string());
        for (field, value) in &letter.fields {
            transaction.arg(field.as_ref()).arg(value.as_ref());
        }
        let answers = self.query_all(&transaction, true, &what).await?;
        let executed = answers.into_iter().next().unwrap_or(Value::Nil);
        let settled = reply::array(self.answered(executed, &what)?, &what)?.pop().unwrap_or(Value::Nil);
        Ok(reply::integer(&settled, &what)? == 1)
    }
}
