use axum::body::{Body, to_bytes};
use http::Request;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;

async fn get_json(router: Router, path: &str) -> (StatusCode, Value) {
    let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 4096).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn unready_until_each_condition_was_met_once_and_again_while_draining() {
    let draining = Shutdown::new();
    let readiness = Readiness::new(draining.clone());
    let (redis, history) = (readiness.condition("redis"), readiness.condition("history"));
    let router = operations(readiness.clone(), None);

    let (status, body) = get_json(router.clone(), "/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let reasons = json!(["redis: has not answered yet", "history: has not answered yet"]);
    assert_eq!(body, json!({ "status": "unready", "reasons": reasons }));

    redis.waiting_because("connection refused");
    history.met();
    assert_eq!(readiness.reasons(), ["redis: connection refused"]);
    redis.met();
    assert_eq!(
        get_json(router.clone(), "/ready").await,
        (StatusCode::OK, json!({ "status": "ready", "reasons": [] }))
    );

    // An outage later is not unreadiness.
    redis.waiting_because("connection refused");
    assert!(readiness.is_ready());

    draining.cancel();
    let (status, body) = get_json(router, "/ready").await;
    assert_eq!((status, &body["reasons"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(["draining"])));
}

#[tokio::test]
async fn health_names_the_service() {
    let about = About {
        name: "synapse-x",
        version: "1.0",
        summary: "x",
        default_port: 1,
        variables: &[],
        shared: &[],
        commands: &[],
    };
    let (status, body) = get_json(health(&about), "/health").await;
    assert_eq!(
        (status, &body["status"], &body["service"]),
        (StatusCode::OK, &json!("healthy"), &json!("synapse-x"))
    );
}
