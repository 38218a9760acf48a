//! What a publisher has done so far: for `stats()`, for the log and for Prometheus.

use metrics::{counter, gauge};
use serde::Serialize;
use tracing::{error, info, warn};

use super::{
    queue::Depth,
    spool::{Recovery, SpoolError},
};
use crate::sync::Mutex;

/// What was published so far, and what waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Events accepted and not acknowledged: queued or in flight.
    pub outstanding: u64,
    /// Bytes of their requests.
    pub outstanding_bytes: u64,
    /// Of those outstanding: how many wait to be written.
    pub queued: u64,
    /// Events that redis has.
    pub published: u64,
    /// Events sent more than once, since the connection broke or the server refused them for the moment.
    pub retried: u64,
    /// Events given up: the server refuses them for good, or the publisher ended first.
    pub failed: u64,
    /// Of those retried: sent again without knowing whether the first sending arrived. Their `event_id` is the same.
    pub possible_duplicates: u64,
    /// Events on disk that redis does not have yet.
    pub spooled: u64,
    /// Bytes of theirs.
    pub spooled_bytes: u64,
    /// Why the spool takes no events for now.
    pub spool_error: Option<String>,
    /// Connections that ended or did not come to be.
    pub lost_connections: u64,
    /// Why events wait, or why the last one was given up.
    pub last_error: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    published: u64,
    retried: u64,
    failed: u64,
    possible_duplicates: u64,
    spooled: u64,
    spooled_bytes: u64,
    lost_connections: u64,
    last_error: Option<String>,
    spool_error: Option<String>,
    last_refusal: String,
    last_given_up: String,
    unreported: u64,
    is_down: bool,
}

impl Counters {
    /// Events arrived: whatever was wrong is over.
    pub(super) fn healthy(&self, published: u64) {
        let mut inner = self.inner.lock();
        inner.published += published;
        let is_back = std::mem::take(&mut inner.is_down);
        drop(inner);
        counter!("synapse_publisher_published_total").increment(published);
        if is_back {
            info!("publishing again");
        }
    }

    /// A connection ended or did not come to be. Logged once until it is over.
    pub(super) fn lost(&self, reason: &str, has_spool: bool) {
        let mut inner = self.inner.lock();
        inner.lost_connections += 1;
        inner.last_error = Some(reason.to_owned());
        let is_new = !std::mem::replace(&mut inner.is_down, true);
        drop(inner);
        counter!("synapse_publisher_lost_connections_total").increment(1);
        if is_new {
            let where_to = if has_spool { "on disk" } else { "in memory" };
            warn!(reason, "redis takes no events for now; they wait {where_to} and are sent when it does");
        }
    }

    /// So much is on disk.
    pub(super) fn on_disk(&self, events: u64, bytes: u64) {
        let mut inner = self.inner.lock();
        let before = std::mem::replace(&mut inner.spooled, events);
        inner.spooled_bytes = bytes;
        drop(inner);
        // Other publishers of the process count into the same gauge.
        gauge!("synapse_publisher_spooled").increment(events as f64 - before as f64);
    }

    /// The publisher ends, and does not count what it leaves on disk any more.
    pub(super) fn ended(&self) {
        gauge!("synapse_publisher_spooled").decrement(self.inner.lock().spooled as f64);
    }

    /// What was wrong with a spool when it was opened.
    pub(super) fn recovered(recovery: &Recovery) {
        for reason in &recovery.skipped {
            error!(reason, "a part of the spool can't be opened: what it holds is not sent");
        }
        if recovery.is_cursor_lost {
            error!(
                "the spool no longer knows what redis has of it: all that is there is sent, some perhaps for the second time"
            );
        }
        if recovery.torn_bytes > 0 {
            info!(
                bytes = recovery.torn_bytes,
                "the spool ends with what a killed process was writing, which was cut off"
            );
        }
        if !recovery.damaged.is_empty() {
            error!(files = ?recovery.damaged, "a file of the spool is damaged; it is kept when the rest of it is sent");
        }
    }

    /// Events on disk can't be read any more.
    pub(super) fn lost_on_disk(&self, events: u64) {
        let mut inner = self.inner.lock();
        inner.failed += events;
        inner.unreported += events;
        inner.last_given_up = format!("the spool: {events} events can't be read any more");
        inner.last_error = Some(inner.last_given_up.clone());
        drop(inner);
        counter!("synapse_publisher_failed_total").increment(events);
        error!(events, "events in the spool can't be read any more; their file is kept");
    }

    /// The disk does not do what it is asked for. Logged once until it does.
    pub(super) fn spool_failed(&self, error: &SpoolError) {
        let text = error.to_string();
        let mut inner = self.inner.lock();
        let is_new = inner.spool_error.as_deref() != Some(&text);
        inner.spool_error = Some(text.clone());
        inner.last_error = Some(text);
        drop(inner);
        counter!("synapse_publisher_spool_errors_total").increment(1);
        if is_new {
            error!(%error, "the spool takes no events for now; they wait in memory, and are lost if this process ends");
        }
    }

    /// The disk took events.
    pub(super) fn stored(&self, events: u64) {
        let had_error = self.inner.lock().spool_error.take().is_some();
        counter!("synapse_publisher_spooled_total").increment(events);
        if had_error {
            info!("the spool takes events again");
        }
    }

    /// How many events are on disk.
    pub(super) fn spooled(&self) -> u64 {
        self.inner.lock().spooled
    }

    pub(super) fn refused_for_now(&self, reason: String) {
        let mut inner = self.inner.lock();
        inner.last_error = Some(reason.clone());
        inner.last_refusal = reason;
    }

    pub(super) fn last_refusal(&self) -> String {
        self.inner.lock().last_refusal.clone()
    }

    /// Events go again; of `unknown` of them nobody knows whether they arrived.
    pub(super) fn sent_again(&self, events: u64, unknown: u64) {
        let mut inner = self.inner.lock();
        inner.retried += events;
        inner.possible_duplicates += unknown;
        drop(inner);
        counter!("synapse_publisher_retried_total").increment(events);
        counter!("synapse_publisher_possible_duplicates_total").increment(unknown);
    }

    /// The server refuses an event for good. Logged for the first of a run of such events.
    pub(super) fn given_up(&self, stream: &str, reason: &str) {
        let mut inner = self.inner.lock();
        inner.failed += 1;
        inner.unreported += 1;
        let text = format!("{stream}: {reason}");
        let is_new = inner.last_error.as_deref() != Some(&text);
        inner.last_given_up.clone_from(&text);
        inner.last_error = Some(text);
        drop(inner);
        counter!("synapse_publisher_failed_total").increment(1);
        if is_new {
            error!(stream, reason, "an event was given up: redis refuses it for good");
        }
    }

    /// An event is left behind by a publisher that ends. The owner of the publisher says how many.
    pub(super) fn abandoned(&self, stream: &str) {
        let mut inner = self.inner.lock();
        inner.failed += 1;
        inner.unreported += 1;
        let last_error = inner.last_error.as_deref().unwrap_or("none");
        inner.last_given_up = format!("{stream}: the publisher ended; the last error was: {last_error}");
        drop(inner);
        counter!("synapse_publisher_failed_total").increment(1);
    }

    /// How many events were given up since this was last asked, and why the last one was.
    pub(super) fn take_given_up(&self) -> Option<(u64, String)> {
        let mut inner = self.inner.lock();
        let count = std::mem::take(&mut inner.unreported);
        (count > 0).then(|| (count, inner.last_given_up.clone()))
    }

    /// Whether events were given up of which nobody was told by a flush.
    pub(super) fn has_given_up(&self) -> bool {
        self.inner.lock().unreported > 0
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.inner.lock().last_error.clone()
    }

    pub(super) fn snapshot(&self, depth: Depth) -> Stats {
        let inner = self.inner.lock();
        Stats {
            outstanding: depth.events - depth.kept,
            outstanding_bytes: depth.bytes,
            queued: depth.queued,
            published: inner.published,
            retried: inner.retried,
            failed: inner.failed,
            possible_duplicates: inner.possible_duplicates,
            spooled: inner.spooled,
            spooled_bytes: inner.spooled_bytes,
            spool_error: inner.spool_error.clone(),
            lost_connections: inner.lost_connections,
            last_error: inner.last_error.clone(),
        }
    }
}
