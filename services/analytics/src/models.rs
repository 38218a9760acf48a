//! Inferences by model: how many, how fast, at what price.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use http::{HeaderMap, Uri};
use serde::Serialize;
use synapse_chassis::{error::ApiError, request::Query};
use utoipa::ToSchema;

use crate::{
    Analytics, READ,
    request::{check_name, shown, step, window},
    store::{ModelSummary, Store as _, Summary},
};

/// Inferences in a window, by model and version.
#[derive(Debug, Serialize, ToSchema)]
pub struct Models {
    /// Where the window begins, RFC 3339.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// The most used first.
    pub models: Vec<ModelSummary>,
    /// Whether there are more than an answer has room for.
    pub truncated: bool,
}

/// A model in a window, step by step.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelSeries {
    /// The model.
    pub model_name: String,
    /// Where the window begins, RFC 3339.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// How long a step is, in seconds.
    pub step_s: f64,
    /// By start and version; steps without inferences are left out.
    pub points: Vec<ModelStep>,
    /// Whether there are more than an answer has room for.
    pub truncated: bool,
}

/// A version of a model in a step.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelStep {
    /// Where the step begins, RFC 3339; the first one no earlier than the window.
    pub start: String,
    /// The version.
    pub version: String,
    /// Its inferences.
    #[serde(flatten)]
    pub summary: Summary,
}

/// Inferences of the last while, by model and version.
#[utoipa::path(
    get, path = "/analytics/models", operation_id = "list_models", tag = "analytics",
    params(("window" = Option<String>, Query, description = "how far back: `30s`, `15m`, `24h`, `7d`; 15m if not given")),
    responses((status = 200, description = "counts, failures, latency, tokens and cost", body = Models)),
)]
pub(crate) async fn list(
    State(analytics): State<Arc<Analytics>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Models>, ApiError> {
    analytics.authenticator.require(&headers).await?.must_have(READ)?;
    let query = Query::read(uri.query(), &["window"])?;
    let window = window(&query, analytics.max_window)?;
    let found = analytics.store.models(window).await?;
    Ok(Json(Models {
        from: shown(window.from),
        to: shown(window.to),
        models: found.rows,
        truncated: found.truncated,
    }))
}

/// A model's inferences of the last while, step by step.
#[utoipa::path(
    get, path = "/analytics/models/{name}", operation_id = "model_series", tag = "analytics",
    params(
        ("name" = String, Path, description = "the model", min_length = 1, max_length = 256),
        ("window" = Option<String>, Query, description = "how far back: `30s`, `15m`, `24h`, `7d`; 15m if not given"),
        ("step" = Option<String>, Query, description = "how long each step is, `1s` at least; a sixtieth of the window if not given"),
    ),
    responses((status = 200, description = "counts, failures, latency, tokens and cost of each step", body = ModelSeries)),
)]
pub(crate) async fn series(
    State(analytics): State<Arc<Analytics>>,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<ModelSeries>, ApiError> {
    analytics.authenticator.require(&headers).await?.must_have(READ)?;
    let Path(model_name) = name.map_err(|error| ApiError::bad_field("name", error.body_text()))?;
    check_name("name", &model_name)?;
    let query = Query::read(uri.query(), &["window", "step"])?;
    let window = window(&query, analytics.max_window)?;
    let step = step(&query, window)?;
    let found = analytics.store.model_series(&model_name, window, step).await?;
    let point = |point: crate::store::ModelPoint| ModelStep {
        start: shown(point.start),
        version: point.version,
        summary: point.summary,
    };
    Ok(Json(ModelSeries {
        model_name,
        from: shown(window.from),
        to: shown(window.to),
        step_s: step.as_secs_f64(),
        points: found.rows.into_iter().map(point).collect(),
        truncated: found.truncated,
    }))
}
