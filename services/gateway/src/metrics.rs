//! What operators see, under the names of the field.

use std::time::{Duration, SystemTime};

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use synapse_realtime::driver::Ending;

use crate::{frames::Protocol, streams::Stream};

/// Says what each metric means. To be called once, after the recorder is there.
pub fn describe() {
    describe_gauge!("client_connections_inflight", "Connections that are open, by protocol");
    describe_counter!("client_num_server_disconnects", "Connections ended by the gateway, by close code");
    describe_counter!("client_recover", "Clients that came back, by whether nothing was missing");
    describe_counter!(
        "client_memories_failed",
        "Times that what a Socket.IO client had asked for was not kept for its return, by why"
    );
    describe_histogram!("client_ping_pong_duration_seconds", "Time from a ping to its answer");
    describe_counter!("client_refused", "Connections turned away before they were open, by reason");
    describe_histogram!(
        "node_broadcast_duration_seconds",
        "Time to hand a batch of events to all its receivers"
    );
    describe_counter!(
        "filters_tried",
        "Conditions tried on events as they came: once for all who have the same"
    );
    describe_counter!("transport_messages_sent", "Events handed to connections, by protocol");
    describe_counter!(
        "transport_messages_sent_size",
        "Bytes of the frames of events handed to connections, by protocol"
    );
    describe_gauge!("client_outbox_bytes", "Bytes that wait for clients, all together, within 5 seconds");
    describe_gauge!("client_outbox_bytes_max", "Bytes that wait for the client for whom most do, likewise");
    describe_counter!("stream_events", "Events read, by stream");
    describe_counter!("stream_entries_skipped", "Entries that hold no valid event, by stream and reason");
    describe_counter!("stream_entries_lost", "Entries trimmed before they were read, by stream");
    describe_gauge!(
        "stream_lag_seconds",
        "How long the last entry read of a stream had been there when it was handed out"
    );
    describe_counter!("lag_untold", "Times that Redis could not be told where this replica stands");
    describe_counter!("stream_position_resets", "Times a stream's ids went back, as after a fail-over");
    describe_counter!("redis_reader_errors", "Times reading the streams failed");
    describe_counter!(
        "relay_messages",
        "What is said beside the events, handed to connections (sent), doubled (skipped) or lost on its way (failed)"
    );
    describe_gauge!("history_bytes", "Memory the recent history takes");
}

pub(crate) fn relayed(outcome: &'static str, count: usize) {
    counter!("relay_messages", "outcome" => outcome).increment(count as u64);
}

pub(crate) fn connected(protocol: Protocol) {
    gauge!("client_connections_inflight", "protocol" => protocol.name()).increment(1);
}

pub(crate) fn disconnected(protocol: Protocol) {
    gauge!("client_connections_inflight", "protocol" => protocol.name()).decrement(1);
}

pub(crate) fn ended(ending: Ending) {
    if let Ending::ServerClosed(reason) = ending {
        counter!("client_num_server_disconnects", "code" => reason.code().to_string()).increment(1);
    }
}

pub(crate) fn refused(reason: &'static str) {
    counter!("client_refused", "reason" => reason).increment(1);
}

pub(crate) fn recovered(recovered: bool) {
    counter!("client_recover", "recovered" => if recovered { "yes" } else { "no" }).increment(1);
}

pub(crate) fn memory_failed(why: &'static str) {
    counter!("client_memories_failed", "why" => why).increment(1);
}

pub(crate) fn ponged(after: Duration) {
    histogram!("client_ping_pong_duration_seconds").record(after);
}

pub(crate) fn broadcast(took: Duration) {
    histogram!("node_broadcast_duration_seconds").record(took);
}

pub(crate) fn filters_tried(count: u64) {
    if count > 0 {
        counter!("filters_tried").increment(count);
    }
}

pub(crate) fn sent(protocol: Protocol, count: usize, bytes: usize) {
    if count > 0 {
        counter!("transport_messages_sent", "protocol" => protocol.name()).increment(count as u64);
        counter!("transport_messages_sent_size", "protocol" => protocol.name()).increment(bytes as u64);
    }
}

pub(crate) fn waiting(sum: usize, most: usize) {
    gauge!("client_outbox_bytes").set(sum as f64);
    gauge!("client_outbox_bytes_max").set(most as f64);
}

pub(crate) fn read(stream: Stream, count: usize) {
    if count == 0 {
        return;
    }
    counter!("stream_events", "stream" => stream.key()).increment(count as u64);
}

/// An entry of this time, in milliseconds since 1970, has been handed out.
pub(crate) fn behind(stream: Stream, ms: u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let behind = now.saturating_sub(Duration::from_millis(ms));
    gauge!("stream_lag_seconds", "stream" => stream.key()).set(behind);
}

pub(crate) fn lag_untold() {
    counter!("lag_untold").increment(1);
}

pub(crate) fn skipped(stream: Stream, reason: &'static str) {
    counter!("stream_entries_skipped", "stream" => stream.key(), "reason" => reason).increment(1);
}

pub(crate) fn lost(stream: Stream, count: u64) {
    counter!("stream_entries_lost", "stream" => stream.key()).increment(count);
}

pub(crate) fn position_reset(stream: Stream) {
    counter!("stream_position_resets", "stream" => stream.key()).increment(1);
}

pub(crate) fn reader_error() {
    counter!("redis_reader_errors").increment(1);
}

pub(crate) fn history(bytes: usize) {
    gauge!("history_bytes").set(bytes as f64);
}
