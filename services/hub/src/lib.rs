//! The hub: the streams over HTTP, their trimming and their metrics.
//!
//! # Layout
//!
//! * [`routes()`]: what is served, and who may ask for it.
//! * [`hub`]: what all requests share. [`request`]: what clients may write in paths, queries and bodies.
//! * One module per group of routes: [`streams`], [`messages`], [`publish`], [`dead_letters`], [`replay`], [`schemas`].
//! * [`jobs`]: work that outlives its request.
//! * [`trimmer`]: trims the streams, in one of all hubs. [`gauges`]: lag and lengths for operators.
//! * [`settings`], [`metrics`].

pub mod dead_letters;
pub mod gauges;
pub mod guard;
pub mod hub;
pub mod jobs;
pub mod messages;
pub mod metrics;
pub mod publish;
pub mod replay;
pub mod request;
mod routes;
pub mod schemas;
pub mod settings;
pub mod streams;
pub mod trimmer;

use axum::Router;
use synapse_chassis::{StartError, service::Service};

pub use routes::{openapi, routes};

use crate::{hub::Hub, settings::Settings};

/// Starts the hub's tasks and gives its routes.
#[expect(clippy::unused_async, reason = "the form that the chassis runs")]
pub async fn start(settings: Settings, service: Service) -> Result<Router, StartError> {
    metrics::describe();
    let hub = Hub::new(settings, &service);
    hub.spawn(&service);
    Ok(routes(hub, &service))
}
