//! Inferences taken together.

use synapse_database::{
    Row as _,
    sqlx::{self, any::AnyRow},
};

use super::sketch::{BadSketch, Sketch};
use crate::store::Summary;

/// Inferences taken together; so many of them, so many that failed, and so on.
#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) failures: u64,
    /// Up to what SQLite's integers hold; beyond it, that.
    pub(super) tokens: u64,
    pub(super) cost: f64,
    pub(super) latency: Sketch,
}

impl Tally {
    /// The columns that [`add_row`](Self::add_row) reads.
    pub(super) const OF_ROW: &'static str = "latency_ms, tokens_used, cost, success";
    /// The columns that [`of_rollup`](Self::of_rollup) reads.
    pub(super) const OF_ROLLUP: &'static str = "count, failures, tokens, cost, latency";

    /// Adds an inference.
    pub(super) fn add(&mut self, latency_ms: f64, tokens: Option<u64>, cost: Option<f64>, success: bool) {
        self.count += 1;
        self.failures += u64::from(!success);
        self.add_tokens(tokens.unwrap_or_default());
        self.cost += cost.unwrap_or_default();
        self.latency.add(latency_ms);
    }

    /// Adds an inference from its row.
    pub(super) fn add_row(&mut self, row: &AnyRow) -> Result<(), sqlx::Error> {
        let tokens: Option<i64> = row.try_get("tokens_used")?;
        let success: i64 = row.try_get("success")?;
        let tokens = tokens.map(i64::cast_unsigned);
        self.add(row.try_get("latency_ms")?, tokens, row.try_get("cost")?, success != 0);
        Ok(())
    }

    /// Adds all of another.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.failures += other.failures;
        self.add_tokens(other.tokens);
        self.cost += other.cost;
        self.latency.merge(&other.latency);
    }

    /// Reads a minute's.
    pub(super) fn of_rollup(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let number = |name: &str| row.try_get::<i64, _>(name).map(i64::cast_unsigned);
        let latency: Vec<u8> = row.try_get("latency")?;
        let latency = Sketch::decode(&latency).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let count = number("count")?;
        if latency.count() != count {
            let error = BadSketch::Damaged("it has another number of latencies than its minute");
            return Err(sqlx::Error::Decode(Box::new(error)));
        }
        let (failures, tokens) = (number("failures")?, number("tokens")?);
        Ok(Self { count, failures, tokens, cost: row.try_get("cost")?, latency })
    }

    /// What it says of a time of this length.
    pub(super) fn summary(&self, seconds: f64) -> Summary {
        let share = |part: u64| if self.count == 0 { 0.0 } else { part as f64 / self.count as f64 };
        Summary {
            count: self.count,
            failures: self.failures,
            failure_rate: share(self.failures),
            latency_ms: self.latency.quantiles(),
            tokens: self.tokens,
            tokens_per_s: if seconds > 0.0 { self.tokens as f64 / seconds } else { 0.0 },
            cost: self.cost,
        }
    }

    fn add_tokens(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens).min(i64::MAX.cast_unsigned());
    }
}
