//! What operators see.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Says what each metric means. To be called once, after the recorder is there.
pub fn describe() {
    describe_counter!(
        "synapse_analytics_events_total",
        "Events by stream and outcome: stored, refused (by the store, to the dead letters), unfit (no sample can be made of \
         them, to the dead letters), ignored (of a kind that is not stored)"
    );
    describe_counter!("synapse_analytics_points_written_total", "Points that the store has taken");
    describe_counter!("synapse_analytics_batches_total", "Batches of points that were sent to InfluxDB");
    describe_counter!(
        "synapse_analytics_batch_points_total",
        "Points in those batches; more than written where some went again"
    );
    describe_counter!(
        "synapse_analytics_batch_bytes_total",
        "Bytes of those batches, by form: text, or sent (compressed)"
    );
    describe_counter!(
        "synapse_analytics_splits_total",
        "Batches that were cut to find what the store refuses"
    );
    describe_counter!(
        "synapse_analytics_store_failures_total",
        "Times that the store did not do what it was asked, by work"
    );
    describe_histogram!("synapse_analytics_store_seconds", "How long the store took, by work");
    describe_gauge!("synapse_analytics_store_away", "1 while events wait for the store, else 0");
    describe_gauge!(
        "synapse_analytics_behind_seconds",
        "How old the newest event was when it was stored, by stream"
    );
    describe_counter!("synapse_analytics_recorded_total", "Figures that /time-series/record has stored");
}

pub(crate) fn event(stream: &str, outcome: &'static str, count: usize) {
    if count > 0 {
        counter!("synapse_analytics_events_total", "stream" => stream.to_owned(), "outcome" => outcome)
            .increment(count as u64);
    }
}

pub(crate) fn points_written(count: usize) {
    counter!("synapse_analytics_points_written_total").increment(count as u64);
}

pub(crate) fn batch_sent(points: usize, text_bytes: usize, sent_bytes: usize) {
    counter!("synapse_analytics_batches_total").increment(1);
    counter!("synapse_analytics_batch_points_total").increment(points as u64);
    counter!("synapse_analytics_batch_bytes_total", "form" => "text").increment(text_bytes as u64);
    counter!("synapse_analytics_batch_bytes_total", "form" => "sent").increment(sent_bytes as u64);
}

pub(crate) fn split() {
    counter!("synapse_analytics_splits_total").increment(1);
}

pub(crate) fn store_failed(work: &'static str) {
    counter!("synapse_analytics_store_failures_total", "work" => work).increment(1);
}

pub(crate) fn store_took(work: &'static str, took: Duration) {
    histogram!("synapse_analytics_store_seconds", "work" => work).record(took);
}

pub(crate) fn store_away(is_away: bool) {
    gauge!("synapse_analytics_store_away").set(if is_away { 1.0 } else { 0.0 });
}

pub(crate) fn behind(stream: &str, age: Duration) {
    gauge!("synapse_analytics_behind_seconds", "stream" => stream.to_owned()).set(age.as_secs_f64());
}

pub(crate) fn recorded(count: usize) {
    counter!("synapse_analytics_recorded_total").increment(count as u64);
}
