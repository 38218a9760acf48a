//! Taking over, delivering again, renewing and giving back what is pending.
//!
//! Each of them is one script, for each asks whose an entry is before it touches it: `XCLAIM` alone
//! takes an entry from whoever has it by now. The number of deliveries is set, never left to count itself
//! up, so that it says how often a handler was given the entry and not how often it changed hands.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{Connection, Entry, EntryId, StreamError, read::Member, reply};

/// What [`Connection::take_over`] found.
#[derive(Debug)]
pub struct TakenOver {
    /// Entries that are now ours, and how often they will have been delivered with this time.
    pub entries: Vec<(Entry, u32)>,
    /// Entries that are now ours but have been delivered as often as they may be, and how often that is.
    pub exhausted: Vec<(EntryId, u32)>,
    /// Entries that were pending but are gone from the stream; they are not pending any more.
    pub lost: Vec<EntryId>,
    /// Where to go on; [`EntryId::MIN`] when the whole list was seen.
    pub cursor: EntryId,
}

/// What [`Connection::redeliver`] found in place of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redelivered {
    /// It is here.
    Entry(Entry),
    /// It was trimmed away while pending; it is not pending any more.
    Lost,
    /// It is not pending for us any more: somebody has taken it over or acknowledged it.
    NotOurs,
}

const TAKE_OVER: &str = r"
local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
local limit = tonumber(ARGV[6])
local page = redis.call('XAUTOCLAIM', stream, group, me, ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
local entries, exhausted, lost = {}, {}, page[3] or {}
for _, id in ipairs(page[2]) do
  local found = redis.call('XRANGE', stream, id, id)[1]
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if not found then
    redis.call('XACK', stream, group, id)
    table.insert(lost, id)
  elseif pending and pending[4] >= limit then
    table.insert(exhausted, {id, pending[4]})
  elseif pending then
    redis.call('XCLAIM', stream, group, me, 0, id, 'RETRYCOUNT', pending[4] + 1, 'JUSTID')
    table.insert(entries, {id, pending[4] + 1, found[2]})
  end
end
return {page[1], entries, exhausted, lost}
";

const REDELIVER: &str = r"
local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
local answers = {}
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  if #redis.call('XPENDING', stream, group, id, id, 1, me) == 0 then
    table.insert(answers, 0)
  else
    local found = redis.call('XRANGE', stream, id, id)[1]
    if found then
      redis.call('XCLAIM', stream, group, me, 0, id, 'RETRYCOUNT', ARGV[i + 1], 'JUSTID')
      table.insert(answers, found[2])
    else
      redis.call('XACK', stream, group, id)
      table.insert(answers, 1)
    end
  end
end
return answers
";

/// Finds out which of the entries, given in order, are ours: by the page, for a consumer may hold thousands.
const RENEW: &str = r"
local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
local ours, from = {}, ARGV[3]
repeat
  local page = redis.call('XPENDING', stream, group, from, ARGV[#ARGV], 1000, me)
  for _, pending in ipairs(page) do ours[pending[1]] = true end
  if #page == 1000 then from = '(' .. page[1000][1] end
until #page < 1000
local others, claim = {}, {'XCLAIM', stream, group, me, 0}
for i = 3, #ARGV do
  if ours[ARGV[i]] then table.insert(claim, ARGV[i]) else table.insert(others, ARGV[i]) end
end
if #claim > 5 then
  table.insert(claim, 'JUSTID')
  redis.call(unpack(claim))
end
return others
";

const RELEASE: &str = r"
local stream, group, me, idle = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
for i = 4, #ARGV, 2 do
  local id, times = ARGV[i], ARGV[i + 1]
  if #redis.call('XPENDING', stream, group, id, id, 1, me) > 0 then
    redis.call('XCLAIM', stream, group, me, 0, id, 'IDLE', idle, 'RETRYCOUNT', times, 'JUSTID')
  end
end
return redis.status_reply('OK')
";

impl Connection {
    /// Takes over at most `count` entries that nobody has touched for `min_idle`.
    ///
    /// An entry that was delivered `max_deliveries` times is not delivered again here: no consumer has lived to
    /// say what became of it, so it may be what ends them.
    pub async fn take_over(
        &self,
        stream: &str,
        member: Member<'_>,
        min_idle: Duration,
        cursor: EntryId,
        count: usize,
        max_deliveries: u32,
    ) -> Result<TakenOver, StreamError> {
        let what = format!("XAUTOCLAIM {stream} {}", member.group);
        let mut command = script(TAKE_OVER, stream, member);
        command.arg(whole_milliseconds(min_idle)).arg(cursor.to_string()).arg(count).arg(max_deliveries);
        let parts = reply::array(self.query(&command, &what).await?, &what)?;
        let [next, entries, exhausted, lost]: [Value; 4] =
            parts.try_into().map_err(|parts| reply::unexpected(&what, &Value::Array(parts)))?;
        let entries = reply::array(entries, &what)?.into_iter().map(|item| {
            let [id, times, fields] = parts_of(item, &what)?;
            Ok((
                Entry::new(reply::entry_id(&id, &what)?, reply::fields(fields, &what)?),
                times_of(&times, &what)?,
            ))
        });
        let exhausted = reply::array(exhausted, &what)?.into_iter().map(|item| {
            let [id, times] = parts_of(item, &what)?;
            Ok((reply::entry_id(&id, &what)?, times_of(&times, &what)?))
        });
        Ok(TakenOver {
            entries: entries.collect::<Result<_, StreamError>>()?,
            exhausted: exhausted.collect::<Result<_, StreamError>>()?,
            lost: reply::entry_ids(lost, &what)?,
            cursor: reply::entry_id(&next, &what)?,
        })
    }

    /// Reads entries of ours once more, each with the number of deliveries it shall have from now on.
    ///
    /// The answers are in the order of `ids`.
    pub async fn redeliver(
        &self,
        stream: &str,
        member: Member<'_>,
        ids: &[(EntryId, u32)],
    ) -> Result<Vec<Redelivered>, StreamError> {
        let what = format!("XCLAIM {stream} {}", member.group);
        let mut command = script(REDELIVER, stream, member);
        for (id, times) in ids {
            command.arg(id.to_string()).arg(times);
        }
        let answers = reply::array(self.query(&command, &what).await?, &what)?;
        let answers = answers.into_iter().zip(ids).map(|(answer, (id, _))| match answer {
            Value::Int(0) => Ok(Redelivered::NotOurs),
            Value::Int(_) => Ok(Redelivered::Lost),
            fields => Ok(Redelivered::Entry(Entry::new(*id, reply::fields(fields, &what)?))),
        });
        answers.collect()
    }

    /// Says that these entries, in order, are still being worked on, without counting a delivery; gives those that
    /// are not ours any more.
    pub async fn renew(
        &self,
        stream: &str,
        member: Member<'_>,
        ids: &[EntryId],
    ) -> Result<Vec<EntryId>, StreamError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let what = format!("XCLAIM {stream} {}", member.group);
        let mut command = script(RENEW, stream, member);
        for id in ids {
            command.arg(id.to_string());
        }
        reply::entry_ids(self.query(&command, &what).await?, &what)
    }

    /// Gives entries back, so that another member may take them over at once.
    ///
    /// `idle` is how long they shall seem to have been idle: the group's `min_idle` or more. With each goes how
    /// often a handler was given it.
    pub async fn release(
        &self,
        stream: &str,
        member: Member<'_>,
        ids: &[(EntryId, u32)],
        idle: Duration,
    ) -> Result<(), StreamError> {
        let what = format!("XCLAIM {stream} {}", member.group);
        let mut command = script(RELEASE, stream, member);
        command.arg(whole_milliseconds(idle));
        for (id, times) in ids {
            command.arg(id.to_string()).arg(times);
        }
        self.query(&command, &what).await.map(drop)
    }

    /// Makes entries pending for us that are pending for nobody, as after the group was created anew.
    pub async fn adopt(&self, stream: &str, member: Member<'_>, ids: &[EntryId]) -> Result<(), StreamError> {
        /// Longer than anything that is pending for somebody can have been idle.
        const NEVER_MS: u64 = 1 << 52;
        let mut command = redis::cmd("XCLAIM");
        command.arg(stream).arg(member.group).arg(member.consumer).arg(NEVER_MS);
        for id in ids {
            command.arg(id.to_string());
        }
        command.arg("FORCE").arg("JUSTID");
        self.query(&command, &format!("XCLAIM {stream} {}", member.group)).await.map(drop)
    }
}

fn script(text: &str, stream: &str, member: Member<'_>) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(1).arg(stream).arg(member.group).arg(member.consumer);
    command
}

fn parts_of<const N: usize>(item: Value, what: &str) -> Result<[Value; N], StreamError> {
    reply::array(item, what)?.try_into().map_err(|parts| reply::unexpected(what, &Value::Array(parts)))
}

fn times_of(value: &Value, what: &str) -> Result<u32, StreamError> {
    Ok(u32::try_from(reply::integer(value, what)?).unwrap_or(u32::MAX))
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
