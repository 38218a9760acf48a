//! What is said beside the events, to users on whichever replica they are.

use serde_json::{Value, json};
use synapse_chassis::service::Ended;
use synapse_test_support::RedisServer;

use crate::{
    limits::exchange,
    support::{Client, Heard, Publisher, SocketIoClient, TestGateway, token},
};

async fn emit(gateway: &TestGateway, token: Option<&str>, body: &str) -> (u16, Value) {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let headers =
        format!("{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let (status, answer) = exchange(gateway.port, "POST /emit/gamification", &headers, body).await;
    (status, serde_json::from_str(&answer).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_progress_is_told_on_every_replica_and_to_nobody_else() {
    let redis = RedisServer::new();
    let replicas = [TestGateway::start(&redis, &[]).await, TestGateway::start(&redis, &[]).await];
    let other = json!({"userId": "7"});
    let mut others = SocketIoClient::connect(replicas[1].port, "", &other).await;
    let mut here = SocketIoClient::connect(replicas[0].port, "", &json!({"userId": "42"})).await;
    let mut there = SocketIoClient::connect(replicas[1].port, "", &json!({"userId": 42})).await;
    let mut by_websocket = Client::connect(replicas[1].port, "?userId=42").await;
    let body = json!({"userId": 42, "type": "level-up", "data": {"level": 3}}).to_string();
    assert_eq!(emit(&replicas[0], None, &body).await, (200, json!({"success": true})));
    for client in [&mut here, &mut there] {
        let (name, said) = client.event().await;
        assert_eq!(name, "gamification:event");
        assert_eq!((&said["type"], &said["data"]["level"]), (&json!("level-up"), &json!(3)));
        assert!(said["timestamp"].is_string());
    }
    let said = by_websocket.hear().await;
    assert_eq!((&said["type"], &said["data"]["type"]), (&json!("gamification:event"), &json!("level-up")));
    let publisher = Publisher::new(&redis).await;
    publisher.end().await;
    assert_eq!(others.models_until("end").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_speak_to_users_is_told_so() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    let body = json!({"userId": "42", "type": "t", "data": {}}).to_string();
    let may_not = token(&json!({"sub": "42", "scope": "events:all"}));
    let may = token(&json!({"sub": "service", "scope": "events:publish"}));
    assert_eq!(emit(&gateway, None, &body).await.0, 401);
    let (status, error) = emit(&gateway, Some(&may_not), &body).await;
    assert_eq!((status, error["code"].as_str()), (403, Some("scope_missing")), "{error}");
    assert_eq!(emit(&gateway, Some(&may), &body).await.0, 200);
    for bad in ["", "[]", "{}", r#"{"userId":{},"type":"t"}"#, r#"{"userId":"42","type":""}"#, "{\"userId\":"]
    {
        let (status, error) = emit(&gateway, Some(&may), bad).await;
        assert!(status == 400 && error["error"].is_string() && error["code"].is_string(), "{bad}: {error}");
    }
    let (status, error) = exchange(gateway.port, "GET /emit/gamification", "", "").await;
    let error: Value = serde_json::from_str(&error).unwrap();
    assert_eq!((status, error["code"].as_str()), (405, Some("method_not_allowed")), "{error}");
    let long = json!({"userId": "x".repeat(300), "type": "t"}).to_string();
    assert_eq!(emit(&gateway, Some(&may), &long).await.1["field"], "userId");
    let large = json!({"userId": "42", "type": "t", "data": "x".repeat(70_000)}).to_string();
    assert_eq!(emit(&gateway, Some(&may), &large).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_told_on_every_replica_once_and_not_to_who_tells_it() {
    let redis = RedisServer::new();
    let replicas = [TestGateway::start(&redis, &[]).await, TestGateway::start(&redis, &[]).await];
    let room = "&room=adventure_9";
    let mut teller = SocketIoClient::connect(replicas[0].port, room, &json!({})).await;
    let mut near = SocketIoClient::connect(replicas[0].port, room, &json!({})).await;
    let mut far = SocketIoClient::connect(replicas[1].port, room, &json!({})).await;
    for number in 0..3 {
        assert_eq!(teller.ask("presence:update", &json!({"n": number})).await, json!({"ok": true}));
    }
    for client in [&mut near, &mut far] {
        for number in 0..3 {
            assert_eq!(client.event().await, ("presence:update".to_owned(), json!({"n": number})));
        }
    }
    // The far one answers behind all that was told there; the teller hears that and nothing of its own.
    assert_eq!(far.ask("presence:update", &json!("over")).await, json!({"ok": true}));
    for client in [&mut teller, &mut near] {
        assert_eq!(client.event().await, ("presence:update".to_owned(), json!("over")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_come_here_too_each_once() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut client = SocketIoClient::connect(gateway.port, "", &json!({"userId": "42"})).await;
    let mut other = SocketIoClient::connect(gateway.port, "", &json!({"userId": "7"})).await;
    let publisher = Publisher::new(&redis).await;
    let ids = ["01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"];
    for id in [ids[0], ids[0], ids[1]] {
        let fields = [
            ("event", "notification"),
            ("user_id", "42"),
            ("notification_id", id),
            ("type", "task-completed"),
            ("message", "Task completed successfully"),
            ("data", "{\"task_id\":\"t\"}"),
            ("timestamp", "2026-11-25T10:00:00.000000Z"),
        ];
        publisher.entry("synapse:notifications", &fields).await;
    }
    for id in ids {
        let (name, shown) = client.event().await;
        assert_eq!((name.as_str(), &shown["id"]), ("notification", &json!(id)));
        assert_eq!((&shown["type"], &shown["data"]), (&json!("task-completed"), &json!({"task_id": "t"})));
    }
    publisher.end().await;
    assert_eq!(other.models_until("end").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_been_told_to_leave_is_told_everything() {
    // Told in portions of a hundred, with pauses in between.
    const CLIENTS: usize = 800;
    let redis = RedisServer::new();
    let replicas = [TestGateway::start(&redis, &[]).await, TestGateway::start(&redis, &[]).await];
    let mut clients = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        clients.push(Client::connect(replicas[0].port, "?userId=42").await);
    }
    replicas[0].service.shutdown.cancel();
    let body = json!({"userId": "42", "type": "said while it leaves"}).to_string();
    assert_eq!(emit(&replicas[1], None, &body).await.0, 200);
    let mut told = 0;
    for client in &mut clients {
        while let Heard::Text(text) = client.socket.hear().await {
            told += usize::from(text.contains("said while it leaves"));
        }
    }
    assert!(told > 0, "nobody was told");
    assert_eq!(replicas.into_iter().next().unwrap().stop().await, Ended::InOrder);
}
