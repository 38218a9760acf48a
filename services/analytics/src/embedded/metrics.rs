//! What operators see of the embedded store.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::write::Kind;

/// Says what each metric means. To be called once, after the recorder is there.
pub(super) fn describe() {
    describe_counter!(
        "synapse_analytics_embedded_late_total",
        "Samples refused because they are older than those kept and can't be told from repeats, by kind"
    );
    describe_counter!(
        "synapse_analytics_embedded_removed_total",
        "Rows removed for their age or to make room, by table"
    );
    describe_counter!(
        "synapse_analytics_embedded_failures_total",
        "Times that the file could not be written or read, by work"
    );
    describe_counter!(
        "synapse_analytics_embedded_mended_total",
        "Minutes whose sums were damaged and were made anew from their rows"
    );
    describe_gauge!("synapse_analytics_embedded_bytes", Unit::Bytes, "Bytes of the file that are in use");
}

pub(super) fn mended() {
    counter!("synapse_analytics_embedded_mended_total").increment(1);
}

pub(super) fn late(kind: Kind) {
    counter!("synapse_analytics_embedded_late_total", "kind" => kind.name()).increment(1);
}

pub(super) fn removed(table: &'static str, rows: u64) {
    if rows > 0 {
        counter!("synapse_analytics_embedded_removed_total", "table" => table).increment(rows);
    }
}

pub(super) fn failed(work: &'static str) {
    counter!("synapse_analytics_embedded_failures_total", "work" => work).increment(1);
}

pub(super) fn bytes(in_use: u64) {
    gauge!("synapse_analytics_embedded_bytes").set(in_use as f64);
}
