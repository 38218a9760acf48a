//! Where samples are kept, and what can be asked about them.

use std::{future::Future, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use crate::sample::{PointTime, Sample};

/// How many rows an answer has at most.
pub const MAX_ROWS: usize = 10_000;

/// A store of samples.
///
/// Times are those of the samples ([`PointTime`]), windows are half open, and no answer has more than [`MAX_ROWS`] rows.
pub trait Store: Send + Sync + 'static {
    /// Stores samples, and says what became of each, in their order. It may be repeated, in any mix, without doubling
    /// anything. With an error nothing may be assumed about any of them.
    fn write(&self, samples: &[Sample]) -> impl Future<Output = Result<Vec<Written>, StoreError>> + Send;

    /// Inferences of each model and version in a window, the most used first, then by name and version.
    fn models(&self, window: Window) -> impl Future<Output = Result<Rows<ModelSummary>, StoreError>> + Send;

    /// Inferences of each version of a model in each `step` of a window, by start and version. Steps begin at multiples of
    /// `step` since 1970, so that the first and the last one may be cut by the window; those without inferences are left
    /// out.
    fn model_series(
        &self,
        name: &str,
        window: Window,
        step: Duration,
    ) -> impl Future<Output = Result<Rows<ModelPoint>, StoreError>> + Send;

    /// The newest `limit` points of an experiment or a model, oldest first.
    fn training(
        &self,
        by: &TrainingKey,
        limit: usize,
    ) -> impl Future<Output = Result<Rows<TrainingPoint>, StoreError>> + Send;

    /// The mean of a user's figures in each `step` of a window, for each set of tags, by tags and time. Steps as in
    /// [`model_series`](Self::model_series).
    fn time_series(
        &self,
        user_id: &str,
        metric: &str,
        window: Window,
        step: Duration,
    ) -> impl Future<Output = Result<Rows<MetricPoint>, StoreError>> + Send;
}

/// What became of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there, now or from before.
    Stored,
    /// It never will be, for this reason: the server's words or our own.
    Refused(String),
    /// Nothing is decided about it, unlike about others of the same batch: to be written again.
    Waiting(StoreError),
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is away, busy or full: ask again.
    #[error("{reason}")]
    Unavailable {
        /// What, where, and what to do.
        reason: String,
        /// When, if it said so.
        retry_after: Option<Duration>,
    },
    /// The answer took too long.
    #[error("no answer within {0:?}; ask for a shorter window")]
    Slow(Duration),
    /// No such question can be answered; what could be asked instead.
    #[error("{0}")]
    Unanswerable(String),
    /// Something is wrong that waiting may not mend.
    #[error("{0}")]
    Failed(String),
}

impl StoreError {
    /// It is not there, for this reason.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after: None }
    }
}

/// A stretch of time: from the first instant up to, and without, the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first instant.
    pub from: PointTime,
    /// The first instant behind it.
    pub to: PointTime,
}

impl Window {
    /// How long it is.
    pub fn length(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.to.ns().saturating_sub(self.from.ns())).unwrap_or(0))
    }
}

/// What of the window lies in the step that begins here.
pub fn part_of_step(start: PointTime, step: Duration, window: Window) -> Window {
    let length = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX);
    let end = PointTime::from_ns(start.ns().saturating_add(length));
    Window { from: start.max(window.from), to: end.min(window.to) }
}

/// The rows of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<T> {
    /// At most [`MAX_ROWS`].
    pub rows: Vec<T>,
    /// Whether there would be more.
    pub truncated: bool,
}

/// Inferences taken together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// How many of them failed.
    pub failures: u64,
    /// The share that failed, 0 to 1.
    pub failure_rate: f64,
    /// How long they took.
    pub latency_ms: Quantiles,
    /// Tokens read and written.
    pub tokens: u64,
    /// The same for each second of the window, or of the step's part of it.
    pub tokens_per_s: f64,
    /// The price, in US dollars.
    pub cost: f64,
}

impl Summary {
    /// Inferences taken together, of a time so long.
    pub fn of(
        count: u64,
        failures: u64,
        latency_ms: Quantiles,
        tokens: u64,
        cost: f64,
        length: Duration,
    ) -> Self {
        let seconds = length.as_secs_f64();
        Self {
            count,
            failures,
            failure_rate: if count == 0 { 0.0 } else { failures as f64 / count as f64 },
            latency_ms,
            tokens,
            tokens_per_s: if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 },
            cost,
        }
    }
}

/// The value below which so many per cent of the values lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Quantiles {
    /// Half of them.
    pub p50: Option<f64>,
    /// 95 %.
    pub p95: Option<f64>,
    /// 99 %.
    pub p99: Option<f64>,
}

/// A version of a model in a window.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ModelSummary {
    /// The model.
    pub model_name: String,
    /// Its version.
    pub version: String,
    /// Its inferences.
    #[serde(flatten)]
    pub summary: Summary,
}

/// A version of a model in a step of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelPoint {
    /// Where the step begins, or the window, if that is later.
    pub start: PointTime,
    /// The version.
    pub version: String,
    /// Its inferences.
    pub summary: Summary,
}

/// Whose training is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainingKey {
    /// Of this experiment.
    Experiment(String),
    /// Of this model, in whatever experiment or none.
    Model(String),
}

/// What was said of a training run at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingPoint {
    /// When.
    pub time: PointTime,
    /// The experiment.
    pub experiment_id: Option<String>,
    /// The model in training.
    pub model_name: String,
    /// The run's state.
    pub status: String,
    /// Share of the run done, 0 to 1.
    pub progress: Option<f64>,
    /// Steps done.
    pub step: Option<u64>,
    /// When it was published, by the publisher's clock.
    pub event_time: Option<PointTime>,
    /// Its figures under their own names, sorted by name.
    pub metrics: Vec<(String, f64)>,
}

/// A user's figures in a step, taken together.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// Where the step ends, or the window, if that is earlier.
    pub time: PointTime,
    /// Their mean.
    pub value: f64,
    /// The tags that all of them have, sorted by name.
    pub tags: Vec<(String, String)>,
}
