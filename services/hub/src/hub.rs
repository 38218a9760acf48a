//! What all requests share.

use std::{future::Future, sync::Arc, time::Duration};

use synapse_chassis::{error::ApiError, request::Bodies, service::Service, telemetry::Metrics};
use synapse_rs::{
    Publisher,
    publisher::PublisherConfig,
    shutdown::Shutdown,
    stream::{Connection, SharedConnection, StreamError},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{gauges, jobs::Jobs, settings::Settings, trimmer};

/// Requests that ask Redis at once; others wait.
const CONCURRENT: usize = 64;
/// The part of the grace in which events that were accepted still get to Redis.
const PUBLISHING_OF_GRACE: f64 = 0.8;

/// What all requests share.
#[derive(Debug)]
pub struct Hub {
    /// The hub's own settings.
    pub settings: Settings,
    /// Where questions are asked.
    pub redis: Arc<SharedConnection>,
    /// Takes the events that are published.
    pub publisher: Publisher,
    /// Requests that are publishing.
    pub publishing: TaskTracker,
    /// Replays.
    pub jobs: Jobs,
    /// Reads the bodies of requests.
    pub bodies: Bodies,
    /// Begins the drain.
    pub shutdown: Shutdown,
    /// Where gauges that come and go are shown.
    pub metrics: Option<Metrics>,
    asking: Semaphore,
}

impl Hub {
    /// Nothing is connected yet.
    pub fn new(settings: Settings, service: &Service) -> Arc<Self> {
        let redis = Arc::new(SharedConnection::new(service.common.redis.clone()));
        let config = PublisherConfig {
            source: "synapse-hub".to_owned(),
            maxlen: settings.retention.hard_limit,
            queue_bytes: settings.queue_bytes,
            ..PublisherConfig::default()
        };
        Arc::new(Self {
            publisher: Publisher::start(service.common.redis.clone(), config),
            publishing: TaskTracker::new(),
            jobs: Jobs::new(redis.clone(), settings.max_replays, service.shutdown.clone()),
            bodies: Bodies::new(settings.max_body_bytes, settings.bodies_bytes),
            shutdown: service.shutdown.clone(),
            metrics: service.metrics().cloned(),
            asking: Semaphore::new(CONCURRENT),
            redis,
            settings,
        })
    }

    /// Starts what runs beside the requests.
    pub fn spawn(self: &Arc<Self>, service: &Service) {
        let ready = service.readiness.condition("redis");
        service.spawn("gauges", gauges::run(self.clone(), ready));
        service.spawn("trimmer", trimmer::run(self.clone()));
        service.spawn("publisher", self.clone().close_publisher(service.common.shutdown_grace));
        let jobs = self.jobs.clone();
        service.spawn("jobs", async move { jobs.drain().await });
    }

    /// When the hub leaves, lets the requests in hand finish, and Redis have what was accepted.
    async fn close_publisher(self: Arc<Self>, grace: Duration) {
        self.shutdown.cancelled().await;
        let deadline = Instant::now() + grace.mul_f64(PUBLISHING_OF_GRACE);
        self.publishing.close();
        // Those who wait longer than this are told that the hub leaves.
        let _ = timeout(grace / 2, self.publishing.wait()).await;
        let left = deadline.saturating_duration_since(Instant::now());
        if let Err(error) = self.publisher.close(left).await {
            tracing::error!(%error, "events were accepted and are lost: redis did not take them in time");
        }
    }

    /// Asks Redis within the time a request may take.
    pub async fn ask<T, F>(&self, question: impl Fn(Connection) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, StreamError>>,
    {
        let asked = async {
            let _permit = self.asking.acquire().await;
            self.redis.ask(question).await
        };
        match timeout(self.settings.request_timeout, asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ApiError::unavailable(
                "timeout",
                format!(
                    "redis did not answer within {:?}; try again, or ask for less",
                    self.settings.request_timeout
                ),
            )),
        }
    }
}
