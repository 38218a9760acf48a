//! How far each stream went when this publisher last knew: from there on is looked for events after a lost connection.

use std::{collections::HashMap, ops::Range};

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use crate::stream::{EntryId, append_connection::Extent};

/// All events of this publisher's that are not acknowledged have greater ids, if they are on the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bound {
    /// The id of the last event acknowledged; before the first, the stream's last id when it was first written to.
    #[serde(with = "id_as_pair")]
    pub id: EntryId,
    /// How many entries had been removed when the stream was first written to, where the server counts them.
    pub removed: Option<u64>,
}

/// The bounds of all streams that were written to, by their places.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// `None` where the server does not tell, until it acknowledges an event.
    streams: Vec<Option<Bound>>,
    /// Where in the replies at hand the last id of each stream is.
    latest: Vec<Range<usize>>,
    /// The streams that have one.
    touched: Vec<u16>,
}

impl Bounds {
    /// The places from the first unknown one up to `max`.
    pub(super) fn missing(&self, max: u16) -> Range<u16> {
        let known = u16::try_from(self.streams.len()).expect("as many as streams, which are bounded");
        known..known.max(max.saturating_add(1))
    }

    /// The stream with the next place.
    pub(super) fn add(&mut self, extent: Option<Extent>) {
        let bound = |extent: Extent| Bound { id: extent.last_generated_id, removed: extent.removed };
        self.streams.push(extent.map(bound));
        self.latest.push(0..0);
    }

    /// Of a stream by its place.
    pub(super) fn get(&self, place: u16) -> Option<Bound> {
        *self.streams.get(usize::from(place))?
    }

    /// Of all streams that requests of these batches are for.
    pub(super) fn of<'a>(&self, batches: impl IntoIterator<Item = &'a Batch>) -> HashMap<u16, Bound> {
        let streams = batches.into_iter().flat_map(Batch::requests).map(|(stream, _)| stream);
        streams.filter_map(|stream| Some((stream, self.get(stream)?))).collect()
    }

    /// An event was acknowledged, by the id at this place in the replies.
    #[inline]
    pub(super) fn acknowledged(&mut self, place: u16, id: Range<usize>) {
        let latest = &mut self.latest[usize::from(place)];
        if latest.start == latest.end {
            self.touched.push(place);
        }
        *latest = id;
    }

    /// The replies go: keeps the ids that are in them.
    pub(super) fn keep(&mut self, replies: &[u8]) {
        for place in self.touched.drain(..) {
            let latest = std::mem::take(&mut self.latest[usize::from(place)]);
            let Some(id) = EntryId::from_bytes(&replies[latest]) else { continue };
            let bound = &mut self.streams[usize::from(place)];
            *bound = Some(Bound { id, removed: bound.and_then(|bound| bound.removed) });
        }
    }
}

/// An entry id as two numbers.
mod id_as_pair {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::stream::EntryId;

    pub(super) fn serialize<S: Serializer>(id: &EntryId, serializer: S) -> Result<S::Ok, S::Error> {
        (id.ms, id.seq).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EntryId, D::Error> {
        let (ms, seq) = <(u64, u64)>::deserialize(deserializer)?;
        Ok(EntryId { ms, seq })
    }
}
