//! A connected client: who it is, what it asks for, and where it stands in the streams.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use synapse_realtime::{
    hub::Room,
    limits::UserPermit,
    link::{Link, Pushed},
    outbox::Piece,
};

use crate::{
    audience::Audience,
    filters::Verdicts,
    frames::{Encoded, Protocol},
    position::Position,
    sealed::{Live, Sealed},
    streams::StreamSet,
    subscriptions::Subscriptions,
};

/// One connection and what is known of it.
#[derive(Debug)]
pub struct Client {
    /// The socket and what waits for it.
    pub link: Arc<Link>,
    /// How frames for it are written.
    pub protocol: Protocol,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The rooms that are its own by who it is.
    own: Vec<Room>,
    /// All rooms it is in.
    rooms: HashSet<Room>,
    /// Its place among the connections of its user, where these are limited.
    place: Option<Box<UserPermit>>,
    subscriptions: Subscriptions,
    /// The numbers of the events that are handed to it as they come: from here …
    from: u64,
    /// … to before here. Empty before it asks for anything, and while it catches up.
    until: u64,
    /// Where it stands while it catches up.
    cursor: Option<Position>,
    /// The number after that of the last event it was handed, or position it was told.
    told: u64,
}

/// Consecutive events of one batch that go to the same audience.
#[derive(Debug)]
pub struct Run<'a> {
    /// The events; never none.
    pub events: &'a [Live],
    /// Their places in the encoded batch.
    pub first: usize,
    /// The streams they are of.
    pub streams: StreamSet,
}

/// What came of an offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    /// Events it was handed.
    pub(crate) count: usize,
    /// Bytes of their frames.
    pub(crate) bytes: usize,
    /// Whether it is to be flushed.
    pub(crate) flush: bool,
}

impl Offered {
    fn push(&mut self, link: &Link, piece: Piece, count: usize) {
        let bytes = piece.len();
        match link.push(piece) {
            Pushed::FlushIt => self.flush = true,
            Pushed::Waits => {}
            Pushed::Refused => return,
        }
        self.count += count;
        self.bytes += bytes;
    }
}

impl Client {
    /// A client that is nobody and has asked for nothing.
    pub fn new(link: Arc<Link>, protocol: Protocol) -> Arc<Self> {
        let state = State {
            own: Vec::new(),
            rooms: HashSet::new(),
            place: None,
            subscriptions: Subscriptions::default(),
            from: 0,
            until: 0,
            cursor: None,
            told: 0,
        };
        Arc::new(Self { link, protocol, state: Mutex::new(state) })
    }

    // === rooms ===

    /// Notes that it is in a room; whether it was not before, or `None` if it is in too many.
    pub(crate) fn note_room(&self, room: &Room, limit: usize) -> Option<bool> {
        let mut state = self.state.lock();
        if state.rooms.contains(room) {
            return Some(false);
        }
        if state.rooms.len() >= limit {
            return None;
        }
        Some(state.rooms.insert(room.clone()))
    }

    /// Notes that it is in a room no longer; whether it was, and the room is not its own.
    pub(crate) fn forget_room(&self, room: &Room) -> bool {
        let mut state = self.state.lock();
        !state.own.contains(room) && state.rooms.remove(room)
    }

    /// Notes which rooms are its own, and gives those that no longer are.
    pub(crate) fn replace_own_rooms(&self, own: Vec<Room>) -> Vec<Room> {
        let mut state = self.state.lock();
        let mut left = std::mem::replace(&mut state.own, own.clone());
        left.retain(|room| !own.contains(room));
        for room in &left {
            state.rooms.remove(room);
        }
        state.rooms.extend(own);
        left
    }

    /// The rooms that are its own.
    pub(crate) fn own_rooms(&self) -> Vec<Room> {
        self.state.lock().own.clone()
    }

    /// Whether it has a place among this user's connections.
    pub(crate) fn has_place_of(&self, user: &str) -> bool {
        self.state.lock().place.as_ref().is_some_and(|place| **place.key() == *user)
    }

    /// Takes a place among the connections of its user, and gives back that which it had.
    pub(crate) fn take_place(&self, place: Option<UserPermit>) {
        self.state.lock().place = place.map(Box::new);
    }

    /// Forgets all rooms, and says which they were; it has no user any more.
    pub(crate) fn take_rooms(&self) -> HashSet<Room> {
        let mut state = self.state.lock();
        state.own = Vec::new();
        state.place = None;
        std::mem::take(&mut state.rooms)
    }

    // === events as they come ===

    /// Hands it those of these events that it asks for.
    pub(crate) fn offer(&self, run: &Run<'_>, encoded: &Encoded, verdicts: &Verdicts<'_>) -> Offered {
        let mut offered = Offered::default();
        let (Some(first), Some(last)) = (run.events.first(), run.events.last()) else { return offered };
        let mut state = self.state.lock();
        if last.sealed.sequence < state.from || first.sealed.sequence >= state.until {
            return offered;
        }
        let whole = state.from <= first.sealed.sequence && last.sealed.sequence < state.until;
        if whole && state.subscriptions.wants_all_of(run.streams) {
            state.told = last.sealed.sequence + 1;
            let piece = encoded.piece(run.first, run.first + run.events.len());
            offered.push(&self.link, piece, run.events.len());
            return offered;
        }
        for (place, Live { sealed, .. }) in (run.first..).zip(run.events) {
            let due = (state.from..state.until).contains(&sealed.sequence);
            if due && state.subscriptions.wants(sealed.stream, |filter| verdicts.is_met(filter, place)) {
                state.told = sealed.sequence + 1;
                offered.push(&self.link, encoded.piece(place, place + 1), 1);
            }
        }
        offered
    }

    /// Tells it where it stands, unless it knows: every event before `sequence` has been offered.
    pub(crate) fn tell_position(&self, sequence: u64, frame: impl FnOnce() -> Vec<u8>) {
        let mut state = self.state.lock();
        if state.until != u64::MAX || state.told >= sequence || state.from > sequence {
            return;
        }
        state.told = sequence;
        let pushed = self.link.push(Piece::from(frame()));
        drop(state);
        if pushed == Pushed::FlushIt {
            self.link.flush();
        }
    }

    // === what it asks for ===

    /// Changes what it asks for.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Subscriptions) -> T) -> T {
        change(&mut self.state.lock().subscriptions)
    }

    /// The streams it asks for.
    pub(crate) fn wanted(&self) -> StreamSet {
        self.state.lock().subscriptions.streams()
    }

    /// Whether it may see this event of the past, and asks for it.
    pub(crate) fn wants(&self, event: &Sealed) -> bool {
        let state = self.state.lock();
        let may_see = match &event.audience {
            Audience::Everyone => true,
            Audience::Room(room) => state.rooms.contains(room),
        };
        may_see
            && state
                .subscriptions
                .wants(event.stream, |filter| event.event().is_some_and(|event| filter.matches(&event)))
    }

    // === catching up ===

    /// Stops handing it events from number `next` on, if that has not been done before; `head` is
    /// where it stands once it has got all before.
    pub(crate) fn hold(&self, next: u64, head: Position) {
        let mut state = self.state.lock();
        if state.cursor.is_none() {
            state.until = state.until.min(next);
            state.cursor = Some(head);
        }
    }

    /// Where it stands, while it catches up.
    pub(crate) fn cursor(&self) -> Option<Position> {
        self.state.lock().cursor
    }

    /// Moves it, while it catches up.
    pub(crate) fn set_cursor(&self, cursor: Position) {
        self.state.lock().cursor = Some(cursor);
    }

    /// Hands it events as they come, from number `next` on.
    pub(crate) fn release(&self, next: u64) {
        let mut state = self.state.lock();
        state.cursor = None;
        state.from = next;
        state.until = u64::MAX;
        state.told = next;
    }

    /// Hands it nothing any more.
    pub(crate) fn silence(&self) {
        let mut state = self.state.lock();
        state.until = 0;
        state.cursor = None;
    }
}
