//! What operators see.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::store::Gauges;

/// Says what each metric means. To be called once, after the recorder is there.
pub fn describe() {
    describe_counter!("synapse_notifications_made_total", "Notifications that were stored, by rule's title");
    describe_counter!("synapse_notifications_repeated_total", "Events whose notification was there already");
    describe_counter!(
        "synapse_notifications_inbox_only_total",
        "Notifications of events older than NOTIFY_MAX_AGE"
    );
    describe_counter!(
        "synapse_notifications_unfit_total",
        "Events that should make a notification and can't: their user_id is too long to be anyone's"
    );
    describe_counter!(
        "synapse_notifications_data_omitted_total",
        "Notifications whose data was too large to keep"
    );
    describe_counter!(
        "synapse_notifications_announced_total",
        "Notifications that all replicas were told of"
    );
    describe_counter!(
        "synapse_notifications_announce_failures_total",
        "Announcements that Redis did not take; they are made again"
    );
    describe_counter!(
        "synapse_notifications_sent_total",
        "Notifications handed to a connection, by kind (live, missed)"
    );
    describe_counter!(
        "synapse_notifications_delivered_total",
        "Notifications that a connection's client has got, as its answer to a ping proves"
    );
    describe_counter!(
        "synapse_notifications_marks_left_out_total",
        "Notifications of which it is not written that they were announced or shown; they are once more"
    );
    describe_counter!("synapse_notifications_skipped_total", "Announcements that were seen before");
    describe_counter!(
        "synapse_notifications_missed_failures_total",
        "Times that what a client missed could not be looked up"
    );
    describe_counter!(
        "synapse_notifications_database_failures_total",
        "Times that the database did not answer, by work"
    );
    describe_counter!(
        "synapse_notifications_connections_refused_total",
        "Connections and identities refused, by reason"
    );
    describe_counter!(
        "synapse_notifications_disconnects_total",
        "Connections ended by the service, by close code"
    );
    describe_gauge!("synapse_notifications_connections", "Connections that are open");
    describe_gauge!("synapse_notifications_users", "Users who are connected");
    describe_counter!(
        "synapse_notifications_pushes_total",
        "Pushes that were tried, by result (sent, gone, refused, failed, given_up)"
    );
    describe_counter!("synapse_notifications_push_retries_total", "Pushes that are tried again");
    describe_counter!(
        "synapse_notifications_subscriptions_removed_total",
        "Subscriptions that the push service no longer knows, or to which sending failed for 30 days"
    );
    describe_gauge!("synapse_notifications_unannounced", "Notifications that are to be announced");
    describe_gauge!("synapse_notifications_push_queue", "Pushes that are to be sent");
    describe_gauge!("synapse_notifications_inbox_age_seconds", "Age of the oldest notification");
    describe_counter!(
        "synapse_notifications_expired_total",
        "Notifications older than INBOX_RETENTION that were removed"
    );
}

pub(crate) fn made(title: &str, is_live: bool) {
    counter!("synapse_notifications_made_total", "title" => title.to_owned()).increment(1);
    if !is_live {
        counter!("synapse_notifications_inbox_only_total").increment(1);
    }
}

pub(crate) fn repeated() {
    counter!("synapse_notifications_repeated_total").increment(1);
}

pub(crate) fn unfit() {
    counter!("synapse_notifications_unfit_total").increment(1);
}

pub(crate) fn data_omitted() {
    counter!("synapse_notifications_data_omitted_total").increment(1);
}

pub(crate) fn announced(count: usize) {
    counter!("synapse_notifications_announced_total").increment(count as u64);
}

pub(crate) fn announce_failed() {
    counter!("synapse_notifications_announce_failures_total").increment(1);
}

pub(crate) fn sent(kind: &'static str, count: usize) {
    if count > 0 {
        counter!("synapse_notifications_sent_total", "kind" => kind).increment(count as u64);
    }
}

pub(crate) fn delivered(count: usize) {
    counter!("synapse_notifications_delivered_total").increment(count as u64);
}

pub(crate) fn skipped() {
    counter!("synapse_notifications_skipped_total").increment(1);
}

pub(crate) fn missed_failed() {
    counter!("synapse_notifications_missed_failures_total").increment(1);
}

pub(crate) fn database_failed(work: &'static str) {
    counter!("synapse_notifications_database_failures_total", "work" => work).increment(1);
}

pub(crate) fn refused(reason: &'static str) {
    counter!("synapse_notifications_connections_refused_total", "reason" => reason).increment(1);
}

pub(crate) fn disconnected(code: u16) {
    counter!("synapse_notifications_disconnects_total", "code" => code.to_string()).increment(1);
}

pub(crate) fn connections(count: usize, users: usize) {
    gauge!("synapse_notifications_connections").set(count as f64);
    gauge!("synapse_notifications_users").set(users as f64);
}

pub(crate) fn pushed(result: &'static str) {
    counter!("synapse_notifications_pushes_total", "result" => result).increment(1);
}

pub(crate) fn pushes_expired(count: u64) {
    counter!("synapse_notifications_pushes_total", "result" => "given_up").increment(count);
}

pub(crate) fn push_retried() {
    counter!("synapse_notifications_push_retries_total").increment(1);
}

pub(crate) fn subscriptions_removed(count: u64) {
    if count > 0 {
        counter!("synapse_notifications_subscriptions_removed_total").increment(count);
    }
}

pub(crate) fn tables(gauges: Gauges, now_ms: i64) {
    gauge!("synapse_notifications_unannounced").set(gauges.unannounced as f64);
    gauge!("synapse_notifications_push_queue").set(gauges.pushes as f64);
    let age_ms = if gauges.oldest_ms == 0 { 0 } else { now_ms - gauges.oldest_ms };
    gauge!("synapse_notifications_inbox_age_seconds").set(age_ms.max(0) as f64 / 1_000.0);
}

pub(crate) fn expired(count: u64) {
    counter!("synapse_notifications_expired_total").increment(count);
}

/// What happened to a notification is not written.
pub(crate) fn mark_left_out() {
    counter!("synapse_notifications_marks_left_out_total").increment(1);
}
