//! The log and the metrics of a service.

use std::{collections::BTreeMap, io, io::IsTerminal as _, sync::Arc};

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use http::Method;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::debug;
use tracing_subscriber::EnvFilter;

use crate::settings::{About, LogFormat};

mod process;

/// The upper bounds of histograms that count seconds: from a write to a lost network.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// The upper bounds of histograms that count bytes.
const BYTES: [f64; 7] = [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

/// Why log or metrics can't be set up.
#[derive(Debug, thiserror::Error)]
#[error("{what} can't be set up: {why}")]
pub struct TelemetryError {
    what: &'static str,
    why: String,
}

/// Whether this is a well-formed value of `RUST_LOG`.
pub(crate) fn is_filter(text: &str) -> bool {
    EnvFilter::builder().parse(text).is_ok()
}

/// Starts the log on stderr, for the whole process.
pub fn start_log(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let failed = |why: String| TelemetryError { what: "the log", why };
    let filter = EnvFilter::builder().parse(filter).map_err(|error| failed(error.to_string()))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match format {
        LogFormat::Text => log.with_ansi(colours).try_init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    }
    .map_err(|error| failed(error.to_string()))
}

/// The metrics of this process, written as Prometheus reads them.
#[derive(Clone, Debug)]
pub struct Metrics {
    recorder: PrometheusHandle,
    /// What [`Metrics::replace`] has written, by whose it is.
    replaced: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Metrics {
    /// Starts recording, for the whole process.
    pub fn start(about: &About) -> Result<Self, TelemetryError> {
        let failed = |why: String| TelemetryError { what: "metrics", why };
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES))
            .map_err(|error| failed(error.to_string()))?
            .build_recorder();
        let metrics = Self { recorder: recorder.handle(), replaced: Arc::default() };
        metrics::set_global_recorder(recorder).map_err(|error| failed(error.to_string()))?;
        gauge!("synapse_build_info", "service" => about.name, "version" => about.version).set(1.0);
        Ok(metrics)
    }

    /// All of them, and those of the process that the operating system counts.
    pub fn render(&self) -> String {
        let mut text = self.recorder.render();
        text.extend(self.replaced.lock().values().map(String::as_str));
        process::render(&mut text);
        text
    }

    /// Shows exactly those metrics that `set` describes and sets, in place of those it set before: what is recorded
    /// otherwise can't be taken back. Names are not to be used elsewhere; `whose` tells several from each other.
    pub fn replace(&self, whose: &'static str, set: impl FnOnce()) {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, set);
        self.replaced.lock().insert(whose, recorder.handle().render());
    }

    /// Folds what was recorded, which takes memory until then; to be called every few seconds.
    pub fn fold(&self) {
        self.recorder.run_upkeep();
    }
}

/// Counts and times each request, and logs it at level debug: the path without its query, which may hold a token.
pub async fn observe(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = known_method(request.method());
    // The pattern, not the path: ids in it would make a series each.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let path = tracing::enabled!(tracing::Level::DEBUG).then(|| request.uri().path().to_owned());
    let response = next.run(request).await;
    let (took, status) = (began.elapsed(), response.status());
    let route = route.map_or_else(|| "unmatched".to_owned(), |route| route.as_str().to_owned());
    if let Some(path) = path {
        debug!(method, path, status = status.as_u16(), ?took, "request");
    }
    histogram!("http_request_duration_seconds", "method" => method, "route" => route.clone()).record(took);
    counter!("http_requests_total", "method" => method, "route" => route, "status" => status.as_str().to_owned())
        .increment(1);
    response
}

/// A client can make up methods; a label can't follow.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
