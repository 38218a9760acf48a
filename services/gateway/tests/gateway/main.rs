//! The gateway as its clients see it: a real Redis, the whole service on a free port, real sockets.

#![allow(clippy::unwrap_used, reason = "tests state invariants by unwrapping")]

mod audience;
mod event_source;
mod events;
mod events_identity;
mod faults;
mod lag;
mod limits;
mod recovery;
mod relay;
mod resume;
mod rooms;
mod support;
