//! Web Push: messages to browsers, connected or not (RFC 8030, 8291, 8292).
//!
//! * [`message`]: what is sent. [`address`]: where it may go.
//! * [`sender`]: one push: encrypted, signed, sent. [`queue`]: those of notifications, until they are sent or nobody
//!   wants them any more.

pub mod address;
pub mod message;
pub mod queue;
pub mod sender;

pub use sender::{Sender, Target};
