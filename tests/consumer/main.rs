//! What a consumer does, also when something is in its way: each event is handled or set aside, and the others go on.

#![expect(clippy::unwrap_used, reason = "a test states what must hold")]

mod handling;
mod membership;
mod obstacles;
mod reading;
mod support;
