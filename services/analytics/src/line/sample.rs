//! Samples as points: their measurements, tags and fields.

use super::{
    Line,
    Value::{Boolean, Float, Integer},
};
use crate::sample::{Inference, MAX_COST, Metric, PointTime, Sample, Training};

/// The measurement of inferences.
pub const INFERENCE: &str = "inference_metrics";
/// The measurement of training.
pub const TRAINING: &str = "training_metrics";
/// The user of an inference that has none.
const ANONYMOUS: &str = "anonymous";
/// The tag that says whose a metric is.
pub const USER: &str = "userId";
/// What the name of a field begins with if its own would be taken for something else.
const PREFIX: &str = "metric_";

/// A number that is too large to be stored.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum TooLarge {
    /// InfluxDB's integers can't hold it.
    #[error("{field} is {value}; the largest integer of InfluxDB is {}", i64::MAX)]
    Integer {
        /// Of which field.
        field: &'static str,
        /// The number.
        value: u64,
    },
    /// A sum of such costs is none any more.
    #[error("cost is {0:e}; it may be up to {MAX_COST:e}")]
    Cost(f64),
}

/// Writes a sample behind what is in the buffer; after an error nothing of it is there.
pub fn encode(sample: &Sample, has_user_tag: bool, buffer: &mut Vec<u8>) -> Result<(), TooLarge> {
    match sample {
        Sample::Inference(inference) => encode_inference(inference, has_user_tag, buffer),
        Sample::Training(training) => encode_training(training, buffer),
        Sample::Metric(metric) => {
            encode_metric(metric, buffer);
            Ok(())
        }
    }
}

fn encode_inference(inference: &Inference, has_user_tag: bool, buffer: &mut Vec<u8>) -> Result<(), TooLarge> {
    let tokens = inference.tokens_used.map(|tokens| integer("tokens_used", tokens)).transpose()?;
    if let Some(cost) = inference.cost.filter(|cost| cost.abs() > MAX_COST) {
        return Err(TooLarge::Cost(cost));
    }
    let mut line = Line::begin(buffer, INFERENCE);
    line.tag("model_name", &inference.model_name);
    if has_user_tag {
        line.tag("user_id", inference.user_id.as_deref().unwrap_or(ANONYMOUS));
    }
    line.tag("version", &inference.version);
    line.field("latency_ms", Float(inference.latency_ms));
    for (name, value) in [("confidence", inference.confidence), ("cost", inference.cost)] {
        if let Some(value) = value {
            line.field(name, Float(value));
        }
    }
    if let Some(tokens) = tokens {
        line.field("tokens_used", Integer(tokens));
    }
    line.field("success", Boolean(inference.success));
    if let Some(time) = inference.event_time {
        line.field("event_time", Integer(time.ns()));
    }
    line.end(inference.time.ns());
    Ok(())
}

fn encode_training(training: &Training, buffer: &mut Vec<u8>) -> Result<(), TooLarge> {
    let step = training.step.map(|step| integer("step", step)).transpose()?;
    let mut line = Line::begin(buffer, TRAINING);
    line.tag("experiment_id", training.experiment_id.as_deref().unwrap_or_default());
    line.tag("model_name", &training.model_name);
    line.tag("status", &training.status);
    if let Some(progress) = training.progress {
        line.field("progress", Float(progress));
    }
    if let Some(step) = step {
        line.field("step", Integer(step));
    }
    for (name, value) in &training.metrics {
        if needs_prefix(name) {
            line.field(&[PREFIX, name].concat(), Float(*value));
        } else {
            line.field(name, Float(*value));
        }
    }
    // A point is nothing without a field.
    let event_time = training.event_time.or((!line.has_field()).then_some(training.time));
    if let Some(time) = event_time {
        line.field("event_time", Integer(PointTime::ns(time)));
    }
    line.end(training.time.ns());
    Ok(())
}

/// As the service before this one wrote them: a measurement for each metric.
fn encode_metric(metric: &Metric, buffer: &mut Vec<u8>) {
    let mut line = Line::begin(buffer, &metric.metric);
    let behind = metric.tags.partition_point(|(name, _)| name.as_str() < USER);
    let (before, after) = metric.tags.split_at(behind);
    for (name, value) in before {
        line.tag(name, value);
    }
    line.tag(USER, &metric.user_id);
    for (name, value) in after {
        line.tag(name, value);
    }
    line.field("value", Float(metric.value));
    line.end(metric.time.ns());
}

/// The name of the field for a figure of training.
pub fn encode_metric_name(name: &str) -> String {
    if needs_prefix(name) { [PREFIX, name].concat() } else { name.to_owned() }
}

/// The name of the figure of training that stands in this field; the other way round.
pub fn metric_of_field(field: &str) -> &str {
    field.strip_prefix(PREFIX).unwrap_or(field)
}

/// Whether a column of training's measurement is one of its own, and no figure.
pub fn is_own_field(name: &str) -> bool {
    const OWN: [&str; 7] =
        ["progress", "step", "event_time", "time", "experiment_id", "model_name", "status"];
    OWN.contains(&name)
}

/// Whether it would be one of ours, InfluxDB's own, none, or one that has been given the prefix.
fn needs_prefix(name: &str) -> bool {
    name.is_empty() || name.starts_with('_') || name.starts_with(PREFIX) || is_own_field(name)
}

fn integer(field: &'static str, value: u64) -> Result<i64, TooLarge> {
    i64::try_from(value).map_err(|_| TooLarge::Integer { field, value })
}
