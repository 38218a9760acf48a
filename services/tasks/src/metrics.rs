//! What the task orchestrator does, for Prometheus.

use metrics::{counter, describe_counter, describe_gauge, gauge};

/// Says what the figures mean.
pub(crate) fn describe() {
    describe_counter!("synapse_tasks_events_published_total", "Events of tasks that Redis has.");
    describe_counter!(
        "synapse_tasks_events_refused_total",
        "Times that Redis refused such an event; it is tried again."
    );
    describe_gauge!("synapse_tasks_events_waiting", "Events that are committed and not yet published.");
    describe_gauge!("synapse_tasks_oldest_event_seconds", "How long the oldest of them has waited.");
}

pub(crate) fn published(events: usize) {
    counter!("synapse_tasks_events_published_total").increment(events as u64);
}

pub(crate) fn refused() {
    counter!("synapse_tasks_events_refused_total").increment(1);
}

pub(crate) fn waiting(events: i64, oldest_ms: i64) {
    gauge!("synapse_tasks_events_waiting").set(events as f64);
    gauge!("synapse_tasks_oldest_event_seconds").set(oldest_ms as f64 / 1e3);
}
