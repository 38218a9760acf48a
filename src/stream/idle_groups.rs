//! Since when groups have stood still, which Redis does not say.
//!
//! The hash `synapse:idle-groups:<stream>` has a [`Standing`] for each group of the stream, as the last look at it found
//! it. So it outlives whoever looks.

use std::{collections::HashMap, fmt, str::FromStr, time::Duration};

use super::{Connection, EntryId, GroupInfo, StreamError, reply};

/// What the key of each hash begins with.
pub const PREFIX: &str = "synapse:idle-groups:";

/// Notes the first so many groups and forgets the others, all at once.
const SCRIPT: &str = r"
local noted = 3 + 2 * tonumber(ARGV[2])
for i = 3, noted - 1, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = noted, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
";

/// Where a group stands, and since when; written `<since> <last delivered> <entries read, or ->`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The moment, by the server's clock: milliseconds since 1970.
    pub since_ms: u64,
    /// The last entry it was given.
    pub last_delivered: EntryId,
    /// How many entries it was ever given; `None` where the server can't know.
    pub entries_read: Option<u64>,
}

impl Standing {
    /// Of a group as it is now. A group that is elsewhere than it was, be it further back, has been used or made anew.
    ///
    /// `used_ms` is when anybody is known to have used it last, `now_ms` if nothing waits in it.
    pub fn of(group: &GroupInfo, before: Option<&Self>, used_ms: u64, now_ms: u64) -> Self {
        let place = |since_ms| Self {
            since_ms,
            last_delivered: group.last_delivered_id,
            entries_read: group.entries_read,
        };
        match before {
            Some(before) if *before == place(before.since_ms) => {
                place(before.since_ms.max(used_ms).min(now_ms))
            }
            _ => place(now_ms),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.since_ms, self.last_delivered)?;
        match self.entries_read {
            Some(read) => write!(f, "{read}"),
            None => f.write_str("-"),
        }
    }
}

/// Not a [`Standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedStanding;

impl FromStr for Standing {
    type Err = MalformedStanding;

    fn from_str(text: &str) -> Result<Self, MalformedStanding> {
        let mut parts = text.split(' ');
        let (Some(since), Some(last), Some(read), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MalformedStanding);
        };
        let number = |text: &str| text.parse().map_err(|_| MalformedStanding);
        Ok(Self {
            since_ms: number(since)?,
            last_delivered: last.parse().map_err(|_| MalformedStanding)?,
            entries_read: if read == "-" { None } else { Some(number(read)?) },
        })
    }
}

impl Connection {
    /// Where each group of a stream stood at the last look. One that can't be read is as if it had not been noted.
    pub async fn standings(&self, stream: &str) -> Result<HashMap<String, Standing>, StreamError> {
        let what = format!("HGETALL {PREFIX}{stream}");
        let mut command = redis::cmd("HGETALL");
        command.arg(format!("{PREFIX}{stream}"));
        let known = reply::pairs(self.query(&command, &what).await?, &what)?;
        let standing = |(group, value): (String, redis::Value)| {
            Some((group, reply::text(&value, &what).ok()?.parse().ok()?))
        };
        Ok(known.into_iter().filter_map(standing).collect())
    }

    /// Notes where groups stand, and forgets those that are `gone`. What is not noted again within `keep` is forgotten.
    pub async fn note_standings(
        &self,
        stream: &str,
        groups: &[(&str, Standing)],
        gone: &[&str],
        keep: Duration,
    ) -> Result<(), StreamError> {
        if groups.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 50);
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(format!("{PREFIX}{stream}")).arg(keep_ms).arg(groups.len());
        for (group, standing) in groups {
            command.arg(group).arg(standing.to_string());
        }
        command.arg(gone);
        self.query(&command, &format!("HSET {PREFIX}{stream}")).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_read_back_as_it_was_written() {
        for (text, entries_read) in [("17 5-1 40", Some(40)), ("17 5-1 -", None)] {
            let standing = Standing { since_ms: 17, last_delivered: EntryId::new(5, 1), entries_read };
            assert_eq!((standing.to_string().as_str(), text.parse()), (text, Ok(standing)));
        }
        for text in ["", "17", "17 5-1", "17 5-1 x", "x 5-1 -", "17 5-1 - -"] {
            assert_eq!(text.parse::<Standing>(), Err(MalformedStanding), "{text}");
        }
    }
}
