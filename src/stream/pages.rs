//! Reading a range page by page.

use super::{Connection, Entry, EntryId, StreamError};

/// Entries of the first page, which tells how large they are.
const FIRST: usize = 16;
/// Entries of a page at most.
const MOST: usize = 512;
/// A page larger than this is followed by one of half as many entries, one smaller than a quarter by one of twice as many.
const LARGE_BYTES: usize = 4 << 20;

/// Reads a range page by page, fewer entries at once where they are large.
#[derive(Clone, Debug)]
pub struct Pages {
    stream: String,
    /// Where the next page begins; `None` at the end.
    next: Option<EntryId>,
    to: EntryId,
    newest_first: bool,
    count: usize,
}

impl Pages {
    /// The entries from `from` to `to`, both included, oldest first.
    pub fn new(stream: impl Into<String>, from: EntryId, to: EntryId) -> Self {
        let next = (from <= to).then_some(from);
        Self { stream: stream.into(), next, to, newest_first: false, count: FIRST }
    }

    /// The entries from `from` down to `to`, both included, newest first.
    pub fn newest_first(stream: impl Into<String>, from: EntryId, to: EntryId) -> Self {
        let next = (from >= to).then_some(from);
        Self { stream: stream.into(), next, to, newest_first: true, count: FIRST }
    }

    /// The next page; empty at the end.
    ///
    /// Safe to cancel: the place moves only with what is returned.
    pub async fn next(&mut self, connection: &Connection) -> Result<Vec<Entry>, StreamError> {
        self.at_most(connection, MOST).await
    }

    /// The next page, of at most `most` entries.
    pub async fn at_most(&mut self, connection: &Connection, most: usize) -> Result<Vec<Entry>, StreamError> {
        let Some(from) = self.next else { return Ok(Vec::new()) };
        let count = self.count.min(most).max(1);
        let page = if self.newest_first {
            connection.rev_range(&self.stream, from, self.to, count).await?
        } else {
            connection.range(&self.stream, from, self.to, count).await?
        };
        let bytes: usize = page.iter().map(Entry::size_bytes).sum();
        if bytes > LARGE_BYTES {
            self.count = (count / 2).max(1);
        } else if bytes < LARGE_BYTES / 4 {
            self.count = (self.count * 2).min(MOST);
        }
        self.next = match page.last() {
            Some(last) if page.len() == count && last.id != self.to => {
                Some(if self.newest_first { last.id.previous() } else { last.id.next() })
            }
            _ => None,
        };
        Ok(page)
    }

    /// Where the next page begins; `None` at the end.
    pub fn position(&self) -> Option<EntryId> {
        self.next
    }
}
