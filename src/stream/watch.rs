//! A blocking read that finds out whether anything was trimmed before it was read.
//!
//! A stream is trimmed from its beginning. So while the last entry that was read is there, nothing behind it was trimmed;
//! where it is gone, something may have been, and [`Connection::extent`](super::Connection::extent) tells.

use std::time::Duration;

use super::{BlockingConnection, Entry, EntryId, StreamError, read, tape::Token};

/// Tells for each stream whether the entry of an id is there.
const SCRIPT: &str = r"
local there = {}
for i, stream in ipairs(KEYS) do
  local found = redis.pcall('XRANGE', stream, ARGV[i], ARGV[i])
  there[i] = found.err and 0 or #found
end
return there
";

/// What was read of a stream.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The stream.
    pub stream: String,
    /// What follows the position that was given; maybe nothing.
    pub entries: Vec<Entry>,
    /// Nothing in between was trimmed: the entry at the position was there, just after these were read.
    pub is_whole: bool,
}

impl BlockingConnection {
    /// Reads as [`BlockingConnection::read`] does; the answer has all streams, in the order of the positions.
    pub async fn read_watching(
        &mut self,
        positions: &[(String, EntryId)],
        count: usize,
        block: Duration,
    ) -> Result<Vec<Watched>, StreamError> {
        const WHAT: &str = "XREAD, EVAL (XRANGE)";
        let reading = read::request(positions, count, block);
        let mut watching = ["EVAL", SCRIPT].map(str::to_owned).to_vec();
        watching.push(positions.len().to_string());
        watching.extend(positions.iter().map(|(stream, _)| stream.clone()));
        watching.extend(positions.iter().map(|(_, id)| id.to_string()));
        let [news, there] = self.query_each([&reading, &watching], block, WHAT).await?;
        let mut news = read::streams(&news).ok_or_else(|| read::unexpected(&news, WHAT))?;
        let [Token::Array(_), is_there @ ..] = &there.tokens[..] else {
            return Err(read::unexpected(&there, WHAT));
        };
        if is_there.len() != positions.len() {
            return Err(read::unexpected(&there, WHAT));
        }
        let watched = positions.iter().zip(is_there).map(|((stream, _), is_there)| {
            let place = news.iter().position(|(name, _)| name == stream);
            let entries = place.map(|place| news.swap_remove(place).1).unwrap_or_default();
            Watched { stream: stream.clone(), entries, is_whole: *is_there == Token::Integer(1) }
        });
        Ok(watched.collect())
    }
}
