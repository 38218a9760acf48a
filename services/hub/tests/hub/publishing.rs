//! Publishing over HTTP.

use serde_json::{Value, json};
use synapse_chassis::service::Ended;
use synapse_rs::EntryId;
use synapse_test_support::{RedisServer, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{TestHub, connect};

fn login(n: usize) -> Value {
    json!({"event": "user-login", "service": "auth", "action": "login", "n": n})
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_or_a_list_is_on_the_stream_when_it_is_answered() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let one = hub.post("/events/platform-events", &login(0)).await.with(202);
    assert_eq!((&one["stream"], &one["count"]), (&json!("platform-events"), &json!(1)));
    let mut list: Vec<_> = (1..=1_000).map(login).collect();
    list[4]["event_id"] = json!("mine");
    let many = hub.post("/events/platform-events", &Value::from(list)).await.with(202);
    assert_eq!(many["event_ids"][4], "mine");
    let entries =
        connect(&redis).await.range("platform-events", EntryId::MIN, EntryId::MAX, 10_000).await.unwrap();
    let ids: Vec<_> = entries.iter().map(|entry| json!(entry.id.to_string())).collect();
    assert_eq!(ids[0], one["ids"][0]);
    assert_eq!(Value::from(&ids[1..]), many["ids"]);
    let field = |n: usize, name: &str| {
        let found = entries[n].fields().find(|(field, _)| *field == name.as_bytes());
        String::from_utf8_lossy(found.unwrap().1).into_owned()
    };
    assert!((0..=1_000).all(|n| field(n, "n") == n.to_string()));
    assert_eq!(json!(field(7, "event_id")), many["event_ids"][6]);
    assert_eq!((field(5, "event_id").as_str(), field(0, "source").as_str()), ("mine", "synapse-hub"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_invalid_event_keeps_all_from_being_published_and_is_named() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let complete = json!({"event": "inference-complete", "model_name": "m", "version": "1", "latency_ms": 1});
    let change = |field: &str, value: Value| {
        let mut event = complete.clone();
        event[field] = value;
        event
    };
    let fields: serde_json::Map<_, _> = (0..10_000).map(|n| (format!("f{n}"), json!(n))).collect();
    let mut many = complete.clone();
    many.as_object_mut().unwrap().extend(fields);
    let cases = [
        (json!({"event": "inference-complete", "model_name": "m", "version": "1"}), "latency_ms"),
        (change("latency_ms", json!("fast")), "latency_ms"),
        (change("model_name", json!(7)), "model_name"),
        (change("event", json!("")), "event"),
        (change("event", json!(null)), "event"),
        (change("event_id", json!(7)), "event_id"),
        (change("text", json!("x".repeat((1 << 20) + 1))), "text"),
        (change("_strings", json!("x")), "_strings"),
        (json!({}), "event"),
        (json!(1), ""),
        (json!(null), ""),
    ];
    for (event, field) in cases {
        let answer = hub.post("/events/inference-events", &json!([complete, event])).await;
        assert_eq!(answer.error(), (400, "invalid_event"));
        assert_eq!(
            (&answer.body["error"]["index"], &answer.body["error"]["field"]),
            (&json!(1), &json!(field))
        );
    }
    let answer = hub.post("/events/inference-events", &many).await;
    assert!(answer.body["error"]["message"].as_str().unwrap().contains("128"), "{}", answer.body);
    assert_eq!(connect(&redis).await.length("inference-events").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integer_that_would_become_another_number_is_refused() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let body = r#"[{"event": "x", "n": 18446744073709551615}, {"event": "x", "n": 18446744073709551616}]"#;
    let answer = hub.post_bytes("/events/s", body).await;
    assert_eq!(answer.error(), (400, "invalid_event"));
    assert_eq!((&answer.body["error"]["index"], &answer.body["error"]["field"]), (&json!(1), &json!("n")));
    assert_eq!(connect(&redis).await.length("s").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_event_id_is_none() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let answer = hub.post("/events/s", &json!({"event": "x", "event_id": ""})).await.with(202);
    let id = answer["event_ids"][0].as_str().unwrap();
    assert!(!id.is_empty());
    let shown = hub.get("/streams/s/messages").await.with(200);
    assert_eq!(shown["messages"][0]["data"]["event_id"], id);
}

/// Sends the head of a request and a part of its body, which begins as JSON.
async fn upload(hub: &TestHub, length: usize, part: usize) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", hub.port)).await.unwrap();
    let head = format!(
        "POST /events/s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // It is in hand once the body is asked for.
    let mut answer = vec![0; 25];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(&vec![b' '; part]).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_bodies_that_do_not_come_hold_up_nobody_and_end() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[("MAX_BODY_BYTES", "4MiB"), ("BODIES_BYTES", "160MiB")]).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(upload(&hub, 4 << 20, 1_000).await);
    }
    hub.post("/events/s", &login(0)).await.with(202);
    for mut socket in slow {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_take_all_memory_are_answered_with_503_and_give_it_back() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[("MAX_BODY_BYTES", "4MiB"), ("BODIES_BYTES", "160MiB")]).await;
    let holding = upload(&hub, 4 << 20, (4 << 20) - 1).await;
    eventually("the memory is taken", async || {
        let answer = hub.post("/events/s", &json!({"event": "x", "text": "x".repeat(50_000)})).await;
        (answer.status == 503 && answer.body["error"]["code"] == "busy").then_some(())
    })
    .await;
    drop(holding);
    eventually("it is given back", async || {
        (hub.post("/events/s", &login(0)).await.status == 202).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_stream_is_a_conflict() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    redis::cmd("SET").arg("platform-events").arg("a string").exec(&mut redis.connection()).unwrap();
    let answer = hub.post("/events/platform-events", &json!([login(0), login(1)])).await;
    assert_eq!(answer.error(), (409, "wrong_type"));
    assert_eq!((&answer.body["ids"], &answer.body["accepted"]), (&json!([null, null]), &json!(0)));
    assert_eq!(hub.get("/streams/platform-events/info").await.flat_error(), (409, "wrong_type"));
    assert_eq!(hub.get("/streams/platform-events/messages").await.flat_error(), (409, "wrong_type"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_it_says_which_events_have_ids_and_they_arrive_later() {
    let mut redis = RedisServer::durable();
    let hub = TestHub::start(&redis, &[("PUBLISH_TIMEOUT", "300ms")]).await;
    hub.post("/events/platform-events", &login(0)).await.with(202);
    redis.kill();
    let answer = hub.post("/events/platform-events", &json!([login(1), login(2)])).await;
    assert_eq!(answer.error(), (503, "redis_unavailable"));
    assert_eq!((&answer.body["ids"], &answer.body["accepted"]), (&json!([null, null]), &json!(2)));
    assert_eq!(answer.headers["retry-after"], "1");
    redis.start();
    let connection = connect(&redis).await;
    eventually("the accepted events arrive", async || {
        (connection.length("platform-events").await.unwrap() == 3).then_some(())
    })
    .await;
    assert_eq!(hub.stop().await, Ended::InOrder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_answered_with_what_was_taken() {
    let mut redis = RedisServer::durable();
    let settings = [("PUBLISH_TIMEOUT", "200ms"), ("QUEUE_BYTES", "2MiB"), ("SHUTDOWN_GRACE", "1s")];
    let hub = TestHub::start(&redis, &settings).await;
    redis.kill();
    let large: Vec<_> = (0..4)
        .map(|n| {
            let mut event = login(n);
            event["text"] = json!("x".repeat(900_000));
            event
        })
        .collect();
    let answer = hub.post("/events/platform-events", &Value::from(large)).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body["accepted"], 2);
    assert_eq!(answer.body["event_ids"].as_array().unwrap().len(), 4);
    redis.start();
    let connection = connect(&redis).await;
    eventually("what was accepted arrives", async || {
        (connection.length("platform-events").await.unwrap() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_hand_is_finished_when_the_hub_leaves() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let mut socket = TcpStream::connect(("127.0.0.1", hub.port)).await.unwrap();
    let body = login(0).to_string();
    let head = format!(
        "POST /events/platform-events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // It is in hand once the body is asked for.
    let mut answer = vec![0; 25];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    hub.service.shutdown.cancel();
    socket.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(connect(&redis).await.length("platform-events").await.unwrap(), 1);
    assert_eq!(hub.stop().await, Ended::InOrder);
}
