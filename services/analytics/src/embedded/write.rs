//! Samples in one transaction.

use std::{convert::Infallible, fmt};

use synapse_database::{AnyConnection, Change, Refusable, Row as _, sqlx};

use super::{
    inference,
    statement::{Bound, OverRows},
};
use crate::sample::{Inference, MAX_COST, Metric, PointTime, Sample, Training};

/// The longest name of a model, version, user, experiment, status or metric.
pub const MAX_NAME_BYTES: usize = 1024;

const INSERT_TRAINING: OverRows = OverRows {
    head: "INSERT INTO training (time, experiment_id, model_name, status, progress, step, event_time, metrics)",
    columns: 8,
    tail: " ON CONFLICT DO NOTHING",
};
const INSERT_METRIC: OverRows = OverRows {
    head: "INSERT INTO metric (user_id, metric, time, tags, value)",
    columns: 5,
    tail: " ON CONFLICT DO NOTHING",
};

/// What is kept from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Inference,
    Training,
    Metric,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Inference, Self::Training, Self::Metric];

    /// Its table, and its name in `kept`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Training => "training",
            Self::Metric => "metric",
        }
    }

    /// The variable that says for how long.
    fn variable(self) -> &'static str {
        match self {
            Self::Inference => "ANALYTICS_RAW_RETENTION",
            Self::Training | Self::Metric => "ANALYTICS_ROLLUP_RETENTION",
        }
    }
}

/// Samples to be written together, with their places among those that were handed in.
#[derive(Default)]
pub(super) struct Batch {
    inference: Vec<(usize, Inference)>,
    training: Vec<(usize, Training)>,
    metric: Vec<(usize, Metric)>,
}

/// A sample from before the rows that are kept.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) place: usize,
    pub(super) kind: Kind,
    since_ns: i64,
}

impl fmt::Display for Late {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, variable) = (self.kind.name(), self.kind.variable());
        let since = jiff::Timestamp::from_nanosecond(self.since_ns.into()).unwrap_or(jiff::Timestamp::MIN);
        write!(
            formatter,
            "it is older than the {kind} samples that are kept, since {since} ({variable}), and can't be told from a repeat"
        )
    }
}

impl Batch {
    /// Adds a sample, or says why it can't be kept.
    pub(super) fn push(&mut self, place: usize, sample: &Sample) -> Result<(), String> {
        match sample {
            Sample::Inference(sample) => {
                check_inference(sample)?;
                self.inference.push((place, sample.clone()));
            }
            Sample::Training(sample) => {
                check_training(sample)?;
                self.training.push((place, sample.clone()));
            }
            Sample::Metric(sample) => {
                check_metric(sample)?;
                self.metric.push((place, sample.clone()));
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inference.is_empty() && self.training.is_empty() && self.metric.is_empty()
    }
}

impl Change for Batch {
    type Output = Vec<Late>;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<Vec<Late>, Refusable<Infallible>> {
        let mut late = Vec::new();
        if !self.inference.is_empty() {
            let since = since(connection, Kind::Inference).await?;
            let rows = in_time(&self.inference, |row| row.time, Kind::Inference, since, &mut late);
            inference::insert(connection, &rows).await?;
        }
        if !self.training.is_empty() {
            let since = since(connection, Kind::Training).await?;
            let rows = in_time(&self.training, |row| row.time, Kind::Training, since, &mut late);
            INSERT_TRAINING.execute(connection, &rows, |query, row| bind_training(query, row)).await?;
        }
        if !self.metric.is_empty() {
            let since = since(connection, Kind::Metric).await?;
            let rows = in_time(&self.metric, |row| row.time, Kind::Metric, since, &mut late);
            INSERT_METRIC.execute(connection, &rows, |query, row| bind_metric(query, row)).await?;
        }
        Ok(late)
    }
}

/// From when on all rows of a kind are there.
pub(super) async fn since(connection: &mut AnyConnection, kind: Kind) -> Result<i64, sqlx::Error> {
    let found = sqlx::query("SELECT since FROM kept WHERE kind = $1").bind(kind.name());
    found.fetch_one(connection).await?.try_get("since")
}

/// Those that are not too old; the others are added to `late`.
fn in_time<'a, T>(
    rows: &'a [(usize, T)],
    time: impl Fn(&T) -> PointTime,
    kind: Kind,
    since_ns: i64,
    late: &mut Vec<Late>,
) -> Vec<&'a T> {
    let is_late = |row: &T| time(row).ns() < since_ns;
    late.extend(rows.iter().filter(|(_, row)| is_late(row)).map(|(place, _)| Late {
        place: *place,
        kind,
        since_ns,
    }));
    rows.iter().map(|(_, row)| row).filter(|row| !is_late(row)).collect()
}

fn check_inference(sample: &Inference) -> Result<(), String> {
    let user = sample.user_id.as_deref().unwrap_or_default();
    check_names([("model_name", &sample.model_name), ("version", &sample.version), ("user_id", user)])?;
    if !sample.latency_ms.is_finite() {
        return Err(format!("latency_ms is {}, which is no length of time", sample.latency_ms));
    }
    if let Some(cost) = sample.cost.filter(|cost| cost.is_nan() || cost.abs() > MAX_COST) {
        return Err(format!("cost is {cost:e}; it may be up to {MAX_COST:e}"));
    }
    check_integer("tokens_used", sample.tokens_used)
}

fn check_training(sample: &Training) -> Result<(), String> {
    let experiment = sample.experiment_id.as_deref().unwrap_or_default();
    let names =
        [("experiment_id", experiment), ("model_name", &sample.model_name), ("status", &sample.status)];
    check_names(names)?;
    check_integer("step", sample.step)
}

fn check_metric(sample: &Metric) -> Result<(), String> {
    check_names([("user_id", &sample.user_id), ("metric", &sample.metric)])?;
    if sample.value.is_finite() {
        Ok(())
    } else {
        Err(format!("value is {}, which is no number", sample.value))
    }
}

fn check_names<const N: usize>(names: [(&str, &str); N]) -> Result<(), String> {
    match names.iter().find(|(_, name)| name.len() > MAX_NAME_BYTES) {
        None => Ok(()),
        Some((field, name)) => {
            Err(format!("{field} has {} bytes; it may have up to {MAX_NAME_BYTES}", name.len()))
        }
    }
}

fn check_integer(field: &str, value: Option<u64>) -> Result<(), String> {
    match value {
        Some(value) if i64::try_from(value).is_err() => {
            Err(format!("{field} is {value}; it may be up to {}", i64::MAX))
        }
        _ => Ok(()),
    }
}

fn bind_training(query: Bound, row: &Training) -> Bound {
    let metrics: Vec<_> = row.metrics.iter().filter(|(_, value)| value.is_finite()).collect();
    query
        .bind(row.time.ns())
        .bind(row.experiment_id.as_deref())
        .bind(row.model_name.as_str())
        .bind(row.status.as_str())
        .bind(row.progress.filter(|progress| progress.is_finite()))
        .bind(row.step.map(u64::cast_signed))
        .bind(row.event_time.map(PointTime::ns))
        .bind(serde_json::json!(metrics).to_string())
}

fn bind_metric(query: Bound, row: &Metric) -> Bound {
    query
        .bind(row.user_id.as_str())
        .bind(row.metric.as_str())
        .bind(row.time.ns())
        .bind(serde_json::json!(row.tags).to_string())
        .bind(row.value)
}
