//! The real binary, a real Redis, real processes.

#![allow(clippy::unwrap_used, reason = "the helpers of tests state their invariants as the tests do")]
#![allow(clippy::print_stdout, reason = "the service that stands in for a real one logs there")]

mod children;
mod dlq;
mod doctor;
mod liar;
mod platform;
mod publish;
mod replay;
mod running;
mod screen;
mod stand_in;
mod tables;
mod tail;
mod trim;
mod up;
