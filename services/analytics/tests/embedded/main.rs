//! The store that needs no server, on real files.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod answers;
mod crash;
mod exact;
mod faults;
mod kept;
mod support;
