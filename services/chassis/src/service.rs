//! What a running service holds: settings, identity, readiness, tasks, and the order in which they end.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, middleware::from_fn};
use synapse_rs::shutdown::Shutdown;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::{
    error::no_such_route,
    health::{Readiness, health, operations},
    identity::{Authenticator, KeySource, Trust, protect},
    serve::{Limits, serve},
    settings::{About, Common, SettingError},
    telemetry::{Metrics, observe},
};

/// How many connections the port for operators takes.
const ADMIN_CONNECTIONS: usize = 128;
/// How often recorded metrics are folded.
const FOLD_EVERY: Duration = Duration::from_secs(5);

/// A service from its first task to its last connection. Clones are the same service.
///
/// ```no_run
/// # async fn example(about: &synapse_chassis::settings::About, common: synapse_chassis::settings::Common)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::get};
/// use synapse_chassis::service::{Ports, Service};
///
/// let service = Service::new(about, common, None)?;
/// let ports = Ports { public: tokio::net::TcpListener::bind("127.0.0.1:0").await?, admin: None };
/// let routes = Router::new().route("/", get(async || "hello"));
/// service.serve(ports, routes).await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Service {
    /// The settings that all services share.
    pub common: Arc<Common>,
    /// Tells who is asking.
    pub authenticator: Authenticator,
    /// What must have answered once.
    pub readiness: Readiness,
    /// Begins the drain.
    pub shutdown: Shutdown,
    /// Comes after `shutdown`: the last request for clients has been answered, or cut.
    pub served: Shutdown,
    about: About,
    metrics: Option<Metrics>,
    tasks: TaskTracker,
    failed: Arc<AtomicBool>,
}

/// How a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything in hand was finished.
    InOrder,
    /// A task panicked or was not done at the end of the grace.
    Broken,
}

/// The sockets a service listens on.
#[derive(Debug)]
pub struct Ports {
    /// For clients.
    pub public: TcpListener,
    /// For operators, if apart.
    pub admin: Option<TcpListener>,
}

impl Service {
    /// A service that does nothing yet. Reads the keys of tokens; without `metrics` there is no `/metrics`.
    pub fn new(about: &About, common: Common, metrics: Option<Metrics>) -> Result<Self, SettingError> {
        let shutdown = Shutdown::new();
        Ok(Self {
            authenticator: Authenticator::new(&common)?,
            readiness: Readiness::new(shutdown.clone()),
            about: *about,
            common: Arc::new(common),
            metrics,
            shutdown,
            served: Shutdown::new(),
            tasks: TaskTracker::new(),
            failed: Arc::new(AtomicBool::new(false)),
        })
    }

    /// The metrics of the process, if it has any.
    pub fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_ref()
    }

    /// Starts a task that the service can't do without. It is to end soon after [`Service::shutdown`];
    /// the service waits for it within the grace. If it panics, the whole service leaves.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (shutdown, failed) = (self.shutdown.clone(), self.failed.clone());
        let running = tokio::spawn(task);
        self.tasks.spawn(async move {
            if let Err(problem) = running.await {
                error!(task = name, error = %problem, "a task that everything depends on broke; leaving");
                failed.store(true, Ordering::SeqCst);
                shutdown.cancel();
            }
        });
    }

    /// Says what the service can't work without, and leaves, broken.
    pub fn fail(&self, reason: &str) {
        error!(reason, "leaving");
        self.failed.store(true, Ordering::SeqCst);
        self.shutdown.cancel();
    }

    /// Serves these routes, beside `/health`, `/ready` and `/metrics`, until `shutdown` and the end of all tasks.
    pub async fn serve(&self, ports: Ports, routes: Router) -> Ended {
        self.spawn_housekeeping();
        let common = &self.common;
        let limits = Limits { connections: common.max_connections, ..Limits::default() };
        let operations = operations(self.readiness.clone(), self.metrics.clone());
        let mut public = routes.merge(health(&self.about));
        let mut admin = None;
        if let Some(listener) = ports.admin {
            let limits = Limits { connections: ADMIN_CONNECTIONS, ..limits };
            admin = Some((listener, health(&self.about).merge(operations), limits));
        } else {
            public = public.merge(operations);
        }
        let public = async {
            self.serve_one(ports.public, public, limits).await;
            self.served.cancel();
        };
        match admin {
            Some((listener, routes, limits)) => {
                tokio::join!(public, self.serve_one(listener, routes, limits), self.finish_tasks()).2
            }
            None => tokio::join!(public, self.finish_tasks()).1,
        }
    }

    async fn serve_one(&self, listener: TcpListener, routes: Router, limits: Limits) {
        let routes = routes.fallback(async |uri: http::Uri| no_such_route(&uri));
        let routes = protect(routes, &self.authenticator).layer(from_fn(observe));
        serve(listener, routes, limits, self.shutdown.clone(), self.common.shutdown_grace).await;
    }

    /// Waits for the drain to begin, and then for the tasks.
    async fn finish_tasks(&self) -> Ended {
        self.shutdown.cancelled().await;
        info!(grace = ?self.common.shutdown_grace, "draining");
        self.tasks.close();
        if timeout(self.common.shutdown_grace, self.tasks.wait()).await.is_err() {
            warn!(
                tasks = self.tasks.len(),
                "some tasks were not done at the end of the grace (SHUTDOWN_GRACE)"
            );
            return Ended::Broken;
        }
        if self.failed.load(Ordering::SeqCst) { Ended::Broken } else { Ended::InOrder }
    }

    fn spawn_housekeeping(&self) {
        if matches!(self.common.identity.trust, Trust::Key(KeySource::File(_) | KeySource::Url(_))) {
            let (authenticator, shutdown) = (self.authenticator.clone(), self.shutdown.clone());
            let keys = self.readiness.condition("keys of tokens");
            self.spawn("keys", async move { authenticator.keep_keys_fresh(&shutdown, || keys.met()).await });
        }
        if let Some(metrics) = self.metrics.clone() {
            let shutdown = self.shutdown.clone();
            self.spawn("metrics", async move {
                let mut beat = tokio::time::interval(FOLD_EVERY);
                while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
                    metrics.fold();
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
