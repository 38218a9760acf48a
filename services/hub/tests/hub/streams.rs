//! Looking at streams and their entries.

use serde_json::json;
use synapse_test_support::RedisServer;

use crate::support::{TestHub, append_old, connect, read_as_group};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_entries_is_no_larger_than_it_may_be() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let connection = connect(&redis).await;
    for n in 0..640 {
        let value = "x".repeat(if n < 600 { 10 } else { 1_000_000 });
        connection.append("large", [("v", value)], None).await.unwrap();
    }
    let mut after = "0".to_owned();
    let mut found = 0;
    loop {
        let page = hub.get(&format!("/streams/large/messages?count=1000&after={after}")).await.with(200);
        let messages = page["messages"].as_array().unwrap();
        let bytes: usize = messages.iter().map(|message| message["data"]["v"].as_str().unwrap().len()).sum();
        assert!(bytes <= 16 << 20, "{bytes}");
        found += messages.len();
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    assert_eq!(found, 640);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_listed_with_their_groups_and_lag() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    assert_eq!(hub.get("/streams").await.with(200), json!({"streams": [], "count": 0, "truncated": false}));
    append_old(&redis, "model-events", 1, 10).await;
    append_old(&redis, "a/b ü", 1, 1).await;
    let ids = read_as_group(&redis, "model-events", "cyrex-runtime", 4).await;
    let list = hub.get("/streams").await.with(200);
    assert_eq!((&list["count"], &list["streams"][0]["name"]), (&json!(2), &json!("a/b ü")));
    let stream = &list["streams"][1];
    assert_eq!(stream["length"], 10);
    assert_eq!(stream["first_id"], ids[0].to_string());
    assert!(stream["bytes"].as_u64().unwrap() > 100 && stream["last_id"] != stream["first_id"], "{stream}");
    let group = &stream["groups"][0];
    assert_eq!(
        (&group["name"], &group["lag"], &group["pending"], &group["last_delivered_id"]),
        (&json!("cyrex-runtime"), &json!(6), &json!(4), &json!(ids[3].to_string()))
    );
    assert!(group["oldest_pending_ms"].is_u64());

    let info = hub.get("/streams/a%2Fb%20%C3%BC/info").await.with(200);
    assert_eq!(
        (&info["stream"], &info["length"], &info["first_entry"]["data"]["n"]),
        (&json!("a/b ü"), &json!(1), &json!(0))
    );
    assert_eq!(hub.get("/streams/nowhere/info").await.flat_error(), (404, "stream_not_found"));
}

fn numbers(page: &serde_json::Value) -> Vec<u64> {
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(page["count"], messages.len());
    messages.iter().map(|message| message["data"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_paged_from_either_end_without_gap_or_repetition() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    append_old(&redis, "model-events", 1, 25).await;
    for (first, step) in [("", "before"), ("&after=0", "after")] {
        let (mut found, mut query) = (Vec::new(), first.to_owned());
        loop {
            let page = hub.get(&format!("/streams/model-events/messages?count=10{query}")).await.with(200);
            found.extend(numbers(&page));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("&{step}={next}");
        }
        if step == "before" {
            found.reverse();
        }
        assert_eq!(found, (0..25).collect::<Vec<_>>(), "{step}");
    }
    let all = hub.get("/streams/model-events/messages?after=0").await.with(200);
    let id = |n: usize| all["messages"][n]["id"].as_str().unwrap().to_owned();
    let between = format!("/streams/model-events/messages?after={}&before={}", id(3), id(7));
    assert_eq!(numbers(&hub.get(&between).await.with(200)), [4, 5, 6]);
    let none = hub.get("/streams/model-events/messages?before=0-0").await.with(200);
    assert_eq!((numbers(&none).len(), none["next"].is_null()), (0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_chosen_by_time_and_condition() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    append_old(&redis, "model-events", 5, 10).await;
    append_old(&redis, "model-events", 3, 3).await;
    let time = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(4);
    let since = hub.get(&format!("/streams/model-events/messages?after={time}")).await.with(200);
    assert_eq!(numbers(&since), [0, 1, 2]);
    let chosen = |query: &str| format!("/streams/model-events/messages?after=0&{query}");
    assert_eq!(numbers(&hub.get(&chosen("where=n%3D7")).await.with(200)), [7]);
    assert_eq!(numbers(&hub.get(&chosen("where=n=7&where=n=8")).await.with(200)), [7, 8]);
    let object = chosen("where=%7B%22n%22%3A%5B1%2C2%5D%2C%22event%22%3A%22tested%22%7D");
    assert_eq!(numbers(&hub.get(&object).await.with(200)), [1, 2, 1, 2]);
    assert_eq!(hub.get(&chosen("where=n")).await.flat_error(), (400, "invalid_where"));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_no_events_are_shown_as_they_are() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let connection = connect(&redis).await;
    connection.append("inference-events", [("created", "1")], None).await.unwrap();
    let invalid = [(&b"event"[..], &b"inference-complete"[..]), (b"latency_ms", b"soon"), (b"raw", b"\xff")];
    connection.append("inference-events", invalid, None).await.unwrap();
    let page = hub.get("/streams/inference-events/messages?after=0").await.with(200);
    assert_eq!(page["messages"][0]["data"], json!({"created": "1"}));
    assert_eq!(page["messages"][1]["data"]["latency_ms"], "soon");
    assert!(page["messages"][1]["error"].as_str().unwrap().contains("latency_ms"), "{page}");
    let chosen = hub.get("/streams/inference-events/messages?where=latency_ms=soon").await.with(200);
    assert_eq!(chosen["count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_entries_come_in_small_pages() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let connection = connect(&redis).await;
    for n in 0..40 {
        let fields = [("event", "x".to_owned()), ("n", n.to_string()), ("text", "x".repeat(1 << 20))];
        connection.append("s", fields, None).await.unwrap();
    }
    let (mut found, mut after, mut pages) = (Vec::new(), "0".to_owned(), 0);
    loop {
        let page = hub.get(&format!("/streams/s/messages?count=1000&after={after}")).await.with(200);
        pages += 1;
        assert!(page["count"].as_u64().unwrap() <= 32, "{}", page["count"]);
        found.extend(numbers(&page));
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    assert_eq!(found, (0..40).collect::<Vec<_>>());
    assert!(pages > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_known_events_and_the_routes_are_described() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let schemas = hub.get("/schemas").await.with(200);
    let of = |event: &str| {
        let found = schemas["schemas"].as_array().unwrap().iter().find(|entry| entry["event"] == event);
        found.unwrap_or_else(|| panic!("no schema of {event}"))["schema"].clone()
    };
    assert_eq!(of("error")["required"], json!(["event", "error_type", "error_message"]));
    let openapi = hub.get("/openapi.json").await.with(200);
    for path in ["/streams", "/events/{stream}", "/dlq/{stream}/{group}/replay", "/replay/{id}", "/schemas"] {
        assert!(openapi["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_redis_is_answered_with_503_and_ends_by_itself() {
    let mut redis = RedisServer::durable();
    let hub = TestHub::start(&redis, &[("REQUEST_TIMEOUT", "2s")]).await;
    append_old(&redis, "model-events", 1, 3).await;
    redis.kill();
    let answer = hub.get("/streams").await;
    assert_eq!(answer.flat_error(), (503, "redis_unavailable"));
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(!answer.body.to_string().contains(&redis.port().to_string()), "{}", answer.body);
    assert_eq!(hub.get("/dlq").await.error(), (503, "redis_unavailable"));
    assert_eq!(hub.get("/ready").await.status, 200);
    redis.start();
    synapse_test_support::eventually("streams are listed again", async || {
        (hub.get("/streams").await.status == 200).then_some(())
    })
    .await;
}
