//! A connection: whom it is for, which notifications were sent there, and which of them have arrived.
//!
//! Sent is not arrived: what waits in a socket is lost with it. A ping that is sent behind notifications and answered
//! proves that the client has got them; only then are they noted as delivered. What was sent to a connection that ends
//! before that is shown at the next one.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use synapse_realtime::{
    close::CloseReason,
    hub::Room,
    link::{Link, Pushed},
    outbox::Piece,
    recent::Recent,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::metrics;

/// How many of those sent are remembered, so that none is sent again.
const REMEMBERED: usize = 1_000;
/// How many may be on their way; with more the oldest are shown again at the next connection.
const MAX_UNCONFIRMED: usize = 10_000;
/// How long after a notification was sent the client is asked whether it has arrived.
const ASK_AFTER: Duration = Duration::from_millis(250);

/// One connection and what is known of it.
#[derive(Debug)]
pub struct Client {
    /// The socket and what waits for it.
    pub link: Arc<Link>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    room: Option<Room>,
    /// What has come while it gets what it missed; `None`: it gets what comes at once.
    held: Option<Vec<(Uuid, Piece)>>,
    held_bytes: usize,
    /// What was sent last, in whichever way.
    sent: Recent,
    on_the_way: OnTheWay,
}

/// What was sent and is not known to have arrived.
#[derive(Debug, Default)]
struct OnTheWay {
    /// In the order in which they were sent.
    ids: VecDeque<Uuid>,
    /// So many of them were sent before the ping that is not answered yet.
    asked: usize,
    /// When the client is to be asked.
    ask_at: Option<Instant>,
}

/// What became of a notification that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The client gets it; its link is to be flushed.
    FlushIt,
    /// The client gets it.
    Taken,
    /// It waits until the client has got what it missed.
    Held,
    /// The client has it, or takes nothing more.
    No,
}

impl Client {
    /// Nobody's connection.
    pub fn new(link: Arc<Link>) -> Arc<Self> {
        let state = State {
            room: None,
            held: None,
            held_bytes: 0,
            sent: Recent::new(REMEMBERED),
            on_the_way: OnTheWay::default(),
        };
        Arc::new(Self { link, state: Mutex::new(state) })
    }

    /// Whether it has got what it missed in this room, and gets what comes.
    pub(crate) fn is_followed(&self, room: &Room) -> bool {
        let state = self.state.lock();
        state.held.is_none() && state.room.as_ref() == Some(room)
    }

    /// From now on the notifications of this room are for it, and held until [`Client::release`].
    pub(crate) fn hold(&self, room: Room) {
        let mut state = self.state.lock();
        state.held.get_or_insert_default();
        state.room = Some(room);
    }

    /// The same for the room it is in, if it is in one.
    pub(crate) fn hold_again(&self) -> Option<Room> {
        let mut state = self.state.lock();
        let room = state.room.clone()?;
        state.held.get_or_insert_default();
        Some(room)
    }

    /// The room it is in.
    pub(crate) fn room(&self) -> Option<Room> {
        self.state.lock().room.clone()
    }

    /// Nothing is for it any more. Gives the room it was in.
    pub(crate) fn silence(&self) -> Option<Room> {
        let mut state = self.state.lock();
        state.held = None;
        state.held_bytes = 0;
        state.room.take()
    }

    /// It has left: whether it has got what was sent last will not be known, so it may be sent again.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        state.on_the_way = OnTheWay::default();
        state.sent = Recent::new(REMEMBERED);
    }

    /// Hands it what it missed in a room, then what has come meanwhile; each once. Gives how many it took of the former.
    pub(crate) fn release(&self, room: &Room, missed: Vec<(Uuid, Piece)>) -> usize {
        let mut state = self.state.lock();
        if state.room.as_ref() != Some(room) {
            // It has left while this was looked up.
            return 0;
        }
        let held = state.held.take().unwrap_or_default();
        state.held_bytes = 0;
        let (first_held, mut taken, mut flush) = (missed.len(), 0, false);
        for (number, (id, frame)) in missed.into_iter().chain(held).enumerate() {
            match state.send(&self.link, id, frame) {
                Offered::FlushIt => flush = true,
                Offered::Taken => {}
                Offered::Held | Offered::No => continue,
            }
            taken += usize::from(number < first_held);
        }
        drop(state);
        if flush {
            self.link.flush();
        }
        self.link.nudge();
        taken
    }

    /// Offers a notification as it comes.
    pub(crate) fn offer(&self, id: Uuid, frame: &Piece) -> Offered {
        let mut state = self.state.lock();
        if state.room.is_none() {
            return Offered::No;
        }
        let state = &mut *state;
        let Some(held) = &mut state.held else { return state.send(&self.link, id, frame.clone()) };
        state.held_bytes += frame.len();
        if state.held_bytes > self.link.limit() {
            // It comes back and finds them in the database.
            self.link.close(CloseReason::EventsLost);
            return Offered::No;
        }
        held.push((id, frame.clone()));
        Offered::Held
    }

    /// When it is to be asked whether what was sent has arrived, if it is.
    pub(crate) fn ask_at(&self) -> Option<Instant> {
        self.state.lock().on_the_way.ask_at
    }

    /// It is being asked.
    pub(crate) fn asked(&self) {
        let mut state = self.state.lock();
        state.on_the_way.asked = state.on_the_way.ids.len();
        state.on_the_way.ask_at = None;
    }

    /// It has answered. Gives what has arrived.
    pub(crate) fn answered(&self) -> Vec<Uuid> {
        let mut state = self.state.lock();
        let on_the_way = &mut state.on_the_way;
        let arrived = on_the_way.ids.drain(..on_the_way.asked).collect();
        on_the_way.asked = 0;
        if on_the_way.ids.is_empty() {
            on_the_way.ids.shrink_to(0);
        }
        arrived
    }
}

impl State {
    fn send(&mut self, link: &Link, id: Uuid, frame: Piece) -> Offered {
        if self.sent.contains(&id) {
            return Offered::No;
        }
        let pushed = link.push(frame);
        if pushed == Pushed::Refused {
            return Offered::No;
        }
        self.sent.insert(id);
        self.on_the_way.add(id);
        if pushed == Pushed::FlushIt { Offered::FlushIt } else { Offered::Taken }
    }
}

impl OnTheWay {
    fn add(&mut self, id: Uuid) {
        self.ids.push_back(id);
        if self.ids.len() > MAX_UNCONFIRMED {
            self.ids.pop_front();
            self.asked = self.asked.saturating_sub(1);
            metrics::mark_left_out();
        }
        self.ask_at.get_or_insert_with(|| Instant::now() + ASK_AFTER);
    }
}

#[cfg(test)]
mod tests;
