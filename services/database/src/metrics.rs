//! What the database is asked to do, for Prometheus.

use std::time::Duration;

use metrics::Unit;
use metrics::{counter, describe_counter, describe_histogram, histogram};

/// Says what the figures mean.
pub(crate) fn describe() {
    describe_counter!("synapse_database_commits_total", "Transactions that were committed.");
    describe_counter!("synapse_database_changes_total", "Changes that were committed in them.");
    describe_counter!("synapse_database_failures_total", "Transactions that the database did not commit.");
    describe_histogram!(
        "synapse_database_commit_seconds",
        Unit::Seconds,
        "How long transactions took, the commit included."
    );
}

pub(crate) fn committed(changes: usize, took: Duration) {
    counter!("synapse_database_commits_total").increment(1);
    counter!("synapse_database_changes_total").increment(changes as u64);
    histogram!("synapse_database_commit_seconds").record(took.as_secs_f64());
}

pub(crate) fn failed() {
    counter!("synapse_database_failures_total").increment(1);
}
