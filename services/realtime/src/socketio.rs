//! Socket.IO 5 over Engine.IO 4, the server's side, over its two transports, WebSocket and polling.
//!
//! [`engine`] has the packets of Engine.IO, [`packet`] those of Socket.IO that travel in them, and
//! [`session`] what is said when: the handshakes of both, heartbeats, acknowledgements. What events
//! mean is up to the [`application::Application`]. [`polling`] is the transport by plain requests, and the way from there to
//! WebSocket.

pub mod application;
pub mod engine;
pub mod packet;
#[doc(hidden)]
pub mod payload;
pub mod polling;
pub mod requests;
pub mod session;
