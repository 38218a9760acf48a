//! The recent past, in memory: what clients that come back have missed is mostly here.
//!
//! Bounded in events and bytes over all streams together, so that it reaches back equally far in
//! each. For each stream it knows its floor: every entry after it that Redis holds is here.

use std::{collections::VecDeque, sync::Arc};

use synapse_rs::EntryId;

use tokio::task::consume_budget;

use crate::{
    position::Position,
    sealed::Sealed,
    streams::{COUNT, Stream, StreamSet},
};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Events.
    pub events: usize,
    /// Bytes of memory, roughly.
    pub bytes: usize,
}

/// Recent events of all streams.
#[derive(Debug)]
pub struct History {
    capacity: Capacity,
    streams: [VecDeque<Arc<Sealed>>; COUNT],
    /// Of which stream the oldest event is, the next oldest, and so on.
    order: VecDeque<Stream>,
    bytes: usize,
    floor: Position,
    head: Position,
    next_sequence: u64,
}

/// What a reader of the past gets.
#[derive(Debug)]
pub enum Past {
    /// The next events, in order; none if there are no more for now.
    Events(Vec<Arc<Sealed>>),
    /// Not all that came since is here.
    TooOld,
}

impl History {
    /// Nothing yet.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            streams: Default::default(),
            order: VecDeque::new(),
            bytes: 0,
            floor: Position::default(),
            head: Position::default(),
            next_sequence: 0,
        }
    }

    /// The last entry of each stream that has been read.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Every entry after these that Redis holds is here.
    pub fn floor(&self) -> Position {
        self.floor
    }

    /// The number that the next event will have.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Bytes of memory it takes, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says that a stream has been read up to an entry, be it one without an event.
    pub fn advance(&mut self, stream: Stream, id: EntryId) {
        self.head[stream] = id;
    }

    /// Starts a stream over: nothing of it at or before this entry is here any more.
    pub fn restart(&mut self, stream: Stream, id: EntryId) {
        let forgotten = std::mem::take(&mut self.streams[stream.index()]);
        self.bytes -= forgotten.iter().map(|event| event.cost()).sum::<usize>();
        self.order.retain(|other| *other != stream);
        self.floor[stream] = id;
        self.head[stream] = id;
    }

    /// Adds an event that has just been read; its number is [`History::next_sequence`].
    ///
    /// # Panics
    ///
    /// If it has another number.
    pub fn push(&mut self, event: Arc<Sealed>) {
        assert_eq!(event.sequence, self.next_sequence, "events are numbered in the order they are read");
        self.next_sequence += 1;
        self.advance(event.stream, event.id);
        self.bytes += event.cost();
        self.order.push_back(event.stream);
        self.streams[event.stream.index()].push_back(event);
        while self.order.len() > self.capacity.events || self.bytes > self.capacity.bytes {
            let Some(stream) = self.order.pop_front() else { break };
            let Some(oldest) = self.streams[stream.index()].pop_front() else { break };
            self.bytes -= oldest.cost();
            self.floor[stream] = oldest.id;
        }
    }

    /// At most `count` events of these streams after the cursor.
    pub fn after(&self, cursor: &Position, wanted: StreamSet, count: usize) -> Past {
        if wanted.iter().any(|stream| cursor[stream] < self.floor[stream]) {
            return Past::TooOld;
        }
        let mut rests: Vec<_> = wanted
            .iter()
            .map(|stream| {
                let events = &self.streams[stream.index()];
                events.range(events.partition_point(|event| event.id <= cursor[stream])..).peekable()
            })
            .collect();
        let mut events = Vec::new();
        while events.len() < count {
            let first = rests.iter_mut().filter_map(|rest| Some((rest.peek()?.sequence, rest)));
            let Some((_, rest)) = first.min_by_key(|(sequence, _)| *sequence) else { break };
            events.extend(rest.next().cloned());
        }
        Past::Events(events)
    }

    /// All events of these streams that are here, in order.
    pub fn all(&self, wanted: StreamSet) -> Vec<Arc<Sealed>> {
        match self.after(&self.floor, wanted, usize::MAX) {
            Past::Events(events) => events,
            Past::TooOld => Vec::new(),
        }
    }
}

/// The cursor after `floor` from which on `events` has `count` that are wanted, or as many as it has. Others get their turn
/// meanwhile: to look at a condition each event is read anew.
pub async fn before_last(
    count: usize,
    events: &[Arc<Sealed>],
    floor: Position,
    head: Position,
    wants: impl Fn(&Sealed) -> bool,
) -> Position {
    if count == 0 {
        return head;
    }
    let (mut begin, mut left) = (events.len(), count);
    for (place, event) in events.iter().enumerate().rev() {
        consume_budget().await;
        if wants(event) {
            begin = place;
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    let mut cursor = floor;
    for event in &events[..begin] {
        cursor[event.stream] = event.id;
    }
    cursor
}

#[cfg(test)]
mod tests;
