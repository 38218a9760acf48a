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
//! * [`frames`], [`client`], [`subscriptions`]: what one client gets, and as what.
//! * [`position`], [`resume`]: coming back without a gap.
//! * [`handshake`], [`gateway`]: the life of a connection; `socketio`, `websocket` and `sse`: what clients may ask for.
//! * [`settings`], [`metrics`]; [`types`]: all of this in TypeScript.

pub mod audience;
pub mod client;
pub mod feed;
pub mod frames;
pub mod gateway;
pub mod handshake;
pub mod history;
pub mod metrics;
pub mod position;
pub mod reader;
pub mod redis_access;
mod requests;
pub mod resume;
pub mod sealed;
pub mod settings;
mod socketio;
mod sse;
pub mod streams;
pub mod subscriptions;
pub mod types;
mod websocket;

use axum::{Router, routing::any};
use synapse_chassis::{StartError, service::Service};

use crate::{gateway::Gateway, settings::Settings};

/// Starts the gateway's tasks and gives its routes.
#[expect(clippy::unused_async, reason = "the form that the chassis runs")]
pub async fn start(settings: Settings, service: Service) -> Result<Router, StartError> {
    let gateway = Gateway::start(settings, &service);
    Ok(Router::new()
        .route("/socket.io/", any(handshake::socketio))
        .route("/ws", any(handshake::websocket))
        .route("/events", any(sse::request::events))
        .with_state(gateway))
}
