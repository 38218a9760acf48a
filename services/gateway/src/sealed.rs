//! An event as it is passed on: decoded once, encoded once.

use std::sync::Arc;

use synapse_rs::{
    Event,
    event::{DecodeError, Decoded, decode},
    stream::{Entry, EntryId},
};

use crate::{
    audience::{Audience, Audiences},
    position::Position,
    streams::Stream,
};

/// What an event costs in memory beside its payload, roughly.
const OVERHEAD: usize = 320;

/// An event that was read, ready to be sent to any number of clients.
#[derive(Debug)]
pub struct Sealed {
    /// Its number among all events this process has read.
    pub sequence: u64,
    /// The stream it is of.
    pub stream: Stream,
    /// Its entry.
    pub id: EntryId,
    /// Where a client is that has got it and everything before it.
    pub position: Position,
    /// Who gets it.
    pub audience: Audience,
    /// The event as JSON, with `event_id`, `id` and `stream`.
    pub payload: Box<[u8]>,
}

impl Sealed {
    /// Bytes of memory it takes.
    pub fn cost(&self) -> usize {
        self.payload.len() + OVERHEAD
    }

    /// The event again, for conditions on events of the past; `None` if it is nested too deep to be read.
    pub fn event(&self) -> Option<Event> {
        serde_json::from_slice(&self.payload).ok()
    }
}

/// A sealed event with its fields at hand, while it is on its way.
#[derive(Clone, Debug)]
pub struct Live {
    /// What is sent.
    pub sealed: Arc<Sealed>,
    /// What conditions look at.
    pub event: Event,
}

/// Seals entries; the same for those that come and those of the past.
#[derive(Clone, Copy, Debug)]
pub struct Sealer {
    /// What goes to whom.
    pub audiences: Audiences,
}

impl Sealer {
    /// Decodes an entry and encodes its payload; `None` for an entry without an event.
    pub fn seal(
        self,
        stream: Stream,
        entry: &Entry,
        sequence: u64,
        position: Position,
    ) -> Result<Option<Live>, DecodeError> {
        let Decoded::Event(mut event) = decode(stream.key(), entry.fields())? else { return Ok(None) };
        let audience = self.audiences.of(stream, &event);
        if event.event_id().is_none() {
            event.set("event_id", format!("{}/{}", stream.key(), entry.id));
        }
        event.set("id", entry.id.to_string());
        event.set("stream", stream.name());
        let payload = serde_json::to_vec(&event).expect("an event is a map of JSON values");
        let payload = payload.into_boxed_slice();
        let sealed = Sealed { sequence, stream, id: entry.id, position, audience, payload };
        Ok(Some(Live { sealed: Arc::new(sealed), event }))
    }
}
