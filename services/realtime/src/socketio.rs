//! Socket.IO 5 over Engine.IO 4, the server's side, over the WebSocket transport.
//!
//! [`engine`] has the packets of Engine.IO, [`packet`] those of Socket.IO that travel in them, and
//! [`session`] what is said when: the handshakes of both, heartbeats, acknowledgements. What events
//! mean is up to the [`session::Application`].

pub mod engine;
pub mod packet;
pub mod session;
