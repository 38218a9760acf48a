//! What every Synapse service shares.
//!
//! # Layout
//!
//! * [`settings`]: variables and flags, each checked before any port is bound.
//! * [`identity`]: who is asking, and which requests are let in at all.
//! * [`error`]: errors as a client of the HTTP face sees them.
//! * [`serve`]: HTTP/1.1 over plain TCP, with limits.
//! * [`telemetry`]: the log and the metrics.

pub mod error;
pub mod identity;
pub mod serve;
pub mod settings;
pub mod telemetry;
