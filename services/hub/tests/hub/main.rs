//! The hub as its clients see it: a real Redis, the whole service on a free port, real HTTP.

#![allow(clippy::unwrap_used, reason = "tests state invariants by unwrapping")]

mod bad_input;
mod dead_letters;
mod identity;
mod publishing;
mod replaying;
mod streams;
mod support;
mod telling;
mod trimming;
