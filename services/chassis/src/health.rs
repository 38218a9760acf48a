//! Whether the process lives, and whether it can do its work.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use parking_lot::Mutex;
use serde_json::json;
use synapse_rs::shutdown::Shutdown;
use tokio::time::Instant;

use crate::{settings::About, telemetry::Metrics};

/// What a service must have seen once before it is ready. Clones share it.
///
/// What was met stays met: an outage afterwards is for metrics to tell, or a load balancer would
/// take away every replica at once. Draining makes it unready again.
#[derive(Clone, Debug)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<Waiting>>>,
    draining: Shutdown,
}

#[derive(Debug)]
struct Waiting {
    name: &'static str,
    /// Why it is not met yet.
    waiting: Option<String>,
}

/// One thing that a service can't work without.
#[derive(Clone, Debug)]
pub struct Condition {
    conditions: Arc<Mutex<Vec<Waiting>>>,
    index: usize,
}

impl Readiness {
    /// Ready, until conditions are added or `draining` begins.
    pub fn new(draining: Shutdown) -> Self {
        Self { conditions: Arc::default(), draining }
    }

    /// Adds something to wait for, for example `redis`.
    pub fn condition(&self, name: &'static str) -> Condition {
        let mut conditions = self.conditions.lock();
        conditions.push(Waiting { name, waiting: Some("has not answered yet".to_owned()) });
        Condition { conditions: self.conditions.clone(), index: conditions.len() - 1 }
    }

    /// Why the service is not ready; empty when it is.
    pub fn reasons(&self) -> Vec<String> {
        if self.draining.is_cancelled() {
            return vec!["draining".to_owned()];
        }
        let conditions = self.conditions.lock();
        let reason = |state: &Waiting| state.waiting.as_ref().map(|why| format!("{}: {why}", state.name));
        conditions.iter().filter_map(reason).collect()
    }

    /// Whether all conditions were met and the service is not draining.
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }
}

impl Condition {
    /// It has answered once.
    pub fn met(&self) {
        self.conditions.lock()[self.index].waiting = None;
    }

    /// Why it has not, unless it has before.
    pub fn waiting_because(&self, reason: impl Into<String>) {
        if let Some(waiting) = &mut self.conditions.lock()[self.index].waiting {
            *waiting = reason.into();
        }
    }
}

/// `GET /health`: the process lives.
pub fn health(about: &About) -> Router {
    let (name, version, began) = (about.name, about.version, Instant::now());
    let answer = async move || {
        let uptime_seconds = began.elapsed().as_secs();
        Json(json!({
            "status": "healthy", "service": name, "version": version, "uptime_seconds": uptime_seconds,
        }))
    };
    Router::new().route("/health", get(answer))
}

/// `GET /ready`: 503 with reasons until the service can work; `GET /metrics`: for Prometheus.
pub fn operations(readiness: Readiness, metrics: Option<Metrics>) -> Router {
    let router = Router::new().route("/ready", get(ready).with_state(readiness));
    match metrics {
        Some(metrics) => router.route("/metrics", get(render).with_state(metrics)),
        None => router,
    }
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    let reasons = readiness.reasons();
    let (status, word) = if reasons.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unready")
    };
    (status, Json(json!({ "status": word, "reasons": reasons })))
}

async fn render(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}

#[cfg(test)]
mod tests;
