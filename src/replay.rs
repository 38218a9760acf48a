//! Copying a part of a stream onto a stream, so that it is handled once more.

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    Filter,
    dead_letters::with_origin,
    event::decode::{Decoded, decode},
    stream::{Connection, Entry, EntryId, StreamError, pages::Pages},
};

/// The fields of an entry, and their values.
type Fields = Vec<(Bytes, Bytes)>;

/// At a limited rate entries are copied in pieces of so long, not one by one.
const PIECE: Duration = Duration::from_millis(50);

/// What is to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The stream that is read.
    pub from_stream: String,
    /// The stream that is written; may be the same.
    pub to_stream: String,
    /// The first entry, if it is there.
    pub from: EntryId,
    /// The last entry, if it is there. What is appended after the beginning is not copied, or a replay onto the same
    /// stream would never end.
    pub to: EntryId,
    /// Which events; with a condition, entries that hold no event or can't be read are left out.
    pub filter: Filter,
    /// How many entries at most.
    pub limit: Option<u64>,
    /// How many entries each second at most.
    pub events_per_second: Option<NonZeroU32>,
    /// The hard limit of the written stream's length.
    pub maxlen: u64,
}

impl Request {
    /// All of a stream onto a stream, as fast as it goes.
    pub fn new(from_stream: impl Into<String>, to_stream: impl Into<String>) -> Self {
        Self {
            from_stream: from_stream.into(),
            to_stream: to_stream.into(),
            from: EntryId::MIN,
            to: EntryId::MAX,
            filter: Filter::default(),
            limit: None,
            events_per_second: None,
            maxlen: 1_000_000,
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// All up to and with this entry is done; a replay `from` the next id goes on here. [`EntryId::MIN`] before the first.
    pub position: EntryId,
    /// Where it ends.
    pub end: EntryId,
    /// Entries looked at.
    pub examined: u64,
    /// Entries copied.
    pub copied: u64,
    /// Of those: copied again, after an attempt of which nobody knows whether it arrived.
    pub possible_duplicates: u64,
    /// Entries behind the position that were sent and never answered: copied as well, or not. They are sent again.
    pub unanswered: u64,
}

/// Copies entries a piece at a time: their fields as they are, `event_id` too, and `replay_of` with the id of the entry
/// they repeat (of the first one, if they are repetitions themselves).
///
/// ```no_run
/// # async fn example(connection: &synapse_rs::stream::Connection) -> Result<(), synapse_rs::stream::StreamError> {
/// use synapse_rs::replay::{Replay, Request};
///
/// let mut replay = Replay::begin(connection, Request::new("model-events", "model-events")).await?;
/// while replay.advance(connection).await? {
///     println!("{}", replay.progress().position);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Replay {
    request: Request,
    pages: Pages,
    /// Read and not yet looked at, in reverse order.
    ahead: Vec<Entry>,
    progress: Progress,
    /// When the next piece may be copied.
    due: Instant,
    is_rehearsal: bool,
}

impl Replay {
    /// Finds out where it ends.
    pub async fn begin(connection: &Connection, request: Request) -> Result<Self, StreamError> {
        let end = request.to.min(connection.last_id(&request.from_stream).await?);
        Ok(Self {
            pages: Pages::new(&request.from_stream, request.from, end),
            ahead: Vec::new(),
            progress: Progress { end, ..Progress::default() },
            due: Instant::now(),
            is_rehearsal: false,
            request,
        })
    }

    /// Copies nothing: counts as copied what would be.
    #[must_use]
    pub fn rehearsed(mut self) -> Self {
        self.is_rehearsal = true;
        self
    }

    /// Waits until it is time for the next piece and copies it; `false` when there is nothing more.
    ///
    /// Safe to cancel, and to be called again after an error: the position moves only with what has arrived. If that was
    /// while a piece was on its way it is sent again, and counted as possible duplicates; their `event_id` is the same.
    pub async fn advance(&mut self, connection: &Connection) -> Result<bool, StreamError> {
        let left = self.request.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.progress.copied));
        if left == 0 {
            return Ok(false);
        }
        if self.ahead.is_empty() {
            self.ahead = self.pages.next(connection).await?;
            self.ahead.reverse();
        }
        if self.ahead.is_empty() {
            return Ok(false);
        }
        let most = self.piece().min(usize::try_from(left).unwrap_or(usize::MAX));
        let (examined, chosen) = self.choose(most);
        let fields: Vec<_> = chosen.iter().map(|(_, fields)| fields.clone()).collect();
        let (mut copied, mut refusal) = (fields.len(), None);
        if !fields.is_empty() && !self.is_rehearsal {
            tokio::time::sleep_until(self.due).await;
            (copied, refusal) = self.copy(connection, &fields).await?;
        }
        // Up to what was refused; what was looked at behind it is looked at again.
        let done = if copied < chosen.len() { chosen[copied].0 } else { examined };
        self.pass(done, copied as u64);
        refusal.map_or(Ok(true), Err)
    }

    /// Leaves so many entries behind, of which so many were copied.
    fn pass(&mut self, examined: usize, copied: u64) {
        if examined > 0 {
            let at = self.ahead.len() - examined;
            self.progress.position = self.ahead[at].id;
            self.ahead.truncate(at);
        }
        self.progress.examined += examined as u64;
        self.progress.copied += copied;
    }

    /// When it is time for the next piece: [`advance`](Self::advance) waits until then, its caller may do so instead.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Entries that are copied at once.
    fn piece(&self) -> usize {
        self.request.events_per_second.map_or(usize::MAX, |rate| {
            let entries = u64::from(rate.get()) * u64::try_from(PIECE.as_millis()).unwrap_or(0) / 1_000;
            usize::try_from(entries).unwrap_or(usize::MAX).max(1)
        })
    }

    /// The next entries that are wanted, `most` at most, each with how many come before it, and how many were looked at.
    fn choose(&self, most: usize) -> (usize, Vec<(usize, Fields)>) {
        let (mut examined, mut chosen) = (0, Vec::new());
        for entry in self.ahead.iter().rev() {
            if chosen.len() == most {
                break;
            }
            if self.is_wanted(entry) {
                chosen.push((examined, with_origin(entry.to_pairs(), &entry.id.to_string())));
            }
            examined += 1;
        }
        (examined, chosen)
    }

    fn is_wanted(&self, entry: &Entry) -> bool {
        self.request.filter.is_empty()
            || matches!(
                decode(&self.request.from_stream, entry.fields()),
                Ok(Decoded::Event(event)) if self.request.filter.matches(&event)
            )
    }

    /// Gives how many were appended, and why not the next.
    async fn copy(
        &mut self,
        connection: &Connection,
        entries: &[Fields],
    ) -> Result<(usize, Option<StreamError>), StreamError> {
        let (before, sent) = (self.progress.unanswered, entries.len() as u64);
        // Whoever breaks this off leaves it so.
        self.progress.unanswered = before.max(sent);
        let asked = connection.append_all(&self.request.to_stream, entries, self.request.maxlen).await;
        if !matches!(asked, Err(StreamError::Unreachable { .. })) {
            self.progress.unanswered = before;
        }
        let appended = asked?;
        let copied = appended.ids.len();
        let again = before.min(copied as u64);
        self.progress.unanswered = before - again;
        self.progress.possible_duplicates += again;
        if let Some(rate) = self.request.events_per_second {
            // Time lost is not made up for: the rate holds over any stretch.
            let took = Duration::from_secs(1).mul_f64(copied as f64 / f64::from(rate.get()));
            self.due = self.due.max(Instant::now()) + took;
        }
        Ok((copied, appended.refusal))
    }
}
