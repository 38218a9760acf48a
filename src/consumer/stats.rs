//! What a consumer has done so far: for `stats()` and for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Histogram, counter, histogram};
use serde::Serialize;

/// What a consumer has done since it was opened, and what it has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Events given to handlers, those given again included.
    pub delivered: u64,
    /// Entries acknowledged.
    pub acknowledged: u64,
    /// Deliveries that were put off to be made again.
    pub retried: u64,
    /// Entries moved to the dead letters.
    pub dead_letters: u64,
    /// Entries taken over from other consumers.
    pub taken_over: u64,
    /// Entries trimmed away before they were handled.
    pub lost: u64,
    /// Entries that hold no event.
    pub nameless: u64,
    /// Times the connection was lost.
    pub lost_connections: u64,
    /// Entries read and not settled.
    pub in_hand: u64,
    /// Of those: ready to be taken.
    pub ready: u64,
    /// Bytes of events in memory.
    pub in_hand_bytes: u64,
}

/// A number that is counted here and for Prometheus.
#[derive(Debug)]
pub(super) struct Counted {
    number: AtomicU64,
    counter: Counter,
}

impl Counted {
    fn new(counter: Counter) -> Self {
        Self { number: AtomicU64::new(0), counter }
    }

    pub(super) fn add(&self, count: usize) {
        self.number.fetch_add(count as u64, Ordering::Relaxed);
        self.counter.increment(count as u64);
    }

    fn get(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

/// The numbers of one stream.
#[derive(Debug)]
pub(super) struct Counters {
    pub delivered: Counted,
    pub acknowledged: Counted,
    pub retried: Counted,
    pub dead_letters: Counted,
    /// Older dead letters that had to go for newer ones.
    pub dropped_dead_letters: Counted,
    pub taken_over: Counted,
    pub lost: Counted,
    pub nameless: Counted,
    /// Events that the condition does not want.
    pub unwanted: Counted,
    pub handler_seconds: Histogram,
}

impl Counters {
    pub(super) fn new(stream: &str, group: &str) -> Self {
        let new = |name: &'static str| {
            Counted::new(counter!(name, "stream" => stream.to_owned(), "group" => group.to_owned()))
        };
        Self {
            delivered: new("synapse_consumer_deliveries_total"),
            acknowledged: new("synapse_consumer_acknowledged_total"),
            retried: new("synapse_consumer_retries_total"),
            dead_letters: new("synapse_consumer_dead_letters_total"),
            dropped_dead_letters: new("synapse_consumer_dead_letters_dropped_total"),
            taken_over: new("synapse_consumer_taken_over_total"),
            lost: new("synapse_consumer_lost_total"),
            nameless: new("synapse_consumer_nameless_total"),
            unwanted: new("synapse_consumer_unwanted_total"),
            handler_seconds: histogram!(
                "synapse_consumer_handler_seconds", "stream" => stream.to_owned(), "group" => group.to_owned()
            ),
        }
    }

    pub(super) fn add_to(&self, stats: &mut ConsumerStats) {
        stats.delivered += self.delivered.get();
        stats.acknowledged += self.acknowledged.get();
        stats.retried += self.retried.get();
        stats.dead_letters += self.dead_letters.get();
        stats.taken_over += self.taken_over.get();
        stats.lost += self.lost.get();
        stats.nameless += self.nameless.get();
    }
}
