use axum::routing::get;
use synapse_test_support::eventually;
use tokio::sync::oneshot;

use super::*;
use crate::{serve::listen, settings::Environment};

const ABOUT: About = About {
    name: "synapse-test",
    version: "0",
    summary: "a test",
    default_port: 1,
    variables: &[],
    shared: &[],
    commands: &[],
};
const LONG: Duration = Duration::from_mins(1);

fn service(variables: &[(&str, &str)]) -> Service {
    let common = Common::read(&Environment::from_map(variables.iter().copied()), 1).unwrap();
    Service::new(&ABOUT, common, None).unwrap()
}

async fn start(service: &Service) -> tokio::task::JoinHandle<Ended> {
    let ports = Ports { public: listen("127.0.0.1", 0, "PORT").await.unwrap(), admin: None };
    let service = service.clone();
    tokio::spawn(async move { service.serve(ports, Router::new().route("/", get(async || ""))).await })
}

#[tokio::test]
async fn the_end_waits_for_the_tasks() {
    let service = service(&[]);
    let (finish, finished) = oneshot::channel::<()>();
    let shutdown = service.shutdown.clone();
    service.spawn("slow to leave", async move {
        shutdown.cancelled().await;
        finished.await.unwrap();
    });
    let running = start(&service).await;
    service.shutdown.cancel();
    tokio::task::yield_now().await;
    assert!(!running.is_finished());
    finish.send(()).unwrap();
    assert_eq!(timeout(LONG, running).await.unwrap().unwrap(), Ended::InOrder);
}

#[tokio::test]
async fn a_task_that_does_not_leave_is_left_behind_at_the_end_of_the_grace() {
    let service = service(&[("SHUTDOWN_GRACE", "50ms")]);
    service.spawn("stuck", std::future::pending());
    let running = start(&service).await;
    service.shutdown.cancel();
    assert_eq!(timeout(LONG, running).await.unwrap().unwrap(), Ended::Broken);
}

#[tokio::test]
async fn a_task_that_panics_takes_the_whole_service_along() {
    let service = service(&[]);
    let (fail, failed) = oneshot::channel::<()>();
    service.spawn("doomed", async move {
        failed.await.unwrap();
        panic!("as a bug would");
    });
    let running = start(&service).await;
    assert!(!service.shutdown.is_cancelled());
    fail.send(()).unwrap();
    assert_eq!(timeout(LONG, running).await.unwrap().unwrap(), Ended::Broken);
}

#[tokio::test]
async fn keys_behind_an_address_are_waited_for_and_an_outage_of_them_is_a_reason() {
    let service = service(&[("JWKS_URL", "http://127.0.0.1:1/keys")]);
    let running = start(&service).await;
    let reasons =
        eventually("a reason", async || Some(service.readiness.reasons()).filter(|all| !all.is_empty()));
    assert_eq!(reasons.await, ["keys of tokens: has not answered yet"]);
    service.shutdown.cancel();
    assert_eq!(timeout(LONG, running).await.unwrap().unwrap(), Ended::InOrder);
}
