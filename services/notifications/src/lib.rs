//! The notification service: events become notifications, in an inbox, live over Socket.IO, and by Web Push.
//!
//! # Layout
//!
//! In reading order, along the path of an event:
//!
//! * [`rules`]: which events become notifications, and what they say. [`notification`]: what one user is told.
//! * [`consume`]: stored first, then acknowledged and announced. [`store`]: what is kept.
//! * [`announce`]: all replicas are told. [`feed`], [`client`]: each hands it to its own connections.
//! * [`platform`], `handshake`, `socketio`: the life of a connection, and what clients may ask for.
//! * [`push`], [`vapid`]: messages to browsers, connected or not.
//! * [`routes()`], [`inbox`], [`pushing`]: what is served over HTTP. [`upkeep`]: what is too old goes.
//! * [`settings`], [`metrics`].

pub mod announce;
pub mod client;
pub mod consume;
pub mod feed;
mod handshake;
pub mod inbox;
pub mod metrics;
pub mod notification;
pub mod platform;
pub mod push;
pub mod pushing;
mod routes;
pub mod rules;
pub mod settings;
mod socketio;
pub mod store;
pub mod upkeep;
pub mod vapid;

use std::sync::Arc;

use axum::Router;
use synapse_chassis::{StartError, service::Service};
use synapse_database::Database;
use tokio::sync::Notify;

pub use routes::{openapi, routes};

use crate::{
    announce::{Announcer, Marks, write_marks},
    consume::Storing,
    feed::Feed,
    platform::Platform,
    push::Sender,
    settings::Settings,
    store::{SCHEMA, Store},
    vapid::VapidKey,
};

/// The scope with which a service may read, and push to, every user.
pub const SCOPE: &str = "notifications:all";
/// The part of the grace in which announcements on their way still get to Redis.
const ANNOUNCING_OF_GRACE: f64 = 0.2;

/// Opens the database, starts what reads, announces, shows and sends, and gives the routes.
pub async fn start(settings: Settings, service: Service) -> Result<Router, StartError> {
    metrics::describe();
    let ready = service.readiness.condition("database");
    let database = Database::start(&settings.database, SCHEMA, &service, ready).await?;
    let store = Store::new(database);
    let key = match settings.vapid.clone() {
        None if store.is_alone() => Some(VapidKey::in_directory(&settings.data_dir)?),
        given => given,
    };
    let sender = Arc::new(Sender::new(settings.push, settings.contact.clone(), key, store.clone()));
    let (marks, unwritten) = Marks::new();
    let announcer = Announcer::new(service.common.redis.clone(), marks.clone());
    let platform = Platform::new(settings, store.clone(), Feed::new(marks), sender, &service);
    let shutdown = &service.shutdown;
    service.spawn("marks", write_marks(store.clone(), unwritten, shutdown.clone()));
    service.spawn("sweep", announcer.clone().sweep(store.clone(), shutdown.clone()));
    spawn_feed(&platform, &service);
    spawn_reader(&platform, announcer, &service);
    service.spawn("upkeep", upkeep::run(platform.clone()));
    service.spawn("catching up", platform.clone().catch_up());
    service.spawn("connections", platform.clone().drain_connections());
    Ok(routes(platform, &service))
}

fn spawn_feed(platform: &Arc<Platform>, service: &Service) {
    let (redis, shutdown) = (service.common.redis.clone(), service.shutdown.clone());
    let (feed, ready) = (platform.feed.clone(), service.readiness.condition("redis"));
    service.spawn("feed", async move { feed.follow(redis, ready, shutdown).await });
}

/// Reads, stores and pushes; when the service leaves, what is stored is announced before the marks end.
fn spawn_reader(platform: &Arc<Platform>, announcer: Arc<Announcer>, service: &Service) {
    let wake = Arc::new(Notify::new());
    let storing = Storing {
        store: platform.store.clone(),
        announcer: announcer.clone(),
        pushes: wake.clone(),
        max_age: platform.settings.max_age,
        is_away: Arc::default(),
    };
    let (redis, shutdown) = (service.common.redis.clone(), service.shutdown.clone());
    let (concurrency, grace) = (platform.settings.concurrency, service.common.shutdown_grace);
    service.spawn("reader", async move {
        storing.run(redis, concurrency, shutdown).await;
        announcer.close(grace.mul_f64(ANNOUNCING_OF_GRACE)).await;
    });
    let (sender, store) = (platform.sender.clone(), platform.store.clone());
    let at_once = platform.settings.push.concurrency;
    service.spawn("pushes", push::queue::run(sender, store, at_once, wake, service.shutdown.clone()));
}

/// Brings the tables to this version's form.
pub async fn migrate(settings: Settings) -> Result<(), StartError> {
    Ok(Database::migrate(&settings.database, SCHEMA).await?)
}
