//! What to do.

use std::time::Duration;

use clap::{Parser, ValueEnum};

/// For whom the events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Each event for every client.
    Everyone,
    /// Each event for one user, in turn; each client is one user.
    Users,
}

/// Loads a gateway with raw Socket.IO clients and counts what they get.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// Where the server listens.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// The Redis that the server reads.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: String,
    /// The server's process id, whose CPU time is counted.
    #[arg(long)]
    pub(crate) pid: u32,
    /// How many clients connect.
    #[arg(long, default_value_t = 100)]
    pub(crate) clients: usize,
    /// How many events are appended.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) events: usize,
    /// For whom they are.
    #[arg(long, value_enum, default_value = "everyone")]
    pub(crate) to: Target,
    /// Events a second, evenly spaced, with latencies measured; as fast as Redis takes them if unset.
    #[arg(long)]
    pub(crate) rate: Option<u32>,
    /// A client that has got nothing for this long is done; what it lacks is lost.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) patience_s: f64,
}

impl Options {
    /// Events that each client should get.
    pub(crate) fn expected_per_client(&self) -> u64 {
        let events = match self.to {
            Target::Everyone => self.events,
            Target::Users => self.events / self.clients,
        };
        events as u64
    }

    /// See `patience_s`.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.patience_s)
    }
}
