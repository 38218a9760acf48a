//! A connection: whom it is for, and which notifications it has got.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use synapse_realtime::{
    close::CloseReason,
    hub::Room,
    link::{Link, Pushed},
    outbox::Piece,
};
use uuid::Uuid;

/// How many notifications may come while a client gets what it missed; with more it is to come back.
const MAX_HELD: usize = 1_000;

/// One connection and what is known of it.
#[derive(Debug)]
pub struct Client {
    /// The socket and what waits for it.
    pub link: Arc<Link>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    room: Option<Room>,
    /// What has come while it gets what it missed; `None`: it gets what comes at once.
    held: Option<Vec<(Uuid, Piece)>>,
    /// What it got as missed: these may yet be announced.
    sent: HashSet<Uuid>,
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
        Arc::new(Self { link, state: Mutex::default() })
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

    /// The room it is in.
    pub(crate) fn room(&self) -> Option<Room> {
        self.state.lock().room.clone()
    }

    /// Nothing is for it any more. Gives the room it was in.
    pub(crate) fn silence(&self) -> Option<Room> {
        let mut state = self.state.lock();
        state.held = None;
        state.room.take()
    }

    /// Hands it what it missed, then what has come meanwhile; each once. Gives the ids of what it took.
    pub(crate) fn release(&self, missed: Vec<(Uuid, Piece)>) -> Vec<Uuid> {
        let mut state = self.state.lock();
        let held = state.held.take().unwrap_or_default();
        let mut taken = Vec::with_capacity(missed.len() + held.len());
        let mut flush = false;
        let missed = missed.into_iter().map(|(id, frame)| (id, frame, true));
        for (id, frame, is_missed) in missed.chain(held.into_iter().map(|(id, frame)| (id, frame, false))) {
            // What comes live comes once to each process: only what was missed has to be remembered.
            if state.sent.contains(&id) {
                continue;
            }
            if is_missed {
                state.sent.insert(id);
            }
            match self.link.push(frame) {
                Pushed::FlushIt => flush = true,
                Pushed::Waits => {}
                Pushed::Refused => break,
            }
            taken.push(id);
        }
        drop(state);
        if flush {
            self.link.flush();
        }
        taken
    }

    /// Offers a notification as it comes.
    pub(crate) fn offer(&self, id: Uuid, frame: &Piece) -> Offered {
        let mut state = self.state.lock();
        if state.room.is_none() {
            return Offered::No;
        }
        if let Some(held) = &mut state.held {
            if held.len() >= MAX_HELD {
                self.link.close(CloseReason::SlowClient);
                return Offered::No;
            }
            held.push((id, frame.clone()));
            return Offered::Held;
        }
        if state.sent.contains(&id) {
            return Offered::No;
        }
        match self.link.push(frame.clone()) {
            Pushed::FlushIt => Offered::FlushIt,
            Pushed::Waits => Offered::Taken,
            Pushed::Refused => Offered::No,
        }
    }
}
