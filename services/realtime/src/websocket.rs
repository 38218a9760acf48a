//! WebSocket (RFC 6455), the server's side, without extensions.
//!
//! [`handshake`] answers the HTTP request and takes the socket over; [`decoder`] makes messages of
//! what the client sends; [`frame`] reads and writes frames. Frames to clients are not masked, so
//! one encoded frame serves every receiver.

pub mod decoder;
pub mod frame;
pub mod handshake;
