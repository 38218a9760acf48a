//! Going through dead letters: back onto their streams, or away.

use serde::Serialize;

use super::{Letter, Selection, by_id, stream_of};
use crate::stream::{Connection, Entry, EntryId, StreamError, letters::Return, pages::Pages};

/// Letters looked for by id at once.
const IDS_AT_ONCE: usize = 64;
/// How many bytes of letters are put back by one command, about.
const BATCH_BYTES: usize = 1 << 20;
/// The hard limit of a stream's length that letters are put back onto.
const MAXLEN: u64 = 1_000_000;

/// What is done to the letters that are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Each goes back to the stream it was on, with its own fields and `replay_of`, and is a dead letter no more.
    Replay,
    /// Each is deleted.
    Purge,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Letters there were at the beginning, selected or not; of ids how many there are.
    pub total: u64,
    /// Letters looked at.
    pub examined: u64,
    /// Letters put back, or deleted.
    pub done: u64,
    /// Letters that can't be put back, for their entries were trimmed away before they could be moved: they stay.
    pub without_event: u64,
    /// Letters that their stream did not take, because its key is no stream for instance: they stay.
    pub refused: u64,
}

/// Letters that their streams did not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} of the dead letters could not be put back (first {first}): {reason}")]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: EntryId,
    /// Why that was refused.
    pub reason: String,
}

/// Goes through the selected dead letters of a stream, a batch at a time.
///
/// It ends with the letters that were there at the beginning, so that an event that fails again at once is not put back
/// for ever. Each letter is moved as one step, so that it may be stopped, fail or run twice at once at any moment: no
/// letter is lost or put back twice.
///
/// ```no_run
/// # async fn example(connection: &synapse_rs::stream::Connection) -> Result<(), synapse_rs::stream::StreamError> {
/// use synapse_rs::dead_letters::{Selection, Sorting, Task};
///
/// let selection = Selection::of_group("analytics-service");
/// let mut replay = Sorting::begin(connection, "inference-events", selection, Task::Replay).await?;
/// while replay.advance(connection).await? {
///     println!("{} of {}", replay.progress().done, replay.progress().total);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Sorting {
    stream: String,
    task: Task,
    selection: Selection,
    source: Source,
    progress: Progress,
    refused: Option<Refused>,
    maxlen: u64,
    is_rehearsal: bool,
}

#[derive(Clone, Debug)]
enum Source {
    All(Pages),
    Ids { ids: Vec<EntryId>, at: usize },
}

impl Sorting {
    /// Finds out which letters there are.
    pub async fn begin(
        connection: &Connection,
        stream: &str,
        mut selection: Selection,
        task: Task,
    ) -> Result<Self, StreamError> {
        let dead = stream_of(stream);
        let mut total = 0;
        let source = if let Some(mut ids) = selection.ids.take() {
            ids.sort_unstable();
            ids.dedup();
            total = ids.len() as u64;
            Source::Ids { ids, at: 0 }
        } else {
            let extent = connection.extent(&dead).await?;
            let end = extent.map_or(EntryId::MIN, |extent| {
                total = extent.length;
                extent.last_generated_id
            });
            Source::All(Pages::new(dead, EntryId::MIN, end))
        };
        let progress = Progress { total, ..Progress::default() };
        Ok(Self {
            stream: stream.to_owned(),
            task,
            selection,
            source,
            progress,
            refused: None,
            maxlen: MAXLEN,
            is_rehearsal: false,
        })
    }

    /// Sets the hard limit of the streams that letters are put back onto, instead of 1,000,000 entries.
    #[must_use]
    pub fn with_maxlen(mut self, maxlen: u64) -> Self {
        self.maxlen = maxlen;
        self
    }

    /// Changes nothing: counts as done what would be.
    #[must_use]
    pub fn rehearsed(mut self) -> Self {
        self.is_rehearsal = true;
        self
    }

    /// Goes on by a batch; `false` when there is nothing more. Letters that their stream does not take are passed over:
    /// see [`refused`](Self::refused).
    ///
    /// After an error it may be called again: what was moved already is passed over. Cancelled, the batch in hand may
    /// have been moved without being counted.
    pub async fn advance(&mut self, connection: &Connection) -> Result<bool, StreamError> {
        let left = self.selection.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.progress.done));
        if left == 0 {
            return Ok(false);
        }
        // A copy moves on: if anything fails, the same batch comes again.
        let mut source = self.source.clone();
        let Some(entries) = source.next(connection, &self.stream).await? else { return Ok(false) };
        let examined = entries.len() as u64;
        let mut letters: Vec<_> = entries.iter().map(|entry| Letter::of(&self.stream, entry)).collect();
        letters.retain(|letter| self.selection.matches(letter));
        let selected = letters.len();
        if self.task == Task::Replay {
            // Its entry was trimmed away before it could be moved: there is no event to put back.
            letters.retain(|letter| !letter.fields.is_empty());
        }
        let without_event = (selected - letters.len()) as u64;
        // Those beyond the limit stay, and with nothing left to do nobody looks at them again.
        letters.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        match self.task {
            _ if self.is_rehearsal => self.progress.done += letters.len() as u64,
            Task::Replay => {
                let refused = self.put_back(connection, letters).await?;
                self.progress.refused += refused.as_ref().map_or(0, |refused| refused.count);
                self.refused = join(self.refused.take(), refused);
            }
            Task::Purge => {
                let ids: Vec<_> = letters.iter().map(|letter| letter.id).collect();
                self.progress.done += connection.delete(&stream_of(&self.stream), &ids).await?;
            }
        }
        self.source = source;
        self.progress.examined += examined;
        self.progress.without_event += without_event;
        Ok(true)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The letters that their streams did not take, if there are such.
    pub fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// Puts letters back in runs that go to the same stream; gives those that were refused.
    async fn put_back(
        &mut self,
        connection: &Connection,
        letters: Vec<Letter>,
    ) -> Result<Option<Refused>, StreamError> {
        let mut batch: (String, Vec<Return>, usize) = (String::new(), Vec::new(), 0);
        let mut refused = None;
        for letter in letters {
            if letter.stream != batch.0 || batch.2 >= BATCH_BYTES {
                refused = join(refused, self.send(connection, &batch.0, &batch.1).await?);
                batch = (letter.stream.clone(), Vec::new(), 0);
            }
            let fields = letter.returned();
            batch.2 += fields.iter().map(|(field, value)| field.len() + value.len()).sum::<usize>();
            batch.1.push(Return { id: letter.id, fields });
        }
        Ok(join(refused, self.send(connection, &batch.0, &batch.1).await?))
    }

    async fn send(
        &mut self,
        connection: &Connection,
        stream: &str,
        mut batch: &[Return],
    ) -> Result<Option<Refused>, StreamError> {
        let dead = stream_of(&self.stream);
        let mut refused = None;
        while !batch.is_empty() {
            let put = connection.put_back(&dead, stream, batch, self.maxlen).await?;
            self.progress.done += put.moved;
            let Some((at, error)) = put.refusal else { break };
            // What the key is none of the others can get around; anything else may be this letter's own fault.
            let count = match error.code() {
                Some("WRONGTYPE") => batch.len() - at,
                Some("ERR") => 1,
                _ => return Err(error),
            };
            let first = Refused { count: count as u64, first: batch[at].id, reason: error.to_string() };
            refused = join(refused, Some(first));
            batch = &batch[at + count..];
        }
        Ok(refused)
    }
}

/// Both together.
fn join(earlier: Option<Refused>, later: Option<Refused>) -> Option<Refused> {
    match (earlier, later) {
        (Some(earlier), Some(later)) => Some(Refused { count: earlier.count + later.count, ..earlier }),
        (earlier, later) => earlier.or(later),
    }
}

impl Source {
    /// The next letters; `None` at the end.
    async fn next(
        &mut self,
        connection: &Connection,
        stream: &str,
    ) -> Result<Option<Vec<Entry>>, StreamError> {
        match self {
            Self::All(pages) => match pages.position() {
                Some(_) => pages.next(connection).await.map(Some),
                None => Ok(None),
            },
            Self::Ids { ids, at } => {
                let asked = &ids[*at..ids.len().min(*at + IDS_AT_ONCE)];
                if asked.is_empty() {
                    return Ok(None);
                }
                let found = asked.iter().map(|id| by_id(connection, stream, *id));
                let found = futures_util::future::try_join_all(found).await?;
                *at += asked.len();
                Ok(Some(found.into_iter().flatten().collect()))
            }
        }
    }
}
