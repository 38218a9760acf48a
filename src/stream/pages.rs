//! Reading a range page by page.

use redis::Value;

use super::{Connection, Entry, EntryId, StreamError, reply};

/// Entries of a page at most.
const MOST: usize = 512;
/// Bytes of a page at most, but for a single entry that is larger.
const MOST_BYTES: usize = 4 << 20;
/// A page is asked for no less than this, however slowly the server answers.
const LEAST_BYTES: usize = 64 << 10;

/// The entries of a range that are no more than so many, and so many bytes together; at least one. And whether there may
/// be more: 1 or 0. How large they are only the server can know before they are sent, so it looks at a few at a time.
const SCRIPT: &str = r"
local name, from, to = ARGV[1], ARGV[2], ARGV[3]
local most, left = tonumber(ARGV[4]), tonumber(ARGV[5])
local found, largest, step = {}, 1, 4
while #found < most do
  local asked = math.min(step, most - #found)
  local part = redis.call(name, KEYS[1], from, to, 'COUNT', asked)
  for _, entry in ipairs(part) do
    local bytes = 0
    for _, text in ipairs(entry[2]) do bytes = bytes + #text end
    if #found > 0 and bytes > left then return {1, found} end
    left = left - bytes
    largest = math.max(largest, bytes)
    found[#found + 1] = entry
  end
  if #part < asked or part[#part][1] == to then return {0, found} end
  from = '(' .. part[#part][1]
  step = math.max(1, math.min(64, math.floor(left / largest)))
end
return {1, found}
";

/// Reads a range page by page, fewer entries at once where they are large.
#[derive(Clone, Debug)]
pub struct Pages {
    stream: String,
    /// Where the next page begins; `None` at the end.
    next: Option<EntryId>,
    to: EntryId,
    newest_first: bool,
    /// Bytes of a page at most: fewer after one that did not come in time.
    bytes: usize,
}

impl Pages {
    /// The entries from `from` to `to`, both included, oldest first.
    pub fn new(stream: impl Into<String>, from: EntryId, to: EntryId) -> Self {
        let next = (from <= to).then_some(from);
        Self { stream: stream.into(), next, to, newest_first: false, bytes: MOST_BYTES }
    }

    /// The entries from `from` down to `to`, both included, newest first.
    pub fn newest_first(stream: impl Into<String>, from: EntryId, to: EntryId) -> Self {
        let next = (from >= to).then_some(from);
        Self { stream: stream.into(), next, to, newest_first: true, bytes: MOST_BYTES }
    }

    /// The next page; empty at the end.
    ///
    /// Safe to cancel: the place moves only with what is returned.
    pub async fn next(&mut self, connection: &Connection) -> Result<Vec<Entry>, StreamError> {
        self.at_most(connection, MOST, MOST_BYTES).await
    }

    /// The next page, of at most `most` entries and `bytes` of their names and values; one entry may be larger.
    pub async fn at_most(
        &mut self,
        connection: &Connection,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        let Some(from) = self.next else { return Ok(Vec::new()) };
        let (most, bytes) = (most.clamp(1, MOST), bytes.min(self.bytes));
        let (page, more) = match self.ask(connection, from, most, bytes).await {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(error, StreamError::Unreachable { .. }) {
                    self.bytes = (self.bytes / 2).max(LEAST_BYTES);
                }
                return Err(error);
            }
        };
        self.next = match page.last() {
            Some(last) if more && last.id != self.to => {
                Some(if self.newest_first { last.id.previous() } else { last.id.next() })
            }
            _ => None,
        };
        Ok(page)
    }

    /// The entries, and whether there may be more behind them.
    async fn ask(
        &self,
        connection: &Connection,
        from: EntryId,
        most: usize,
        bytes: usize,
    ) -> Result<(Vec<Entry>, bool), StreamError> {
        let name = if self.newest_first { "XREVRANGE" } else { "XRANGE" };
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(&self.stream).arg(name);
        command.arg(from.to_string()).arg(self.to.to_string()).arg(most).arg(bytes);
        let what = format!("{name} {}", self.stream);
        let parts = reply::array(connection.query(&command, &what).await?, &what)?;
        let [more, page]: [Value; 2] =
            parts.try_into().map_err(|parts| reply::unexpected(&what, &Value::Array(parts)))?;
        Ok((reply::entries(page, &what)?, reply::integer(&more, &what)? == 1))
    }

    /// Where the next page begins; `None` at the end.
    pub fn position(&self) -> Option<EntryId> {
        self.next
    }
}
