//! How a publisher behaves.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use super::{DeliveryError, SpoolConfig};
use crate::event::encode::Limits;

/// How a publisher behaves.
#[derive(Clone, Debug)]
pub struct PublisherConfig {
    /// The value of `source` for events that name none.
    pub source: String,
    /// The hard limit of a stream's length, sent as `MAXLEN ~`; 0 for none. Default 1,000,000.
    pub maxlen: u64,
    /// The hard limit of single streams.
    pub stream_maxlen: HashMap<String, u64>,
    /// How many events may be accepted and not acknowledged. Default 1,000,000.
    pub queue_events: u64,
    /// How many bytes of requests may be accepted and not acknowledged. Default 64 MiB.
    pub queue_bytes: u64,
    /// How long to wait for more before a request is sent to an idle server. Default 0.
    pub linger: Duration,
    /// How many bytes are written at once at most, unless one event is larger. Default 512 KiB.
    pub max_batch_bytes: usize,
    /// What an event may have.
    pub limits: Limits,
    /// How long a server may leave what was sent without any answer before the connection counts as lost.
    /// Default 30 s.
    pub response_timeout: Duration,
    /// Where events go that redis can't take, to survive this process; they stay in memory if unset.
    pub spool: Option<SpoolConfig>,
    /// Told of each event that is given up, in the writer's task: it must not wait.
    pub on_given_up: Option<OnGivenUp>,
}

/// An event that was accepted and is given up.
#[derive(Debug)]
pub struct GivenUp<'a> {
    /// The stream it was meant for.
    pub stream: &'a str,
    /// Its names and values, as they would stand in the entry.
    pub fields: Vec<(&'a [u8], &'a [u8])>,
    /// Why.
    pub error: &'a DeliveryError,
}

/// What is done about events that are given up.
#[derive(Clone)]
pub struct OnGivenUp(pub Arc<dyn Fn(&GivenUp<'_>) + Send + Sync>);

impl fmt::Debug for OnGivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnGivenUp")
    }
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            source: "synapse".to_owned(),
            maxlen: 1_000_000,
            stream_maxlen: HashMap::new(),
            queue_events: 1_000_000,
            queue_bytes: 64 * 1024 * 1024,
            linger: Duration::ZERO,
            max_batch_bytes: 512 * 1024,
            limits: Limits::default(),
            response_timeout: Duration::from_secs(30),
            spool: None,
            on_given_up: None,
        }
    }
}
