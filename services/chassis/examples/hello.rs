//! The smallest service on the chassis: `cargo run -p synapse-chassis --example hello -- --port 0`.

use std::{process::ExitCode, time::Duration};

use axum::{Router, routing::get};
use synapse_chassis::{
    StartError, run,
    service::Service,
    settings::{About, Environment, SettingError},
};

synapse_chassis::variables! {
    /// What this service reads besides the common settings.
    VARIABLES:
    /// How long an answer takes.
    ANSWER_TIME: Duration = "0";
}

const ABOUT: About = About {
    name: "hello",
    version: env!("CARGO_PKG_VERSION"),
    summary: "says hello",
    default_port: 8080,
    variables: VARIABLES,
    shared: &[],
    commands: &[],
};

fn main() -> ExitCode {
    run(&ABOUT, read, start)
}

fn read(environment: &Environment) -> Result<Duration, SettingError> {
    environment.duration(&ANSWER_TIME)
}

async fn start(answer_time: Duration, service: Service) -> Result<Router, StartError> {
    let shutdown = service.shutdown.clone();
    service.spawn("greeter", async move { shutdown.cancelled().await });
    let hello = async move || {
        tokio::time::sleep(answer_time).await;
        "hello"
    };
    Ok(Router::new().route("/", get(hello)))
}
