//! The realtime gateway: forwards every stream to Socket.IO, WebSocket and `EventSource` clients.
//!
//! # Layout
//!
//! In reading order, along the path of an event:
//!
//! * [`reader`]: reads every stream once for the whole process.
//! * [`sealed`], [`audience`]: an entry becomes an event that is decoded once, encoded once, and
//!   knows who gets it.
//! * [`history`]: the recent past; [`feed`]: hands events to the clients they are for.
//! * [`frames`], [`client`], [`subscriptions`], [`filters`]: what one client gets, and as what.
//! * `relay`, `emit`: what is said beside the events, to users on whichever replica they are.
//! * [`position`], [`resume`]: coming back without a gap; `memory`: what Socket.IO's clients find again.
//! * [`handshake`], [`gateway`], [`who`]: the life of a connection, and on whose behalf it is; `socketio`, `websocket` and `sse`: what clients may ask for.
//! * [`lag`]: how far behind the replicas are. [`settings`], [`metrics`]; [`types`]: all of this in
//!   TypeScript.

pub mod audience;
pub mod client;
mod emit;
pub mod feed;
pub mod filters;
pub mod frames;
pub mod gateway;
pub mod handshake;
pub mod history;
pub mod lag;
mod memory;
pub mod metrics;
pub mod position;
pub mod reader;
pub mod redis_access;
mod relay;
mod requests;
pub mod resume;
mod routes;
pub mod sealed;
pub mod settings;
mod socketio;
mod sse;
pub mod streams;
pub mod subscriptions;
pub mod types;
mod websocket;
pub mod who;

use axum::Router;
use synapse_chassis::{StartError, service::Service};

use crate::{gateway::Gateway, settings::Settings};

/// Starts the gateway's tasks and gives its routes.
#[expect(clippy::unused_async, reason = "the form that the chassis runs")]
pub async fn start(settings: Settings, service: Service) -> Result<Router, StartError> {
    Ok(routes::routes(Gateway::start(settings, &service), &service))
}
