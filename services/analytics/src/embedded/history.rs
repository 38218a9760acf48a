//! What is asked about training, and about figures of users.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use serde::de::DeserializeOwned;
use synapse_database::{
    AnyConnection, Row as _,
    sqlx::{self, any::AnyRow},
};

use super::models::{Capped, Steps};
use crate::{
    sample::PointTime,
    store::{MAX_ROWS, MetricPoint, Rows, TrainingKey, TrainingPoint, Window},
};

/// The newest, of an experiment or a model.
const OF_EXPERIMENT: &str = "SELECT * FROM training WHERE experiment_id = $1 ORDER BY time DESC LIMIT $2";
const OF_MODEL: &str = "SELECT * FROM training WHERE model_name = $1 ORDER BY time DESC LIMIT $2";
const OF_USER: &str =
    "SELECT time, tags, value FROM metric WHERE user_id = $1 AND metric = $2 AND time >= $3 AND time < $4";

/// See [`Store::training`](crate::store::Store::training).
pub(super) async fn training(
    connection: &mut AnyConnection,
    by: &TrainingKey,
    limit: usize,
) -> Result<Rows<TrainingPoint>, sqlx::Error> {
    let (text, name) = match by {
        TrainingKey::Experiment(name) => (OF_EXPERIMENT, name),
        TrainingKey::Model(name) => (OF_MODEL, name),
    };
    let limit = limit.min(MAX_ROWS);
    let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let found = sqlx::query(text).bind(name.as_str()).bind(one_more).fetch_all(connection).await?;
    let rows = found.iter().take(limit).rev().map(training_point).collect::<Result<_, _>>()?;
    Ok(Rows { rows, truncated: found.len() > limit })
}

fn training_point(row: &AnyRow) -> Result<TrainingPoint, sqlx::Error> {
    let mut metrics: Vec<(String, f64)> = from_json(row, "metrics")?;
    metrics.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(TrainingPoint {
        time: PointTime::from_ns(row.try_get("time")?),
        experiment_id: row.try_get("experiment_id")?,
        model_name: row.try_get("model_name")?,
        status: row.try_get("status")?,
        progress: row.try_get("progress")?,
        step: row.try_get::<Option<i64>, _>("step")?.map(i64::cast_unsigned),
        event_time: row.try_get::<Option<i64>, _>("event_time")?.map(PointTime::from_ns),
        metrics,
    })
}

/// Roughly what a row of an answer takes in memory without its tags.
const ROW_BYTES: usize = 100;

/// Figures that a mean is made of.
#[derive(Default)]
struct Figures {
    count: u64,
    sum: f64,
}

/// See [`Store::time_series`](crate::store::Store::time_series).
pub(super) async fn time_series(
    connection: &mut AnyConnection,
    user_id: &str,
    metric: &str,
    window: Window,
    step: Duration,
) -> Result<Rows<MetricPoint>, sqlx::Error> {
    let steps = Steps::new(window, step);
    let query = sqlx::query(OF_USER).bind(user_id).bind(metric);
    let mut rows = query.bind(window.from.ns()).bind(window.to.ns()).fetch(connection);
    let mut points = Capped::new(|(tags, _): &(Vec<(String, String)>, i64)| {
        ROW_BYTES + tags.iter().map(|(name, value)| name.len() + value.len() + 48).sum::<usize>()
    });
    while let Some(row) = rows.try_next().await? {
        let tags: Vec<(String, String)> = from_json(&row, "tags")?;
        let value: f64 = row.try_get("value")?;
        let key = (tags, steps.start(row.try_get("time")?));
        points.change(key, |figures: &mut Figures| {
            figures.count += 1;
            figures.sum += value;
            Ok::<_, sqlx::Error>(())
        })?;
    }
    let (points, truncated) = points.finish();
    let point = |((tags, start), figures): ((_, i64), Figures)| MetricPoint {
        time: PointTime::from_ns(steps.end(start)),
        value: figures.sum / figures.count as f64,
        tags,
    };
    Ok(Rows { rows: points.into_iter().map(point).collect(), truncated })
}

fn from_json<T: DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
