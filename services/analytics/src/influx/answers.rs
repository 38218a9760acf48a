//! The questions that are asked, in InfluxQL.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde_json::Value;

use super::{
    client::Server,
    query::{Series, ask, identifier, measurement, tag_value},
};
use crate::{
    line::{INFERENCE, TRAINING, USER, code::decode, is_own_field, metric_of_field},
    sample::PointTime,
    store::{
        MAX_ROWS, MetricPoint, ModelPoint, ModelSummary, Quantiles, Rows, StoreError, Summary, TrainingKey,
        TrainingPoint, Window, part_of_step,
    },
};

/// What is asked about inferences, in the order in which [`summary`] reads it.
const FIGURES: &str = "COUNT(latency_ms), PERCENTILE(latency_ms, 50), PERCENTILE(latency_ms, 95), \
                       PERCENTILE(latency_ms, 99), SUM(tokens_used), SUM(cost)";
/// Figures of training that one answer may have: more than one run has.
const MAX_FIELDS: usize = 2_000;
/// How many would fail the same question.
const FAILURES: &str = "COUNT(latency_ms)";

pub(super) async fn models(server: &Server, window: Window) -> Result<Rows<ModelSummary>, StoreError> {
    let group = format!("GROUP BY model_name, version SLIMIT {}", MAX_ROWS + 1);
    let about = |figures: &str, condition: &str| {
        format!("SELECT {figures} FROM {INFERENCE} WHERE {condition}{} {group}", within(window))
    };
    let [all, failed] =
        ask(server, INFERENCE, [about(FIGURES, ""), about(FAILURES, "success = false AND ")]).await?;
    let key = |series: &Series| (series.tag("model_name").into_owned(), series.tag("version").into_owned());
    let failures: HashMap<_, _> = failed
        .series
        .iter()
        .map(|series| (key(series), series.values.first().map_or(0, |row| integer(&row[1]))))
        .collect();
    let mut rows: Vec<_> = all
        .series
        .iter()
        .filter_map(|series| {
            let row = series.values.first()?;
            let (model_name, version) = key(series);
            let failures = failures.get(&(model_name.clone(), version.clone())).copied().unwrap_or(0);
            Some(ModelSummary { model_name, version, summary: summary(row, failures, window.length()) })
        })
        .collect();
    rows.sort_by(|a, b| {
        let by_use = b.summary.count.cmp(&a.summary.count);
        by_use.then_with(|| (&a.model_name, &a.version).cmp(&(&b.model_name, &b.version)))
    });
    Ok(cut(rows, all.partial))
}

pub(super) async fn model_series(
    server: &Server,
    name: &str,
    window: Window,
    step: Duration,
) -> Result<Rows<ModelPoint>, StoreError> {
    let about = |figures: &str, condition: &str| {
        format!(
            "SELECT {figures} FROM {INFERENCE} WHERE {condition}model_name = {} AND {} \
             GROUP BY time({}ns), version FILL(none) LIMIT {}",
            tag_value(name),
            within(window),
            step.as_nanos(),
            MAX_ROWS + 1,
        )
    };
    let [all, failed] =
        ask(server, INFERENCE, [about(FIGURES, ""), about(FAILURES, "success = false AND ")]).await?;
    let mut failures = HashMap::new();
    for series in &failed.series {
        for row in &series.values {
            failures.insert((signed(&row[0]), series.tag("version").into_owned()), integer(&row[1]));
        }
    }
    // By start and version.
    let mut points = BTreeMap::new();
    for series in &all.series {
        let version = series.tag("version").into_owned();
        for row in &series.values {
            let start = signed(&row[0]);
            let failures = failures.get(&(start, version.clone())).copied().unwrap_or(0);
            let part = part_of_step(PointTime::from_ns(start), step, window);
            let point = ModelPoint {
                start: part.from,
                version: version.clone(),
                summary: summary(row, failures, part.length()),
            };
            points.insert((start, version.clone()), point);
        }
    }
    let partial = all.partial || all.series.iter().any(|series| series.partial);
    Ok(cut(points.into_values().collect(), partial))
}

pub(super) async fn training(
    server: &Server,
    by: &TrainingKey,
    limit: usize,
) -> Result<Rows<TrainingPoint>, StoreError> {
    let limit = limit.min(MAX_ROWS);
    let (tag, value) = match by {
        TrainingKey::Experiment(id) => ("experiment_id", id),
        TrainingKey::Model(name) => ("model_name", name),
    };
    // A field of any run is a column of all: those that these points have are asked for first, and then no others.
    let of_run = format!("FROM {TRAINING} WHERE {tag} = {}", tag_value(value));
    let [counts] = ask(server, TRAINING, [format!("SELECT COUNT(*) {of_run}")]).await?;
    let fields = counts.series.first().map(own_fields).unwrap_or_default();
    if fields.is_empty() {
        return Ok(Rows { rows: Vec::new(), truncated: false });
    }
    if fields.len() > MAX_FIELDS {
        return Err(StoreError::Unanswerable(format!(
            "the points that are asked for have {} figures, expected {MAX_FIELDS} at most; ask for one experiment",
            fields.len()
        )));
    }
    let question = format!(
        "SELECT experiment_id, model_name, status, {} {of_run} ORDER BY time DESC LIMIT {}",
        fields.join(", "),
        limit + 1
    );
    let [newest] = ask(server, TRAINING, [question]).await?;
    let rows = newest
        .series
        .iter()
        .flat_map(|series| series.values.iter().map(|row| training_point(&series.columns, row)));
    let mut rows: Vec<_> = rows.collect();
    let truncated = rows.len() > limit;
    rows.truncate(limit);
    rows.reverse();
    Ok(Rows { rows, truncated })
}

pub(super) async fn time_series(
    server: &Server,
    user_id: &str,
    metric: &str,
    window: Window,
    step: Duration,
) -> Result<Rows<MetricPoint>, StoreError> {
    let question = format!(
        "SELECT MEAN(value) FROM {} WHERE \"{USER}\" = {} AND {} GROUP BY time({}ns), * FILL(none) LIMIT {}",
        measurement(metric),
        tag_value(user_id),
        within(window),
        step.as_nanos(),
        MAX_ROWS + 1,
    );
    let [means] = ask(server, metric, [question]).await?;
    let mut rows = Vec::new();
    let mut partial = means.partial;
    for series in &means.series {
        let mut tags = series.tags();
        tags.retain(|(name, _)| name != USER);
        partial |= series.partial;
        rows.extend(series.values.iter().map(|row| MetricPoint {
            time: part_of_step(PointTime::from_ns(signed(&row[0])), step, window).to,
            value: row[1].as_f64().unwrap_or(f64::NAN),
            tags: tags.clone(),
        }));
    }
    rows.sort_by(|a, b| (&a.tags, a.time).cmp(&(&b.tags, b.time)));
    Ok(cut(rows, partial))
}

fn within(window: Window) -> String {
    format!("time >= {} AND time < {}", window.from.ns(), window.to.ns())
}

fn summary(row: &[Value], failures: u64, length: Duration) -> Summary {
    let number = |column: usize| row.get(column).and_then(Value::as_f64);
    let quantiles = Quantiles { p50: number(2), p95: number(3), p99: number(4) };
    let tokens = row.get(5).map_or(0, integer);
    Summary::of(row.get(1).map_or(0, integer), failures, quantiles, tokens, number(6).unwrap_or(0.0), length)
}

/// The fields that are counted at least once, as they are asked for.
fn own_fields(counts: &Series) -> Vec<String> {
    let Some(row) = counts.values.first() else { return Vec::new() };
    let counted = counts.columns.iter().zip(row).filter(|(_, count)| integer(count) > 0);
    counted.filter_map(|(column, _)| column.strip_prefix("count_")).map(identifier).collect()
}

fn training_point(columns: &[String], row: &[Value]) -> TrainingPoint {
    let mut point = TrainingPoint {
        time: PointTime::default(),
        experiment_id: None,
        model_name: String::new(),
        status: String::new(),
        progress: None,
        step: None,
        event_time: None,
        metrics: Vec::new(),
    };
    let text = |value: &Value| value.as_str().map(|text| decode(text).into_owned());
    for (column, value) in columns.iter().zip(row) {
        match column.as_str() {
            "time" => point.time = PointTime::from_ns(signed(value)),
            "experiment_id" => point.experiment_id = text(value),
            "model_name" => point.model_name = text(value).unwrap_or_default(),
            "status" => point.status = text(value).unwrap_or_default(),
            "progress" => point.progress = value.as_f64(),
            "step" => point.step = value.as_u64(),
            "event_time" => point.event_time = value.as_i64().map(PointTime::from_ns),
            field if !is_own_field(field) => {
                if let Some(number) = value.as_f64() {
                    point.metrics.push((metric_of_field(&decode(field)).to_owned(), number));
                }
            }
            _ => {}
        }
    }
    point.metrics.sort_by(|a, b| a.0.cmp(&b.0));
    point
}

/// No more rows than an answer may have.
fn cut<T>(mut rows: Vec<T>, partial: bool) -> Rows<T> {
    let truncated = partial || rows.len() > MAX_ROWS;
    rows.truncate(MAX_ROWS);
    Rows { rows, truncated }
}

fn signed(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// A count, or a sum of counts; servers may write either with a point.
fn integer(value: &Value) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count; it saturates")]
    value.as_u64().unwrap_or_else(|| value.as_f64().unwrap_or_default() as u64)
}
