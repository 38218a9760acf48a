//! What lies in the dead letters: looking at it, putting it back, throwing it away.
//!
//! The dead letters of a stream are the stream `<stream>:dlq`, to which the consumer runtime moves entries that could not
//! be handled ([`crate::stream::dead_letter`]). [`list`] counts them by group and reason, [`page`] shows them,
//! [`Sorting`] goes through a [`Selection`] of them and puts each back onto its stream or deletes it.

mod letter;
mod sorting;

use std::collections::BTreeMap;

use serde::Serialize;

pub use letter::Letter;
pub(crate) use letter::with_origin;
pub use sorting::{Progress, Refused, Sorting, Task};

use crate::stream::{Connection, DEAD_LETTER_SUFFIX, Entry, EntryId, StreamError, pages::Pages, tally::Kind};

/// How many letters are looked at to count them, of all streams together; a stream keeps about 100,000.
pub const MAX_COUNTED: u64 = 250_000;
/// How many bytes of them.
pub const MAX_COUNTED_BYTES: usize = 256 << 20;
/// How many letters, and bytes of them, Redis counts at once.
const COUNTED_AT_ONCE: u64 = 1_000;
const COUNTED_BYTES_AT_ONCE: usize = 4 << 20;
/// How many letters [`page`] gives at most.
pub const MAX_PAGE: usize = 1_000;
/// How many letters [`page`] looks at to find those that are wanted.
const MAX_LOOKED_AT: usize = 10_000;
/// How many bytes of letters [`page`] gives or looks at, but for one that is larger.
const MAX_PAGE_BYTES: usize = 16 << 20;
/// How many ids a [`Selection`] may name.
pub const MAX_IDS: usize = 10_000;

/// The dead letters of one group of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heap {
    /// The stream whose dead letters they are.
    pub stream: String,
    /// The group that could not handle them; empty if the letters do not say, or were not looked at.
    pub group: String,
    /// How many there are.
    pub count: u64,
    /// The id of the first among the dead letters; its milliseconds are when it was moved there.
    pub oldest: EntryId,
    /// The id of the last.
    pub newest: EntryId,
    /// How many there are for each reason.
    pub reasons: BTreeMap<String, u64>,
    /// Whether all letters of the stream were looked at; else there are more.
    pub complete: bool,
}

/// What may still be looked at.
struct Budget {
    letters: u64,
    bytes: usize,
}

impl Budget {
    fn whole() -> Self {
        Self { letters: MAX_COUNTED, bytes: MAX_COUNTED_BYTES }
    }

    fn is_used_up(&self) -> bool {
        self.letters == 0 || self.bytes == 0
    }
}

/// Which dead letters of a stream are meant; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those of this group only.
    pub group: Option<String>,
    /// Those with this reason only.
    pub reason: Option<String>,
    /// Those with these ids among the dead letters only, at most [`MAX_IDS`].
    pub ids: Option<Vec<EntryId>>,
    /// The first so many only.
    pub limit: Option<u64>,
}

impl Selection {
    /// All letters of a group.
    pub fn of_group(group: impl Into<String>) -> Self {
        Self { group: Some(group.into()), ..Self::default() }
    }

    fn matches(&self, letter: &Letter) -> bool {
        let is = |wanted: &Option<String>, own: &str| wanted.as_ref().is_none_or(|wanted| wanted == own);
        is(&self.group, &letter.group) && is(&self.reason, &letter.reason)
    }
}

/// The name of the stream that has a stream's dead letters.
pub fn stream_of(stream: &str) -> String {
    format!("{stream}{DEAD_LETTER_SUFFIX}")
}

/// The dead letters of all streams, by stream and group.
///
/// Those beyond [`MAX_COUNTED`] are told by stream alone.
pub async fn list(connection: &Connection) -> Result<Vec<Heap>, StreamError> {
    let (mut found, mut budget) = (Vec::new(), Budget::whole());
    for dead in connection.streams_like(&format!("*{DEAD_LETTER_SUFFIX}")).await? {
        let stream = dead.strip_suffix(DEAD_LETTER_SUFFIX).unwrap_or(&dead);
        if budget.is_used_up() {
            found.extend(count_all(connection, stream).await?);
        } else {
            found.extend(count_within(connection, stream, &mut budget).await?);
        }
    }
    Ok(found)
}

/// Whether a stream has this group, or dead letters that it left.
pub async fn knows(connection: &Connection, stream: &str, group: &str) -> Result<bool, StreamError> {
    if connection.groups(stream).await?.iter().any(|own| own.name == group) {
        return Ok(true);
    }
    let mut place = Some(EntryId::MIN);
    while let Some(from) = place {
        let tally =
            connection.tally(&stream_of(stream), from, COUNTED_AT_ONCE, COUNTED_BYTES_AT_ONCE).await?;
        if tally.kinds.iter().any(|kind| kind.group == group) {
            return Ok(true);
        }
        place = tally.next;
    }
    Ok(false)
}

async fn count_within(
    connection: &Connection,
    stream: &str,
    budget: &mut Budget,
) -> Result<Vec<Heap>, StreamError> {
    let mut heaps: BTreeMap<String, Heap> = BTreeMap::new();
    let mut place = Some(EntryId::MIN);
    while let Some(from) = place.filter(|_| !budget.is_used_up()) {
        let tally =
            connection.tally(&stream_of(stream), from, COUNTED_AT_ONCE, COUNTED_BYTES_AT_ONCE).await?;
        budget.letters = budget.letters.saturating_sub(tally.letters);
        budget.bytes = budget.bytes.saturating_sub(tally.bytes);
        for kind in tally.kinds {
            let heap = heaps.entry(kind.group.clone()).or_insert_with(|| Heap::new(stream, &kind));
            heap.count += kind.count;
            heap.oldest = heap.oldest.min(kind.oldest);
            heap.newest = heap.newest.max(kind.newest);
            *heap.reasons.entry(kind.reason).or_default() += kind.count;
        }
        place = tally.next;
    }
    let complete = place.is_none();
    Ok(heaps.into_values().map(|heap| Heap { complete, ..heap }).collect())
}

/// All that is known without looking at the letters; `None` if there are none.
async fn count_all(connection: &Connection, stream: &str) -> Result<Option<Heap>, StreamError> {
    let extent = connection.extent(&stream_of(stream)).await?;
    Ok(extent.and_then(|extent| {
        Some(Heap {
            stream: stream.to_owned(),
            group: String::new(),
            count: extent.length,
            oldest: extent.first_id?,
            newest: extent.last_generated_id,
            reasons: BTreeMap::new(),
            complete: false,
        })
    }))
}

impl Heap {
    fn new(stream: &str, first: &Kind) -> Self {
        Self {
            stream: stream.to_owned(),
            group: first.group.clone(),
            count: 0,
            oldest: first.oldest,
            newest: first.newest,
            reasons: BTreeMap::new(),
            complete: true,
        }
    }
}

/// Some dead letters, and where to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The letters, oldest first.
    pub letters: Vec<Letter>,
    /// The place for the next page (`after`); `None` if there is nothing more.
    pub next: Option<EntryId>,
}

/// At most `count` (up to [`MAX_PAGE`]) of the selected letters of a stream after an id.
///
/// A page may have fewer, even none, before the last: only so many letters are looked at for one page.
pub async fn page(
    connection: &Connection,
    stream: &str,
    selection: &Selection,
    after: EntryId,
    count: usize,
) -> Result<Page, StreamError> {
    let count = count.clamp(1, MAX_PAGE);
    let mut pages = Pages::new(stream_of(stream), after.next(), EntryId::MAX);
    let (mut letters, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
    let mut last = after;
    while pages.position().is_some() && looked_at < MAX_LOOKED_AT && bytes < MAX_PAGE_BYTES {
        for entry in pages.at_most(connection, count, MAX_PAGE_BYTES - bytes).await? {
            let is_too_large = looked_at > 0 && bytes + entry.size_bytes() > MAX_PAGE_BYTES;
            if letters.len() == count || is_too_large {
                return Ok(Page { letters, next: Some(last) });
            }
            looked_at += 1;
            bytes += entry.size_bytes();
            last = entry.id;
            let letter = Letter::of(stream, &entry);
            if selection.matches(&letter) {
                letters.push(letter);
            }
        }
    }
    Ok(Page { letters, next: pages.position().map(|_| last) })
}

/// One letter by its id among the dead letters.
async fn by_id(connection: &Connection, stream: &str, id: EntryId) -> Result<Option<Entry>, StreamError> {
    Ok(connection.range(&stream_of(stream), id, id, 1).await?.pop())
}
