//! What one event says, or one record of `/time-series`, before it has any store's form.

mod read;

use std::sync::Arc;

use synapse_rs::EntryId;

pub use read::{MAX_METRICS, Unfit};

/// The largest cost that is taken for one, in US dollars; sums of such stay finite.
pub const MAX_COST: f64 = 1e12;

/// How many nanoseconds an entry id's millisecond has, and so how many entries of it can be told apart.
const NS_PER_MS: u64 = 1_000_000;

/// Where an event was; the same for all repetitions of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The stream.
    pub stream: Arc<str>,
    /// Its entry; of an event that was replayed the first one.
    pub id: EntryId,
}

/// Nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointTime(i64);

/// An entry id that is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTime {
    /// The times of its entries would run into those of the next millisecond.
    #[error(
        "entry {0} is the millionth of its millisecond or a later one, and a point's time tells no more apart"
    )]
    Sequence(EntryId),
    /// Set by hand, probably.
    #[error("entry {0} lies beyond the year 2262, where times in nanoseconds end")]
    Beyond(EntryId),
}

impl PointTime {
    /// These nanoseconds since 1970.
    pub const fn from_ns(ns: i64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since 1970.
    pub const fn ns(self) -> i64 {
        self.0
    }

    /// The entry id's milliseconds·10⁶ + sequence: unique within a stream, and the same whenever the entry is read.
    pub fn of(id: EntryId) -> Result<Self, InvalidTime> {
        if id.seq >= NS_PER_MS {
            return Err(InvalidTime::Sequence(id));
        }
        let ns = id.ms.checked_mul(NS_PER_MS).and_then(|ns| ns.checked_add(id.seq));
        ns.and_then(|ns| i64::try_from(ns).ok()).map(Self).ok_or(InvalidTime::Beyond(id))
    }
}

/// One thing to be stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// A model answered a request, or did not.
    Inference(Inference),
    /// A training run went on.
    Training(Training),
    /// A figure of a user.
    Metric(Metric),
}

/// A model answered a request, or did not.
#[derive(Clone, Debug, PartialEq)]
pub struct Inference {
    /// When, and which: no two of them have the same.
    pub time: PointTime,
    /// The model; may be empty.
    pub model_name: String,
    /// Its version; may be empty.
    pub version: String,
    /// Who asked; never empty.
    pub user_id: Option<String>,
    /// How long it took.
    pub latency_ms: f64,
    /// Tokens read and written.
    pub tokens_used: Option<u64>,
    /// How sure the model is, 0 to 1.
    pub confidence: Option<f64>,
    /// The price, in US dollars.
    pub cost: Option<f64>,
    /// Whether there was an answer.
    pub success: bool,
    /// When it was published, by the publisher's clock.
    pub event_time: Option<PointTime>,
}

/// A training run went on.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// When, and which: no two of them have the same.
    pub time: PointTime,
    /// The experiment; never empty.
    pub experiment_id: Option<String>,
    /// The model in training; may be empty.
    pub model_name: String,
    /// The run's state; never empty.
    pub status: String,
    /// Share of the run done, 0 to 1.
    pub progress: Option<f64>,
    /// Steps done.
    pub step: Option<u64>,
    /// When it was published, by the publisher's clock.
    pub event_time: Option<PointTime>,
    /// Its figures under their own names, each once.
    pub metrics: Vec<(String, f64)>,
}

/// A figure of a user, as `POST /time-series/record` takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// When it was recorded; no two of this process have the same.
    pub time: PointTime,
    /// Whose it is; never empty.
    pub user_id: String,
    /// What it is of; never empty.
    pub metric: String,
    /// The figure; finite.
    pub value: f64,
    /// What tells series apart beside the user: names and values, sorted by name, none of them empty.
    pub tags: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entrys_time_is_unique_within_its_stream() {
        let time = |ms, seq| PointTime::of(EntryId::new(ms, seq)).map(PointTime::ns);
        assert_eq!(time(1_795_424_694_440, 7), Ok(1_795_424_694_440_000_007));
        assert_eq!(time(1, 999_999), Ok(1_999_999));
        assert_eq!(time(1, 1_000_000), Err(InvalidTime::Sequence(EntryId::new(1, 1_000_000))));
        assert_eq!(time(u64::MAX, 0), Err(InvalidTime::Beyond(EntryId::new(u64::MAX, 0))));
        assert!(time(9_223_372_036_855, 0).is_err());
    }
}
