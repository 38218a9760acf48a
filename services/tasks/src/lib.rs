//! The task orchestrator: tasks, their versions and dependencies over REST, and their events on `platform-events`.
//!
//! A change and its event are committed together; the answer comes after that, whether Redis is there or not. A
//! [relay](outbox) publishes what was committed.
//!
//! # Layout
//!
//! In reading order, along the path of a request:
//!
//! * [`routes()`]: what is served. [`request`]: what clients may write, and within which bounds.
//! * [`task`]: what a task is, and which status may follow which.
//! * [`create`], [`update`], [`dependencies`]: what changes. [`list`]: what is asked. [`versions`]: what was before.
//! * [`idempotency`]: requests that are sent again and have their effect once.
//! * [`event`]: what a change tells the others. [`outbox`]: how that gets to Redis.
//! * [`schema`]: the tables. [`settings`], [`metrics`].

pub mod create;
pub mod dependencies;
pub mod event;
pub mod idempotency;
pub mod list;
pub mod metrics;
pub mod outbox;
pub mod request;
mod routes;
pub mod schema;
pub mod settings;
pub mod task;
pub mod update;
pub mod versions;

use std::sync::Arc;

use axum::Router;
use synapse_chassis::{StartError, request::Bodies, service::Service};
use synapse_database::Database;
use tokio::sync::Notify;

pub use routes::{openapi, routes};

use crate::settings::Settings;

/// What all requests share.
#[derive(Debug)]
pub struct Tasks {
    /// Where tasks are kept.
    pub database: Database,
    /// Reads the bodies of requests.
    pub bodies: Bodies,
    /// Something was committed that is to be published.
    pub committed: Arc<Notify>,
}

/// Opens the database, starts the relay and gives the routes.
pub async fn start(settings: Settings, service: Service) -> Result<Router, StartError> {
    metrics::describe();
    let ready = service.readiness.condition("database");
    let database = Database::start(&settings.database, schema::SCHEMA, &service, ready).await?;
    let committed = Arc::new(Notify::new());
    outbox::spawn(&settings, &database, &committed, &service);
    let bodies = Bodies::new(settings.max_body_bytes, settings.bodies_bytes);
    Ok(routes(Arc::new(Tasks { database, bodies, committed }), &service))
}

/// Brings the tables to this version's form.
pub async fn migrate(settings: Settings) -> Result<(), StartError> {
    Ok(Database::migrate(&settings.database, schema::SCHEMA).await?)
}
