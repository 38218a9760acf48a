//! The small application that the test suites of Engine.IO's and Socket.IO's own repositories ask for, on the codec and
//! the driver of the services. `make conformance-server PROTOCOL=engine|socket` starts it, `make conformance SUITE=dir`
//! runs a suite against it.

mod engine;
mod serve;
mod socket;

use std::{process::ExitCode, sync::Arc};

use axum::{Router, routing::any};
use synapse_chassis::{
    StartError,
    service::Service,
    settings::{About, Environment, SettingError},
};
use synapse_realtime::socketio::engine::Heartbeat;

use crate::serve::Server;

synapse_chassis::variables! {
    /// What the server reads.
    VARIABLES:
    /// What it speaks: `engine` echoes messages of Engine.IO at /engine.io/, `socket` serves Socket.IO at /socket.io/.
    PROTOCOL: Choice = "socket";
    /// Time between two pings.
    PING_INTERVAL: Duration = "300ms";
    /// Time for the answer.
    PING_TIMEOUT: Duration = "200ms";
}

const ABOUT: About = About {
    name: "conformance-server",
    version: env!("CARGO_PKG_VERSION"),
    summary: "serves what the protocols' own test suites ask for",
    // Written into the suites.
    default_port: 3000,
    variables: VARIABLES,
    shared: &[],
    commands: &[],
};

/// What a server is configured by; by default as the suites expect.
#[derive(Clone, Copy, Debug)]
struct Settings {
    protocol: Protocol,
    heartbeat: Heartbeat,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug)]
enum Protocol {
    Engine,
    Socket,
}

fn read(environment: &Environment) -> Result<Settings, SettingError> {
    let protocols = [("engine", Protocol::Engine), ("socket", Protocol::Socket)];
    Ok(Settings {
        protocol: environment.choice(&PROTOCOL, &protocols)?,
        heartbeat: Heartbeat {
            interval: environment.duration(&PING_INTERVAL)?,
            timeout: environment.duration(&PING_TIMEOUT)?,
        },
    })
}

async fn start(settings: Settings, service: Service) -> Result<Router, StartError> {
    let server = Arc::new(Server::new(settings));
    let path = match settings.protocol {
        Protocol::Engine => "/engine.io/",
        Protocol::Socket => "/socket.io/",
    };
    let (shutdown, drained) = (service.shutdown.clone(), server.clone());
    service.spawn("connections", async move {
        shutdown.cancelled().await;
        drained.drain().await;
    });
    Ok(Router::new().route(path, any(serve::answer)).with_state(server))
}

fn main() -> ExitCode {
    synapse_chassis::run(&ABOUT, read, start)
}
