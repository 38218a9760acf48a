//! Putting dead letters back onto streams.

use bytes::Bytes;
use redis::Value;

use super::{Connection, EntryId, StreamError, reply};

/// The most fields of an entry that a script can append: Lua passes about 8,000 arguments.
const MAX_SCRIPT_FIELDS: usize = 3_500;

/// Appends what is still among the dead letters and deletes it there. A refused XADD ends the script: what was moved
/// before it stays moved, the rest stays where it is. Gives how many were moved, which one was refused (0: none), and why.
const SCRIPT: &str = r"
local moved, at, letter = 0, 2, 0
while at <= #ARGV do
  local id, fields = ARGV[at], tonumber(ARGV[at + 1]) * 2
  letter = letter + 1
  if #redis.call('XRANGE', KEYS[1], id, id) == 1 then
    local command = {'XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*'}
    for i = at + 2, at + 1 + fields do table.insert(command, ARGV[i]) end
    local answer = redis.pcall(unpack(command))
    if type(answer) == 'table' and answer.err then return {moved, letter, answer.err} end
    redis.call('XDEL', KEYS[1], id)
    moved = moved + 1
  end
  at = at + 2 + fields
end
return {moved, 0, ''}
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

/// What became of letters that were to be put back.
#[derive(Clone, Debug, Default)]
pub struct PutBack {
    /// How many of them were still there and are now on the stream.
    pub moved: u64,
    /// Which of them (an index) the stream did not take, and why; those behind it were not tried.
    pub refusal: Option<(usize, StreamError)>,
}

impl Connection {
    /// Appends letters of `dead` to `stream` and deletes them from `dead`, in their order up to the first that is refused.
    ///
    /// Each is moved as one step: never lost, never twice. On an error some may have been moved. The stream keeps about
    /// `maxlen` entries.
    pub async fn put_back(
        &self,
        dead: &str,
        stream: &str,
        letters: &[Return],
        maxlen: u64,
    ) -> Result<PutBack, StreamError> {
        let is_small = |letter: &Return| letter.fields.len() <= MAX_SCRIPT_FIELDS;
        let (mut done, mut at) = (PutBack::default(), 0);
        for run in letters.chunk_by(|one, next| is_small(one) && is_small(next)) {
            let put = match run {
                [large] if !is_small(large) => self.put_back_large(dead, stream, large, maxlen).await?,
                small => self.put_back_small(dead, stream, small, maxlen).await?,
            };
            done.moved += put.moved;
            if let Some((index, error)) = put.refusal {
                done.refusal = Some((at + index, error));
                break;
            }
            at += run.len();
        }
        Ok(done)
    }

    async fn put_back_small(
        &self,
        dead: &str,
        stream: &str,
        letters: &[Return],
        maxlen: u64,
    ) -> Result<PutBack, StreamError> {
        let what = format!("putting dead letters back onto {stream}");
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(2).arg(dead).arg(stream).arg(maxlen);
        for letter in letters {
            command.arg(letter.id.to_string()).arg(letter.fields.len());
            for (field, value) in &letter.fields {
                command.arg(field.as_ref()).arg(value.as_ref());
            }
        }
        let parts = reply::array(self.query(&command, &what).await?, &what)?;
        let [moved, refused, reason]: [Value; 3] =
            parts.try_into().map_err(|parts| reply::unexpected(&what, &Value::Array(parts)))?;
        let refused = usize::try_from(reply::integer(&refused, &what)?).unwrap_or(0);
        let reason = reply::text(&reason, &what)?;
        Ok(PutBack {
            moved: reply::integer(&moved, &what)?.unsigned_abs(),
            refusal: refused.checked_sub(1).map(|at| (at, StreamError::Refused { command: what, reason })),
        })
    }

    /// The same for a letter with more fields than a script can append.
    async fn put_back_large(
        &self,
        dead: &str,
        stream: &str,
        letter: &Return,
        maxlen: u64,
    ) -> Result<PutBack, StreamError> {
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
        let mut answers = reply::array(executed, &what)?.into_iter();
        let (added, settled) = (answers.next().unwrap_or(Value::Nil), answers.next().unwrap_or(Value::Nil));
        if let Err(error) = self.answered(added, &what) {
            return Ok(PutBack { moved: 0, refusal: Some((0, error)) });
        }
        let settled = reply::integer(&self.answered(settled, &what)?, &what)?;
        Ok(PutBack { moved: u64::from(settled == 1), refusal: None })
    }
}
