//! Rooms, outboxes and the wire protocols that carry events to connected clients.
//!
//! # Layout
//!
//! In reading order, from an event to a socket:
//!
//! * [`hub`]: who is connected, and which rooms each is in.
//! * [`outbox`]: what waits for one connection: references to frames that all receivers share,
//!   bounded in bytes.
//! * [`link`]: a socket and its outbox; whoever has something to send writes it at once if it can.
//! * [`driver`]: the one task of a connection: reads, keeps time, and says goodbye.
//! * [`websocket`]: RFC 6455: the handshake, frames, and messages made of them.
//! * [`socketio`]: Engine.IO 4 and Socket.IO 5 over it.
//! * [`sse`]: server-sent events, over an answer of HTTP that does not end.
//! * [`close`]: why a connection ends, and whether the client should come back.
//! * [`limits`]: how much one client or one address may do.
//! * [`recent`]: the last ids of something, so that what comes twice is passed on once.
//! * [`connections`]: all of them: let in within limits, served, told to come back when the server leaves.

pub mod close;
pub mod connections;
pub mod driver;
pub mod hub;
pub mod limits;
pub mod link;
pub mod outbox;
pub mod recent;
pub mod socketio;
pub mod sse;
pub mod websocket;
