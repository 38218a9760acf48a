//! What to do.

use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

/// Loads a gateway with raw clients and counts what they get.
#[derive(Clone, Debug, Parser)]
pub(crate) enum Mode {
    /// Connects many Socket.IO clients, appends events, and waits until each client has what is meant for it.
    Deliver(Deliver),
    /// Connects many clients, says so, and has them come back when the gateway was killed and started anew.
    Storm(Storm),
    /// Publishes over HTTP, each event when one before it has reached a Socket.IO client.
    Chain(Chain),
}

/// For whom the events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Each event for every client.
    Everyone,
    /// Each event for one user, in turn; each client is one user.
    Users,
}

/// Deliveries and their cost.
#[derive(Clone, Debug, Args)]
pub(crate) struct Deliver {
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

impl Deliver {
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

/// A herd that comes back.
#[derive(Clone, Debug, Args)]
pub(crate) struct Storm {
    /// Where the gateway listens, before and after.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// The Redis that it reads.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: String,
    /// How many clients there are, every other one of Socket.IO and of `/ws`.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) clients: usize,
    /// Events that each gets at first.
    #[arg(long, default_value_t = 20)]
    pub(crate) before: u64,
    /// Events that are appended once the gateway is gone.
    #[arg(long, default_value_t = 500)]
    pub(crate) missed: u64,
    /// Events that are appended while clients come back, ten a second.
    #[arg(long, default_value_t = 20)]
    pub(crate) live: u64,
    /// A client that lacks something this long after the gateway is back has lost it.
    #[arg(long, default_value_t = 60.0)]
    pub(crate) patience_s: f64,
}

/// From HTTP to Socket.IO.
#[derive(Clone, Debug, Args)]
pub(crate) struct Chain {
    /// Where the hub listens.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) hub: String,
    /// Where the gateway listens.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) gateway: String,
    /// Bytes of text in an event.
    #[arg(long, default_value_t = 1024)]
    pub(crate) payload_bytes: usize,
    /// Events on their way at once, each published on a connection of its own.
    #[arg(long, default_value_t = 50)]
    pub(crate) in_flight: usize,
    /// How long events are published.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// An event that has not come this long after its publication is lost.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) patience_s: f64,
    /// Processes whose CPU time is counted.
    #[arg(long = "pid")]
    pub(crate) pids: Vec<u32>,
}
