//! Events as frames: encoded once for each protocol, whoever gets them.

use bytes::Bytes;
use serde_json::{Value, json};
use synapse_realtime::{
    outbox::Piece,
    socketio::packet::{self, EVENT_PREFIX},
    sse,
    websocket::frame::{self, MAX_SERVER_HEADER, OpCode},
};

use crate::{
    position::Position,
    sealed::{Live, Sealed},
};

/// How frames for a client are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Socket.IO.
    SocketIo,
    /// Socket.IO to a client that may come back: an event has the position as its last argument, which the stock client
    /// takes for the offset to come back with.
    SocketIoWithOffsets,
    /// Our own JSON over WebSocket.
    WebSocket,
    /// Server-sent events over HTTP.
    ServerSentEvents,
}

impl Protocol {
    /// Every protocol, each at its place.
    pub const ALL: [Self; 4] =
        [Self::SocketIo, Self::SocketIoWithOffsets, Self::WebSocket, Self::ServerSentEvents];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SocketIo | Self::SocketIoWithOffsets => "socketio",
            Self::WebSocket => "websocket",
            Self::ServerSentEvents => "sse",
        }
    }

    /// The frame of something that is said beside the streams' events, under this name.
    pub(crate) fn message(self, name: &str, data: &Value) -> Vec<u8> {
        match self {
            Self::SocketIo | Self::SocketIoWithOffsets => frame::text(&packet::event(name, data)),
            Self::WebSocket => frame::text(&json!({ "type": name, "data": data }).to_string()),
            Self::ServerSentEvents => {
                let mut event = Vec::new();
                sse::push_event(&mut event, name, None, data.to_string().as_bytes());
                event
            }
        }
    }

    /// Whether Socket.IO's packets are understood.
    pub(crate) fn is_socketio(self) -> bool {
        matches!(self, Self::SocketIo | Self::SocketIoWithOffsets)
    }

    /// Writes the frame of an event. `position` is where a client is that has got it.
    pub fn push_event(self, out: &mut Vec<u8>, event: &Sealed, position: &Position) {
        match self {
            Self::SocketIo => {
                push_parts(out, &[EVENT_PREFIX, "[\"", event.stream.socketio_event(), "\","], event, b"]");
            }
            Self::SocketIoWithOffsets => {
                let before = [EVENT_PREFIX, "[\"", event.stream.socketio_event(), "\","];
                let after = format!(",\"{}\"]", position.token());
                push_parts(out, &before, event, after.as_bytes());
            }
            Self::WebSocket => {
                let id = event.id.to_string();
                let token = position.token();
                let parts = [
                    "{\"type\":\"event\",\"stream\":\"",
                    event.stream.name(),
                    "\",\"id\":\"",
                    &id,
                    "\",\"position\":\"",
                    &token,
                    "\",\"event\":",
                ];
                push_parts(out, &parts, event, b"}");
            }
            Self::ServerSentEvents => {
                let token = position.token();
                sse::push_event(out, event.stream.socketio_event(), Some(&token), &event.payload);
            }
        }
    }
}

fn push_parts(out: &mut Vec<u8>, before: &[&str], event: &Sealed, after: &[u8]) {
    let length = before.iter().map(|part| part.len()).sum::<usize>() + event.payload.len() + after.len();
    out.reserve(MAX_SERVER_HEADER + length);
    frame::push_header(out, OpCode::Text, length);
    for part in before {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(&event.payload);
    out.extend_from_slice(after);
}

/// The frames of a batch of events in one buffer that all receivers share.
#[derive(Debug)]
pub struct Encoded {
    bytes: Bytes,
    /// Where each frame begins, and where the last one ends.
    bounds: Vec<usize>,
}

impl Encoded {
    /// Encodes each event of a batch.
    pub fn new(protocol: Protocol, events: &[Live]) -> Self {
        let mut bytes = Vec::new();
        let mut bounds = Vec::with_capacity(events.len() + 1);
        for Live { sealed, .. } in events {
            bounds.push(bytes.len());
            protocol.push_event(&mut bytes, sealed, &sealed.position);
        }
        bounds.push(bytes.len());
        Self { bytes: bytes.into(), bounds }
    }

    /// The frames of the events from place `first` to before place `end`.
    pub fn piece(&self, first: usize, end: usize) -> Piece {
        Piece::new(self.bytes.clone(), self.bounds[first], self.bounds[end])
    }
}
