//! The entries in hand, each with the state it is in.

use std::{collections::BTreeMap, sync::Arc};

use super::Place;
use crate::stream::EntryId;

/// Where an entry in hand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Read from the stream, being decoded.
    Read,
    /// To be taken.
    Ready,
    /// Behind an earlier entry of its key.
    Parked,
    /// With a handler.
    Out,
    /// It has failed or was given back, and is delivered again at a time.
    Waiting,
    /// Its turn has come, but the event has to be read again.
    Deferred,
    /// Being read again.
    Reread,
    /// To be tried alone.
    Lone,
    /// Redis is being told that it was handled, or is given back.
    Settling,
    /// It goes to the dead letters, as soon as Redis takes them.
    Buried,
}

/// An entry in hand.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// How often a handler was given it, or will have been with the next time if it is on its way to one.
    pub deliveries: u32,
    pub state: State,
    pub key: Option<Arc<str>>,
    /// The size of its event while that is in memory.
    size_bytes: usize,
}

/// All of them.
#[derive(Debug)]
pub(super) struct InHand {
    streams: Vec<OfStream>,
    count: usize,
    bytes: usize,
    /// How many are with a handler, or settled without Redis having confirmed it.
    busy: usize,
    /// How many are being decoded.
    arriving: usize,
}

#[derive(Debug, Default)]
struct OfStream {
    entries: BTreeMap<EntryId, Held>,
    /// The highest id that ever came, or that was acknowledged before we joined.
    seen: EntryId,
}

impl Held {
    pub(super) fn new(deliveries: u32, state: State) -> Self {
        Self { deliveries, state, key: None, size_bytes: 0 }
    }
}

impl State {
    pub(super) fn is_settled(self) -> bool {
        matches!(self, Self::Settling | Self::Buried)
    }

    fn is_busy(self) -> bool {
        matches!(self, Self::Out | Self::Settling)
    }
}

impl InHand {
    pub(super) fn new(streams: usize) -> Self {
        let streams = (0..streams).map(|_| OfStream::default()).collect();
        Self { streams, count: 0, bytes: 0, busy: 0, arriving: 0 }
    }

    pub(super) fn insert(&mut self, place: Place, held: Held) -> bool {
        let stream = &mut self.streams[place.stream];
        stream.seen = stream.seen.max(place.id);
        let std::collections::btree_map::Entry::Vacant(vacant) = stream.entries.entry(place.id) else {
            return false;
        };
        self.arriving += usize::from(held.state == State::Read);
        vacant.insert(held);
        self.count += 1;
        true
    }

    pub(super) fn get(&self, place: Place) -> Option<&Held> {
        self.streams[place.stream].entries.get(&place.id)
    }

    fn get_mut(&mut self, place: Place) -> Option<&mut Held> {
        self.streams[place.stream].entries.get_mut(&place.id)
    }

    pub(super) fn set(&mut self, place: Place, state: State) {
        let Some(held) = self.get_mut(place) else { return };
        let before = std::mem::replace(&mut held.state, state);
        self.busy = self.busy + usize::from(state.is_busy()) - usize::from(before.is_busy());
        self.arriving =
            self.arriving + usize::from(state == State::Read) - usize::from(before == State::Read);
    }

    pub(super) fn set_deliveries(&mut self, place: Place, deliveries: u32) {
        if let Some(held) = self.get_mut(place) {
            held.deliveries = deliveries;
        }
    }

    pub(super) fn set_key(&mut self, place: Place, key: &Arc<str>) {
        if let Some(held) = self.get_mut(place) {
            held.key = Some(key.clone());
        }
    }

    /// Its event is in memory.
    pub(super) fn hold_event(&mut self, place: Place, size_bytes: usize) {
        let Some(held) = self.get_mut(place) else { return };
        let before = std::mem::replace(&mut held.size_bytes, size_bytes);
        self.bytes = self.bytes - before + size_bytes;
    }

    /// Its event is not in memory any more.
    pub(super) fn drop_event(&mut self, place: Place) {
        self.hold_event(place, 0);
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.drop_event(place);
        if let Some(held) = self.streams[place.stream].entries.remove(&place.id) {
            self.count -= 1;
            self.busy -= usize::from(held.state.is_busy());
            self.arriving -= usize::from(held.state == State::Read);
        }
    }

    /// Nothing is with a handler, and Redis knows of all that was.
    pub(super) fn is_idle(&self) -> bool {
        self.busy == 0
    }

    pub(super) fn arriving(&self) -> usize {
        self.arriving
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Place, &Held)> {
        self.streams.iter().enumerate().flat_map(|(stream, of_stream)| {
            of_stream.entries.iter().map(move |(id, held)| (Place { stream, id: *id }, held))
        })
    }

    /// What of a stream is or is not settled yet, oldest first.
    pub(super) fn of_stream(&self, stream: usize, is_settled: bool) -> Vec<EntryId> {
        let entries = self.streams[stream].entries.iter();
        entries.filter(|(_, held)| held.state.is_settled() == is_settled).map(|(id, _)| *id).collect()
    }

    pub(super) fn joined(&mut self, stream: usize, acknowledged: EntryId) {
        let of_stream = &mut self.streams[stream];
        of_stream.seen = of_stream.seen.max(acknowledged);
    }

    pub(super) fn acknowledged_up_to(&self, stream: usize) -> EntryId {
        let of_stream = &self.streams[stream];
        match of_stream.entries.first_key_value() {
            Some((lowest, _)) => lowest.previous(),
            None => of_stream.seen,
        }
    }

    /// The same, counting what was handled and Redis does not know of yet.
    pub(super) fn settled_up_to(&self, stream: usize) -> EntryId {
        let of_stream = &self.streams[stream];
        let unsettled = of_stream.entries.iter().find(|(_, held)| held.state != State::Settling);
        unsettled.map_or(of_stream.seen, |(id, _)| id.previous())
    }
}
