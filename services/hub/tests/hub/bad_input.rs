//! What clients get wrong, or do on purpose.

use http::{Method, header};
use hyper::body::Bytes;
use serde_json::{Value, json};
use synapse_test_support::RedisServer;

use crate::support::{TestHub, append_old};

#[tokio::test(flavor = "multi_thread")]
async fn names_in_paths_may_be_anything_but_empty_huge_or_control_characters() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let huge = "x".repeat(513);
    for name in ["%00", "a%0Ab", "%7F", huge.as_str()] {
        assert_eq!(
            hub.get(&format!("/streams/{name}/info")).await.flat_error(),
            (400, "invalid_stream"),
            "{name}"
        );
        assert_eq!(hub.get(&format!("/dlq/{name}/g")).await.error(), (400, "invalid_stream"), "{name}");
        assert_eq!(hub.get(&format!("/dlq/s/{name}")).await.error(), (400, "invalid_group"), "{name}");
        let event = json!({"event": "x"});
        assert_eq!(
            hub.post(&format!("/events/{name}"), &event).await.error(),
            (400, "invalid_stream"),
            "{name}"
        );
    }
    assert_eq!(hub.get("/streams/%FF/info").await.flat_error(), (400, "invalid_path"));
    for name in ["a%2Fb", "%25", "%2e%2e", "%F0%9F%98%80", &huge[..512]] {
        hub.post(&format!("/events/{name}"), &json!({"event": "x"})).await.with(202);
        assert_eq!(hub.get(&format!("/streams/{name}/info")).await.with(200)["length"], 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_read_strictly() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    append_old(&redis, "s", 1, 3).await;
    for (query, code) in [
        ("count=0", "invalid_count"),
        ("count=1001", "invalid_count"),
        ("count=-1", "invalid_count"),
        ("count=1.5", "invalid_count"),
        ("count=", "invalid_count"),
        ("count=99999999999999999999", "invalid_count"),
        ("count=1&count=2", "repeated_parameter"),
        ("after=x", "invalid_id"),
        ("after=1-", "invalid_id"),
        ("before=99999999999999999999-0", "invalid_id"),
        ("before=2026-13-01T00:00:00Z", "invalid_id"),
        ("where=", "invalid_where"),
        ("where==1", "invalid_where"),
        ("where=a..b=1", "invalid_where"),
        ("cuont=1", "unknown_parameter"),
        ("%FF=1", "unknown_parameter"),
    ] {
        let answer = hub.get(&format!("/streams/s/messages?{query}")).await;
        assert_eq!(answer.flat_error(), (400, code), "{query}");
    }
    let many = (0..300).map(|n| format!("where=a={n}")).collect::<Vec<_>>().join("&");
    assert_eq!(hub.get(&format!("/streams/s/messages?{many}")).await.flat_error().0, 400);
    let none = hub.get("/streams?x=1").await;
    assert_eq!(none.flat_error(), (400, "unknown_parameter"));
    assert_eq!(none.body["error"], "unknown parameter \"x\"; there are none here");
    let cut_off = hub.get("/streams/s/messages?where=%7B%22a%22:%22b=c%22").await;
    assert_eq!(cut_off.flat_error(), (400, "invalid_where"));
    assert!(cut_off.body["error"].as_str().unwrap().contains("JSON"), "{}", cut_off.body);
    hub.get("/streams/s/messages?after=2026-11-23").await.with(200);
    let long = "x".repeat(513);
    assert_eq!(hub.get(&format!("/dlq/s/g?reason={long}")).await.error(), (400, "invalid_request"));
    assert_eq!(hub.get("/dlq/s/g?count=0").await.error(), (400, "invalid_count"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_what_is_expected_are_told_so() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[("MAX_BODY_BYTES", "2MiB")]).await;
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let nested = format!("{{\"event\":\"x\",\"a\":{}1{}}}", "[".repeat(126), "]".repeat(126));
    for (body, expected) in [
        (Bytes::from_static(b""), (400, "invalid_json")),
        (Bytes::from_static(b"{"), (400, "invalid_json")),
        (Bytes::from_static(b"{\"event\":\"\xff\"}"), (400, "invalid_json")),
        (Bytes::from_static(b"{\"event\":\"\\ud800\"}"), (400, "invalid_json")),
        (Bytes::from_static(b"{\"event\":\"x\",\"n\":1e999}"), (400, "invalid_json")),
        (Bytes::from(deep), (400, "invalid_json")),
        (Bytes::from_static(b"1"), (400, "invalid_request")),
        (Bytes::from_static(b"null"), (400, "invalid_request")),
        (Bytes::from_static(b"[]"), (400, "invalid_count")),
        (Bytes::from(Value::from(vec![json!({"event": "x"}); 1_001]).to_string()), (400, "invalid_count")),
        (Bytes::from(vec![b' '; (2 << 20) + 1]), (413, "body_too_large")),
    ] {
        let answer = hub.post_bytes("/events/s", body.clone()).await;
        assert_eq!(answer.error(), expected, "{:?}", &body[..body.len().min(40)]);
    }
    hub.post_bytes("/events/s", nested).await.with(202);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "\u{ff}"] {
        let request = hub.request(Method::POST, "/events/s").header(header::CONTENT_TYPE, kind.as_bytes());
        assert_eq!(hub.send(request, "{\"event\":\"x\"}").await.error(), (415, "not_json"), "{kind}");
    }
    let none = hub.request(Method::POST, "/events/s");
    assert_eq!(hub.send(none, "{\"event\":\"x\"}").await.error(), (415, "not_json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_replays_are_read_strictly() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    append_old(&redis, "s", 1, 3).await;
    redis::cmd("SET").arg("text").arg("x").exec(&mut redis.connection()).unwrap();
    for (request, expected) in [
        (json!({}), (400, "invalid_request")),
        (json!([]), (400, "invalid_request")),
        (json!({"stream": 1}), (400, "invalid_request")),
        (json!({"stream": "s", "form": "1"}), (400, "invalid_request")),
        (json!({"stream": "s", "limit": 0}), (400, "invalid_request")),
        (json!({"stream": "s", "limit": -1}), (400, "invalid_request")),
        (json!({"stream": "s", "events_per_second": 0}), (400, "invalid_request")),
        (json!({"stream": "s", "events_per_second": 5_000_000_000_u64}), (400, "invalid_request")),
        (json!({"stream": "s", "from": "soon"}), (400, "invalid_id")),
        (json!({"stream": "s", "to": ""}), (400, "invalid_id")),
        (json!({"stream": "s", "from": "x".repeat(513)}), (400, "invalid_request")),
        (json!({"stream": "s", "from": "5-0", "to": "4-9"}), (400, "invalid_request")),
        (json!(["s", null, null, null, null, null, null]), (400, "invalid_request")),
        (json!({"stream": "s:dlq", "onto": "s"}), (400, "invalid_stream")),
        (json!({"stream": "s", "where": "x"}), (400, "invalid_where")),
        (json!({"stream": "s", "where": {"": 1}}), (400, "invalid_where")),
        (json!({"stream": ""}), (400, "invalid_stream")),
        (json!({"stream": "s", "onto": "a\u{0}"}), (400, "invalid_stream")),
        (json!({"stream": "s", "onto": "s:dlq"}), (400, "invalid_stream")),
        (json!({"stream": "nowhere"}), (404, "stream_not_found")),
        (json!({"stream": "text"}), (409, "wrong_type")),
        (json!({"stream": "s", "onto": "text"}), (409, "wrong_type")),
    ] {
        assert_eq!(hub.post("/replay", &request).await.error(), expected, "{request}");
    }
    for (request, code) in [
        (json!([]), "invalid_request"),
        (json!([null, null, null]), "invalid_request"),
        (json!({"ids": []}), "invalid_request"),
        (json!({"reason": "x".repeat(513)}), "invalid_request"),
    ] {
        assert_eq!(hub.post("/dlq/s/g/replay", &request).await.error(), (400, code), "{request}");
    }
    for id in ["x", "%00", "synapse:trimmer", "01a20eee-b869-73e7-9c5b-de13534cb2c1"] {
        assert_eq!(hub.get(&format!("/replay/{id}")).await.error(), (404, "replay_not_found"), "{id}");
        assert_eq!(hub.delete(&format!("/replay/{id}")).await.error(), (404, "replay_not_found"), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_and_paths_are_answered_as_json() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let put = hub.send(hub.request(Method::PUT, "/streams"), "").await;
    assert_eq!(put.flat_error(), (405, "method_not_allowed"));
    let put = hub.send(hub.request(Method::PUT, "/dlq"), "").await;
    assert_eq!(put.error(), (405, "method_not_allowed"));
    let put = hub.send(hub.request(Method::PUT, "/streams"), "").await;
    assert_eq!(put.headers["allow"], "GET,HEAD");
    assert_eq!(hub.get("/nowhere").await.error(), (404, "route_not_found"));
    for stream in ["s:dlq", "synapse:trimmer"] {
        let answer = hub.post(&format!("/events/{stream}"), &json!({"event": "x"})).await;
        assert_eq!(answer.error(), (400, "invalid_stream"), "{stream}");
    }
}
