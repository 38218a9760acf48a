//! What operators see. The gauges of streams and groups are those of the last look (`METRICS_INTERVAL`); every hub has
//! the same ones. They and those of the last round of trimming are replaced as a whole, so that what is gone has none.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use synapse_rs::retention::Report;

/// Says what each metric means. To be called once, after the recorder is there.
pub fn describe() {
    describe_gauge!("synapse_trimmer_elected", "1 if this hub is the one that trims");
    describe_counter!(
        "synapse_trimmed_entries_total",
        "Entries removed, by stream and reason (age, bytes, hard_limit)"
    );
    describe_counter!(
        "synapse_trim_errors_total",
        "Times that trimming failed, or the lock of the hub that trims could not be asked for"
    );
    describe_counter!(
        "synapse_hard_limit_bites_total",
        "Times that trimming found that a group in use had lost entries it needed, by stream"
    );
    describe_counter!(
        "synapse_expired_group_losses_total",
        "Times that trimming found that an expired group had lost entries it had not read, by stream"
    );
    describe_counter!("synapse_hub_published_total", "Events published over HTTP");
    describe_counter!("synapse_hub_refused_total", "Requests to publish that were refused, by reason");
    describe_gauge!("synapse_hub_replays", "Replays that run in this hub");
    describe_counter!("synapse_hub_replayed_total", "Entries that replays have copied or put back, by kind");
}

/// Says what the gauges of each look mean.
pub(crate) fn describe_look() {
    describe_gauge!("synapse_stream_length", "Entries of a stream");
    describe_gauge!("synapse_stream_bytes", "Bytes of Redis's memory that a stream takes, sampled");
    describe_gauge!("synapse_dead_letters", "Dead letters of a stream");
    describe_gauge!(
        "synapse_group_lag",
        "Entries that a group has not been given; NaN where Redis can't know"
    );
    describe_gauge!("synapse_group_pending", "Entries that a group was given and has not acknowledged");
    describe_gauge!(
        "synapse_group_oldest_pending_seconds",
        "How long ago the first of a group's pending entries was appended; 0 if there is none"
    );
    describe_gauge!("synapse_group_consumers", "Consumers of a group, idle ones included");
}

/// Says what the gauges of each round of trimming mean.
pub(crate) fn describe_round() {
    describe_gauge!("synapse_group_cut_entries", "Entries that are gone and that a group was never given");
    describe_gauge!(
        "synapse_group_expired",
        "1 if nobody has used the group for GROUP_EXPIRY, so that trimming does not wait for it"
    );
}

pub(crate) fn published(events: usize) {
    counter!("synapse_hub_published_total").increment(events as u64);
}

pub(crate) fn refused(reason: &'static str) {
    counter!("synapse_hub_refused_total", "reason" => reason).increment(1);
}

pub(crate) fn elected(is_elected: bool) {
    gauge!("synapse_trimmer_elected").set(if is_elected { 1.0 } else { 0.0 });
}

pub(crate) fn trimmed(stream: &str, report: &Report) {
    let removed = report.removed;
    for (reason, count) in
        [("age", removed.age), ("bytes", removed.bytes), ("hard_limit", removed.hard_limit)]
    {
        if count > 0 {
            counter!("synapse_trimmed_entries_total", "stream" => stream.to_owned(), "reason" => reason)
                .increment(count);
        }
    }
}

pub(crate) fn bitten(stream: &str) {
    counter!("synapse_hard_limit_bites_total", "stream" => stream.to_owned()).increment(1);
}

pub(crate) fn expired_lost(stream: &str) {
    counter!("synapse_expired_group_losses_total", "stream" => stream.to_owned()).increment(1);
}

pub(crate) fn trim_failed() {
    counter!("synapse_trim_errors_total").increment(1);
}

pub(crate) fn group(name: &'static str, stream: &str, group: &str, value: f64) {
    gauge!(name, "stream" => stream.to_owned(), "group" => group.to_owned()).set(value);
}

pub(crate) fn stream(name: &'static str, stream: &str, value: f64) {
    gauge!(name, "stream" => stream.to_owned()).set(value);
}

pub(crate) fn replays(running: usize) {
    gauge!("synapse_hub_replays").set(running as f64);
}

pub(crate) fn replayed(kind: &'static str, entries: u64) {
    counter!("synapse_hub_replayed_total", "kind" => kind).increment(entries);
}

/// A span in seconds, as Prometheus has it.
pub(crate) fn seconds(span: Option<Duration>) -> f64 {
    span.unwrap_or_default().as_secs_f64()
}
