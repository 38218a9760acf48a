//! What every Synapse service shares.
//!
//! # Layout
//!
//! * [`settings`]: variables and flags, each checked before any port is bound.
//! * [`identity`]: who is asking, and which requests are let in at all.
//! * [`request`]: what clients may write in queries and bodies. [`integers`]: those that can't be held.
//! * [`outgoing`]: requests to others.
//! * [`error`]: errors as a client of the HTTP face sees them.
//! * [`openapi`]: what the descriptions of all services have in common.
//! * [`serve`]: HTTP/1.1 over plain TCP, with limits.
//! * [`health`]: `/health`, `/ready`, `/metrics`.
//! * [`telemetry`]: the log and the metrics.
//! * [`service`]: what a running service holds, from its first task to its last connection.
//! * [`console`] (feature `console`): figures, moments and progress for people at a terminal.
//! * [`run()`]: the whole life of a process; a service's `main` calls it and nothing else.
//!
//! `examples/hello.rs` is a whole service.

#[cfg(feature = "console")]
pub mod console;
pub mod error;
pub mod health;
pub mod identity;
pub mod integers;
pub mod openapi;
pub mod outgoing;
pub mod request;
mod run;
pub mod serve;
pub mod service;
pub mod settings;
pub mod telemetry;

pub use run::{EXIT_BAD_SETTINGS, StartError, Task, run, run_or_do};
