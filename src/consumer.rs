//! Consuming: entries are read as a member of a consumer group, decoded and handed over, at least once.
//!
//! A [`Subscription`] hands out batches of [`Delivery`] and takes back what became of each. A
//! [`ConsumerRuntime`] drives a [`Handler`] with one. In both, an entry is acknowledged after it was
//! handled, never before; what can't be decoded goes to the dead letters with the reason, and the
//! reader goes on.
//!
//! * `runtime`: the handler's side. `subscription`: opens, hands out, takes back, closes.
//! * `dispatch`: what is in hand, who gets it next, and what Redis is to be told; a state machine without Redis.
//! * `shared`: what the tasks share, and how they wake one another.
//! * The tasks, each of which can wait for Redis without holding up the others: `poll` reads (`join` makes sure of the
//!   group), `settle` acknowledges and gives back, `reclaim` renews and takes over, `retry` reads again what is
//!   delivered again, `dead_letter` moves what can't be handled.
//! * `position`: where a consumer without a group has got to. `stats`: what it has done.

mod dead_letter;
mod dispatch;
mod join;
mod poll;
mod position;
mod reclaim;
mod retry;
mod runtime;
mod settle;
mod shared;
mod stats;
mod subscription;

use std::{sync::Arc, time::Duration};

use crate::{
    backoff::Backoff,
    event::Event,
    filter::Filter,
    stream::{EntryId, StreamError},
};

#[cfg(feature = "python")]
pub(crate) use dispatch::Verdict;
pub use runtime::{Answer, ConsumerRuntime, Handler};
pub use stats::ConsumerStats;
pub use subscription::{Settler, Subscription};

/// How a consumer reads and what it does about failures.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// The consumer group; created with its stream where it is missing. Of a [`Kind::Broadcast`] consumer the name
    /// under which its position is kept, or nothing.
    pub group: String,
    /// The streams to read.
    pub streams: Vec<String>,
    /// Whether it shares the events with the others of its group. Default [`Kind::Group`].
    pub kind: Kind,
    /// Where a group that is created begins: an entry id, `0` for the stream's beginning, `$` for its end. Default `0`.
    pub start: String,
    /// Only events that fulfil this are handed out; the others are acknowledged. Default: all.
    pub condition: Option<Filter>,
    /// Events of a stream with the same value here (a field, or a dotted path into objects) are handled one after the
    /// other, in order, within this process: one that fails holds up those behind it. Default: no such order.
    pub ordered_by: Option<String>,
    /// At most this many entries are read at once. Default 500.
    pub batch: usize,
    /// So many bytes of events may be in memory before reading waits. Default 64 MiB.
    pub max_in_hand_bytes: usize,
    /// An entry that nobody has touched for so long is taken over from its consumer. Default 30 s.
    pub min_idle: Duration,
    /// After this many failed deliveries an entry goes to the dead letters. Default 5.
    pub max_deliveries: u32,
    /// The first and the longest delay before a failed entry is delivered again. Default 100 ms and 30 s.
    pub backoff: (Duration, Duration),
    /// How many events a [`ConsumerRuntime`] handles at once. Default 1.
    pub concurrency: usize,
    /// A handler that takes longer has failed. Default: no limit.
    pub handler_timeout: Option<Duration>,
}

/// Whether a consumer shares its streams' events with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Each event goes to one member of the group.
    #[default]
    Group,
    /// Every such consumer gets every event; nothing is pending anywhere. Its position is kept under the name in
    /// `group`, so that a next process of that name goes on there; without a name it begins at `start`.
    Broadcast,
}

impl ConsumerConfig {
    /// A member of `group` on `streams`, with the defaults.
    pub fn new(group: impl Into<String>, streams: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            group: group.into(),
            streams: streams.into_iter().map(Into::into).collect(),
            kind: Kind::Group,
            start: "0".to_owned(),
            condition: None,
            ordered_by: None,
            batch: 500,
            max_in_hand_bytes: 64 << 20,
            min_idle: Duration::from_secs(30),
            max_deliveries: 5,
            backoff: (Duration::from_millis(100), Duration::from_secs(30)),
            concurrency: 1,
            handler_timeout: None,
        }
    }

    /// Whether it can work.
    pub fn check(&self) -> Result<(), ConsumeError> {
        let invalid =
            |setting, reason: &str| Err(ConsumeError::InvalidSetting { setting, reason: reason.to_owned() });
        if self.group.is_empty() && self.kind == Kind::Group {
            return invalid("group", "the consumer group needs a name");
        }
        if self.streams.is_empty() || self.streams.iter().any(String::is_empty) {
            return invalid("streams", "name at least one stream, for example model-events");
        }
        let mut names: Vec<_> = self.streams.iter().collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return invalid("streams", "a stream is named twice");
        }
        if !matches!(self.start.as_str(), "0" | "$") && self.start.parse::<EntryId>().is_err() {
            return invalid("start", "expected 0 (from the beginning), $ (from now on) or an entry id");
        }
        if !(1..=100_000).contains(&self.batch) {
            return invalid("batch", "expected 1 to 100000 entries");
        }
        if self.max_in_hand_bytes < 1024 {
            return invalid("max_in_hand_bytes", "expected at least 1024 bytes");
        }
        if !(Duration::from_millis(10)..=Duration::from_hours(24)).contains(&self.min_idle) {
            return invalid("min_idle", "expected 10 ms to 24 h");
        }
        if self.max_deliveries == 0 {
            return invalid("max_deliveries", "expected at least 1");
        }
        if self.backoff.0 > self.backoff.1 {
            return invalid("backoff", "expected a first delay that is no longer than the longest");
        }
        if !(1..=10_000).contains(&self.concurrency) {
            return invalid("concurrency", "expected 1 to 10000 events at once");
        }
        if self.handler_timeout.is_some_and(|limit| limit.is_zero()) {
            return invalid("handler_timeout", "expected more than 0, or none");
        }
        if self.ordered_by.as_ref().is_some_and(|path| path.split('.').any(str::is_empty)) {
            return invalid("ordered_by", "expected a field, or a dotted path such as data.task_id");
        }
        Ok(())
    }
}

/// Why a consumer could not begin.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsumeError {
    /// A setting can't work.
    #[error("{setting}: {reason}")]
    InvalidSetting {
        /// Which one.
        setting: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// Redis could not be reached, or refused to create the group.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// One event of an entry that is ours to handle.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The stream it is on.
    pub stream: Arc<str>,
    /// Its entry.
    pub id: EntryId,
    /// How often it was delivered, this time included, by whatever consumer of the group.
    pub deliveries: u32,
    /// What it says.
    pub event: Event,
}

/// A delay for the attempt after this many deliveries, drawn from a range that doubles with each.
pub(crate) fn retry_delay((first, limit): (Duration, Duration), deliveries: u32) -> Duration {
    Backoff::new(first, limit).ceiling(deliveries.saturating_sub(1)).mul_f64(0.5 + fastrand::f64() / 2.0)
}
