//! The analytics service: every inference and training event in a store, and answers from it.
//!
//! # Layout
//!
//! In reading order, along the path of an event:
//!
//! * [`consume`]: stored first, then acknowledged. [`sample`]: what an event says.
//! * [`store`]: where samples are kept, and what can be asked. [`stores`]: which of them it is.
//! * [`influx`]: a server of InfluxDB; [`line`]: what it is told. [`embedded`]: a file, without a server.
//! * [`record`]: figures of users. [`mod@backfill`]: a part of a stream once more.
//! * [`routes()`], [`time_series`], [`models`], [`training`]: what is served over HTTP. [`request`]: what may be asked.
//! * [`settings`], [`metrics`].

pub mod backfill;
pub mod consume;
pub mod embedded;
pub mod influx;
pub mod line;
pub mod metrics;
pub mod models;
pub mod record;
pub mod request;
mod routes;
pub mod sample;
pub mod settings;
pub mod store;
pub mod stores;
pub mod time_series;
pub mod training;

use std::{sync::Arc, time::Duration};

use axum::Router;
use synapse_chassis::{StartError, identity::Authenticator, request::Bodies, service::Service};

pub use backfill::{BACKFILL, BackfillError, backfill};
pub use routes::{openapi, routes};

use crate::{
    consume::Storing,
    embedded::Embedded,
    influx::Influx,
    record::{Recorder, Recording},
    settings::Settings,
    stores::Stores,
};

/// The scope with which a service may read everybody's figures.
pub const READ: &str = "analytics:read";
/// The scope with which a service may record figures of any user: they are something that happened, like an event.
pub const RECORD: &str = "events:publish";
/// Memory for the bodies of requests.
const BODIES_BYTES: usize = 256 << 20;

/// What all requests share.
#[derive(Debug)]
pub struct Analytics {
    /// Where samples are.
    pub store: Arc<Stores>,
    /// Takes figures of users.
    pub recorder: Recorder,
    /// Reads the bodies of requests.
    pub bodies: Bodies,
    /// The longest window that can be asked about.
    pub max_window: Duration,
    /// Tells who asks.
    pub authenticator: Authenticator,
}

/// The part of the grace in which figures still get to the store.
const RECORDING_OF_GRACE: f64 = 0.3;

/// Opens the store, starts what reads and records, and gives the routes.
pub async fn start(settings: Settings, service: Service) -> Result<Router, StartError> {
    metrics::describe();
    let store = Arc::new(open(&settings, &service).await?);
    let (recorder, recording) =
        Recorder::new(service.shutdown.clone(), service.common.shutdown_grace.mul_f64(RECORDING_OF_GRACE));
    let analytics = Arc::new(Analytics {
        store: store.clone(),
        recorder,
        bodies: Bodies::new(settings.max_body_bytes, BODIES_BYTES),
        max_window: settings.max_window,
        authenticator: service.authenticator.clone(),
    });
    spawn_recording(recording, &store, &service);
    spawn_reader(&settings, store, &service);
    Ok(routes(analytics, &service))
}

/// The store that is configured, with what it needs running until the service leaves.
async fn open(settings: &Settings, service: &Service) -> Result<Stores, StartError> {
    if let Some(influx) = &settings.influx {
        tracing::info!(url = %influx.url, bucket = influx.bucket, "events are stored in InfluxDB");
        return Ok(Stores::Influx(Influx::new(influx.clone())?));
    }
    let embedded = Embedded::start(&settings.data_dir, settings.embedded, service).await?;
    tracing::info!(directory = %settings.data_dir.display(), "events are stored in a file");
    Ok(Stores::Embedded(embedded))
}

fn spawn_recording(recording: Recording, store: &Arc<Stores>, service: &Service) {
    service.spawn("recording", recording.run(store.clone(), service.served.clone()));
}

fn spawn_reader(settings: &Settings, store: Arc<Stores>, service: &Service) {
    let storing = Storing::new(store, settings.reading);
    let (redis, ready) = (service.common.redis.clone(), service.readiness.condition("redis"));
    let (service, own) = (service.clone(), service.clone());
    own.spawn("reader", async move {
        let (shutdown, grace) = (service.shutdown.clone(), service.common.shutdown_grace);
        storing.run(redis, ready, shutdown.clone(), grace).await;
        if !shutdown.is_cancelled() {
            service.fail("events are no longer read");
        }
    });
}
