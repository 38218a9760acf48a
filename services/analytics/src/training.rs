//! Training runs: how far they are, and their figures.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use http::{HeaderMap, Uri};
use serde::Serialize;
use synapse_chassis::{error::ApiError, request::Query};
use utoipa::ToSchema;

use crate::{
    Analytics, READ,
    request::{check_name, shown},
    store::{Rows, Store as _, TrainingKey, TrainingPoint},
};

/// How many points there are if nothing is said, and at most.
const LIMITS: (usize, usize) = (1_000, 10_000);

/// What is known of a training run.
#[derive(Debug, Serialize, ToSchema)]
pub struct Training {
    /// What it was found by: `experiment_id` or `model_name`; `null` if nothing was found.
    pub found_by: Option<&'static str>,
    /// Where it is now.
    pub latest: Option<TrainingStep>,
    /// The newest points, oldest first.
    pub points: Vec<TrainingStep>,
    /// Whether there are older ones.
    pub truncated: bool,
}

/// What was said of a training run at one time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TrainingStep {
    /// When its event was added to the stream, RFC 3339.
    pub time: String,
    /// When it was published, by the publisher's clock.
    pub event_time: Option<String>,
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
    /// Its figures: loss, accuracy and the like.
    pub metrics: BTreeMap<String, f64>,
}

impl From<TrainingPoint> for TrainingStep {
    fn from(point: TrainingPoint) -> Self {
        Self {
            time: shown(point.time),
            event_time: point.event_time.map(shown),
            experiment_id: point.experiment_id,
            model_name: point.model_name,
            status: point.status,
            progress: point.progress,
            step: point.step,
            metrics: point.metrics.into_iter().collect(),
        }
    }
}

/// The history of a training run, by experiment or, where there is none, by model.
#[utoipa::path(
    get, path = "/analytics/training", operation_id = "training_history", tag = "analytics",
    params(
        ("experiment_id" = Option<String>, Query, description = "the experiment", min_length = 1, max_length = 256),
        ("model_name" = Option<String>, Query, description = "the model; beside an experiment it counts if nothing is found by that", min_length = 1, max_length = 256),
        ("limit" = Option<u32>, Query, description = "how many points at most, 1000 if not given", minimum = 1, maximum = 10000),
    ),
    responses((status = 200, description = "progress and figures", body = Training)),
)]
pub(crate) async fn history(
    State(analytics): State<Arc<Analytics>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Training>, ApiError> {
    analytics.authenticator.require(&headers).await?.must_have(READ)?;
    let query = Query::read(uri.query(), &["experiment_id", "model_name", "limit"])?;
    let limit = query.limit(LIMITS.0, LIMITS.1)?;
    let mut keys = Vec::new();
    for (name, key) in [
        ("experiment_id", TrainingKey::Experiment as fn(String) -> TrainingKey),
        ("model_name", TrainingKey::Model),
    ] {
        if let Some(value) = query.one(name)? {
            check_name(name, value)?;
            keys.push((name, key(value.to_owned())));
        }
    }
    if keys.is_empty() {
        return Err(ApiError::bad_field(
            "experiment_id",
            "is missing: say which experiment, or give model_name",
        ));
    }
    for (name, key) in keys {
        let Rows { rows, truncated } = analytics.store.training(&key, limit).await?;
        if !rows.is_empty() {
            let points: Vec<_> = rows.into_iter().map(TrainingStep::from).collect();
            let latest = points.last().cloned();
            return Ok(Json(Training { found_by: Some(name), latest, points, truncated }));
        }
    }
    Ok(Json(Training { found_by: None, latest: None, points: Vec::new(), truncated: false }))
}
