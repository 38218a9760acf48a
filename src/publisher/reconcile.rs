//! Which of the events that were on their way when a connection was lost have arrived.
//!
//! That is knowable: each entry carries its `event_id`, and one connection's commands are executed in their order. So an
//! event found on its stream proves that all earlier ones of its connection were executed, on whatever stream. Of those
//! that are not found, one that would lie where nothing was removed was refused; one that would lie in front of what is
//! left of its stream was there and has been trimmed, and so was any other if the server has refused nothing since the
//! connection was opened. An event behind the last one found was not executed, if the old connection is known to have
//! ended and nothing was removed where it would lie.
//!
//! What can't be known is sent again with the same `event_id`, and counted.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{bounds::Bound, record::Stream};
use crate::{
    event::encode::read_pairs,
    stream::{
        Entry, EntryId, StreamError,
        append_connection::{AppendConnection, Extent, Session},
    },
};

/// How many entries of a stream are looked through at most; no stream is kept longer by default.
const MAX_ENTRIES: usize = 2_000_000;

/// About so many bytes are read at once.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How many entries the first page has, before it is known how large they are.
const FIRST_PAGE: usize = 64;

/// How many entries a page has at most.
const MAX_PAGE: usize = 5_000;

/// A connection that was lost with events on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt {
    /// What the server called it.
    pub session: Option<Session>,
    /// From where on the events are looked for, by the places of their streams.
    pub bounds: HashMap<u16, Bound>,
}

/// An event of which nobody knows whether it arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubtful<'a> {
    /// Its stream's place.
    pub stream: u16,
    /// The fields of its entry, as bulk strings.
    pub body: &'a [u8],
}

/// What became of a doubtful event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is on its stream.
    Arrived(EntryId),
    /// It was on its stream, and has been trimmed.
    Trimmed,
    /// It is not there, and never will be.
    Absent,
    /// Nobody can say.
    Unknown,
}

/// What can be seen of a stream behind its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// Everything that was ever there.
    Whole,
    /// What was not removed meanwhile, from this entry on.
    Rest(Option<EntryId>),
    /// Not everything.
    Nothing,
}

/// What is known of the connection that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    /// It has ended on the server's side too, on this very server.
    Ended {
        /// The server may have refused some of what it carried.
        refused: bool,
    },
    /// It belonged to a server that is not there any more, or is another one.
    Elsewhere,
    Unknown,
}

/// Asks the server what became of events, given in the order in which they were sent.
pub(super) async fn fates(
    connection: &mut AppendConnection,
    doubt: &Doubt,
    events: &[Doubtful<'_>],
    streams: &[Stream],
) -> Result<Vec<Fate>, StreamError> {
    let old = end(connection, doubt.session.as_ref()).await?;
    let mut by_stream = BTreeMap::<u16, Vec<usize>>::new();
    for (index, event) in events.iter().enumerate() {
        by_stream.entry(event.stream).or_default().push(index);
    }
    let (mut found, mut sights) = (vec![None; events.len()], BTreeMap::new());
    for (place, indexes) in by_stream {
        let sight = match doubt.bounds.get(&place) {
            Some(bound) => {
                let mut wanted = Wanted::new(events, &indexes, &mut found);
                look(connection, &streams[usize::from(place)].name, *bound, old, &mut wanted).await?
            }
            None => Sight::Nothing,
        };
        sights.insert(place, sight);
    }
    Ok(judge(events, &found, |stream| sights[&stream], old))
}

/// Makes sure that the server executes nothing more of the old connection, if it is the same server.
async fn end(connection: &mut AppendConnection, old: Option<&Session>) -> Result<Old, StreamError> {
    let (Some(old), Some(new)) = (old, connection.session.as_ref()) else { return Ok(Old::Unknown) };
    if old.run_id != new.run_id {
        return Ok(Old::Elsewhere);
    }
    if permitted(connection.kill(old.client_id).await)?.is_none() {
        return Ok(Old::Unknown);
    }
    let refusals = connection.refusals().await?;
    Ok(Old::Ended { refused: refusals.is_none() || refusals != old.refusals })
}

/// Looks for events on their stream.
async fn look(
    connection: &mut AppendConnection,
    stream: &str,
    bound: Bound,
    old: Old,
    wanted: &mut Wanted<'_>,
) -> Result<Sight, StreamError> {
    let Some(extent) = permitted(connection.extent(stream).await)? else { return Ok(Sight::Nothing) };
    // A server that knows less than was acknowledged lost it; what it has now came behind that.
    let from = bound.id.min(extent.last_generated_id);
    if !search(connection, stream, from, extent.last_generated_id, wanted).await? {
        return Ok(Sight::Nothing);
    }
    // Asked again: what was trimmed while it was read has not been seen.
    let extent = permitted(connection.extent(stream).await)?.unwrap_or_default();
    Ok(sight(extent, bound, old))
}

/// Whether anything behind the bound may have been removed.
fn sight(extent: Extent, bound: Bound, old: Old) -> Sight {
    let begins_before = extent.first_id.is_some_and(|first| first <= bound.id);
    let is_here = matches!(old, Old::Ended { .. });
    let is_counted = extent.removed == Some(0) || (is_here && extent.removed == bound.removed);
    if begins_before || (extent.removed.is_some() && is_counted) {
        Sight::Whole
    } else {
        Sight::Rest(extent.first_id)
    }
}

/// Reads the stream behind `from` until all that is wanted is found; `false` if it can't be read to its end.
async fn search(
    connection: &mut AppendConnection,
    stream: &str,
    from: EntryId,
    to: EntryId,
    wanted: &mut Wanted<'_>,
) -> Result<bool, StreamError> {
    let (mut from, mut count, mut seen) = (from.next(), FIRST_PAGE, 0);
    while seen < MAX_ENTRIES {
        let page = connection.range(stream, from, to, count).await;
        let Some(entries) = permitted(page)? else { return Ok(false) };
        let mut bytes = 1;
        for entry in &entries {
            bytes += entry.size_bytes();
            if wanted.is_last(entry) {
                return Ok(true);
            }
        }
        let Some(last) = entries.last().filter(|_| entries.len() == count) else { return Ok(true) };
        from = last.id.next();
        seen += entries.len();
        count = (PAGE_BYTES * entries.len() / bytes).clamp(1, MAX_PAGE);
    }
    Ok(false)
}

/// `None` for what the server refuses to everyone with these rights, or to everyone.
fn permitted<T>(answer: Result<T, StreamError>) -> Result<Option<T>, StreamError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error @ StreamError::Refused { .. }) if !error.is_transient() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The events that are looked for on one stream.
struct Wanted<'a> {
    events: &'a [Doubtful<'a>],
    /// By `event_id`, the ones sent first at the end: ids that callers give may repeat.
    missing: HashMap<&'a [u8], Vec<usize>>,
    last: Option<usize>,
    found: &'a mut [Option<EntryId>],
}

impl<'a> Wanted<'a> {
    fn new(events: &'a [Doubtful<'a>], indexes: &[usize], found: &'a mut [Option<EntryId>]) -> Self {
        let mut missing = HashMap::<_, Vec<_>>::new();
        for index in indexes.iter().rev() {
            missing.entry(event_id(events[*index].body)).or_default().push(*index);
        }
        Self { events, missing, last: indexes.last().copied(), found }
    }

    /// Notes down an entry if it is one of the events; whether it is the last of them.
    fn is_last(&mut self, entry: &Entry) -> bool {
        let id = entry.fields().find(|(field, _)| *field == b"event_id").map(|(_, id)| id);
        let Some(missing) = self.missing.get_mut(id.unwrap_or_default()) else { return false };
        let is_same = |index: &usize| {
            read_pairs(self.events[*index].body).is_some_and(|pairs| pairs.into_iter().eq(entry.fields()))
        };
        let Some(place) = missing.iter().rposition(is_same) else { return false };
        let index = missing.remove(place);
        self.found[index] = Some(entry.id);
        Some(index) == self.last
    }
}

fn event_id(body: &[u8]) -> &[u8] {
    let pairs = read_pairs(body).unwrap_or_default();
    pairs.into_iter().find(|(field, _)| *field == b"event_id").map_or(&[], |(_, id)| id)
}

/// What became of events, by where they were found, what could be seen of their streams, and what is known of the
/// connection that carried them.
fn judge(
    events: &[Doubtful<'_>],
    found: &[Option<EntryId>],
    sight: impl Fn(u16) -> Sight,
    old: Old,
) -> Vec<Fate> {
    let executed = found.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let mut seen = HashMap::<u16, EntryId>::new();
    for (event, found) in events.iter().zip(found) {
        if let Some(id) = found {
            seen.entry(event.stream).or_insert(*id);
        }
    }
    // Streams of which an earlier event was found: trimming takes from the front, so that all behind it is there.
    let mut retained = HashSet::new();
    let fate = |(index, (event, found)): (usize, (&Doubtful<'_>, &Option<EntryId>))| {
        if let Some(id) = found {
            retained.insert(event.stream);
            return Fate::Arrived(*id);
        }
        let is_executed = index < executed;
        match sight(event.stream) {
            // Executed and not there: it was refused.
            Sight::Whole if is_executed || old != Old::Unknown => Fate::Absent,
            Sight::Rest(_) if retained.contains(&event.stream) && (is_executed || old != Old::Unknown) => {
                Fate::Absent
            }
            Sight::Rest(first) if is_executed && !retained.contains(&event.stream) => {
                let is_in_front = first.is_some() && first == seen.get(&event.stream).copied();
                if is_in_front || old == (Old::Ended { refused: false }) {
                    Fate::Trimmed
                } else {
                    Fate::Unknown
                }
            }
            Sight::Whole | Sight::Rest(_) | Sight::Nothing => Fate::Unknown,
        }
    };
    events.iter().zip(found).enumerate().map(fate).collect()
}

#[cfg(test)]
mod tests;
