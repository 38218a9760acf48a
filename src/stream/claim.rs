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
    /// Somebody has taken it over.
    NotOurs,
}

/// Which of the entries that were to be renewed are not simply ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Somebody has taken them over.
    pub others: Vec<EntryId>,
    /// They were trimmed away.
    pub lost: Vec<EntryId>,
    /// They were pending for nobody, and are ours again.
    pub adopted: Vec<EntryId>,
}

/// The number of deliveries of an entry that is tried alone: this and how often it was delivered. No entry gets so
/// high by being delivered or taken over, by whatever consumer of the group.
pub const ALONE: u32 = 1 << 20;

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
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if pending and pending[2] ~= me then
    table.insert(answers, 0)
  else
    local found = redis.call('XRANGE', stream, id, id)[1]
    if found then
      redis.call('XCLAIM', stream, group, me, 0, id, 'RETRYCOUNT', ARGV[i + 1], 'FORCE', 'JUSTID')
      table.insert(answers, found[2])
    else
      redis.call('XACK', stream, group, id)
      table.insert(answers, 1)
    end
  end
end
return answers
";

/// What is ours is found by the page, for a consumer may hold thousands. An entry that is pending for nobody, as after
/// the group was made anew, is made pending for us.
const RENEW: &str = r"
local stream, group, me, adopt = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1'
local ours, from = {}, ARGV[4]
repeat
  local page = redis.call('XPENDING', stream, group, from, ARGV[#ARGV], 1000, me)
  for _, pending in ipairs(page) do ours[pending[1]] = true end
  if #page == 1000 then from = '(' .. page[1000][1] end
until #page < 1000
local others, lost, adopted, claim = {}, {}, {}, {'XCLAIM', stream, group, me, 0}
for i = 4, #ARGV do
  local id = ARGV[i]
  if ours[id] then
    table.insert(claim, id)
  elseif not adopt or #redis.call('XPENDING', stream, group, id, id, 1) > 0 then
    table.insert(others, id)
  elseif #redis.call('XRANGE', stream, id, id) == 0 then
    table.insert(lost, id)
  else
    redis.call('XCLAIM', stream, group, me, 0, id, 'FORCE', 'JUSTID')
    table.insert(adopted, id)
  end
end
if #claim > 5 then
  table.insert(claim, 'JUSTID')
  redis.call(unpack(claim))
end
return {others, lost, adopted}
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

    /// Reads entries of ours once more, each with the number of deliveries it shall have from now on. One that is
    /// pending for nobody, as after the group was made anew, is made pending for us.
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

    /// Says that these entries, in order, are still being worked on, without counting a delivery.
    ///
    /// With `adopt`, those that are pending for nobody become ours again; without, they count as others'.
    pub async fn renew(
        &self,
        stream: &str,
        member: Member<'_>,
        ids: &[EntryId],
        adopt: bool,
    ) -> Result<Renewed, StreamError> {
        if ids.is_empty() {
            return Ok(Renewed::default());
        }
        let what = format!("XCLAIM {stream} {}", member.group);
        let mut command = script(RENEW, stream, member);
        command.arg(u8::from(adopt));
        for id in ids {
            command.arg(id.to_string());
        }
        let [others, lost, adopted] = parts_of(self.query(&command, &what).await?, &what)?;
        Ok(Renewed {
            others: reply::entry_ids(others, &what)?,
            lost: reply::entry_ids(lost, &what)?,
            adopted: reply::entry_ids(adopted, &what)?,
        })
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
