//! What came of it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::Usage;

/// What one client got.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Events that came.
    pub(crate) events: u64,
    /// Of these, those that came a second time or out of order.
    pub(crate) doubled: u64,
    /// From the append to the client.
    pub(crate) latencies: Vec<Duration>,
    /// When the last one came.
    pub(crate) last: Option<Instant>,
}

/// What all clients got.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    received: Received,
}

impl Tally {
    pub(crate) fn add(&mut self, one: Received) {
        self.received.events += one.events;
        self.received.doubled += one.doubled;
        self.received.latencies.extend(one.latencies);
        self.received.last = self.received.last.max(one.last);
    }
}

/// One run.
pub(crate) struct Report {
    pub(crate) expected: u64,
    pub(crate) tally: Tally,
    pub(crate) started: Instant,
    pub(crate) before_clients: Usage,
    pub(crate) idle: Usage,
    pub(crate) after: Usage,
    pub(crate) clients: usize,
}

impl Report {
    /// One object; times in seconds unless they say milliseconds.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let received = &self.tally.received;
        let mut sorted = received.latencies.clone();
        sorted.sort_unstable();
        let cpu = self.after.cpu.saturating_sub(self.idle.cpu).as_secs_f64();
        let seconds = received.last.map_or(0.0, |last| (last - self.started).as_secs_f64());
        let idle_bytes = self.idle.resident_bytes.saturating_sub(self.before_clients.resident_bytes);
        json!({
            "deliveries": received.events,
            "lost": self.expected.saturating_sub(received.events - received.doubled),
            "doubled": received.doubled,
            "seconds": seconds,
            "cpu_seconds": cpu,
            "deliveries_per_cpu_second": received.events as f64 / cpu.max(1e-9),
            "latency_p50_ms": percentile_ms(&sorted, 50),
            "latency_p99_ms": percentile_ms(&sorted, 99),
            "idle_bytes_per_connection": idle_bytes / self.clients as u64,
        })
    }
}

/// Null where nothing was measured.
pub(crate) fn percentile_ms(sorted: &[Duration], percent: usize) -> Option<f64> {
    sorted.get(sorted.len() * percent / 100).map(|latency| latency.as_secs_f64() * 1e3)
}
