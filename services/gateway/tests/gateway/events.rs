//! Server-sent events: what comes, how one comes back, and how they end.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use synapse_chassis::service::Ended;
use synapse_gateway::position::Position;
use synapse_test_support::{RedisServer, eventually};
use tokio::time::timeout;

use crate::{
    event_source::{EventSource, refused},
    support::{Client, Publisher, TestGateway, assert_whole},
};

pub(crate) fn last_id(position: &str) -> String {
    format!("Last-Event-ID: {position}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_its_streams_name_its_position_and_the_payload_of_the_other_protocols() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("SSE_RETRY", "3s")]).await;
    let publisher = Publisher::new(&redis).await;
    let (mut source, subscribed) = EventSource::connect(gateway.port, "", "").await;
    let mut other = Client::connect(gateway.port, "").await;
    other.subscribe(json!({})).await;
    assert_eq!(subscribed["position"], source.last_event_id);
    assert_eq!(
        (&subscribed["recovered"], &subscribed["streams"][1]),
        (&json!(true), &json!("inference-events"))
    );
    assert!(source.retry.is_some_and(|retry| (1_500..=4_500).contains(&retry)), "{:?}", source.retry);
    for line in ["cache-control: no-store", "x-accel-buffering: no", "connection: close", "date: "] {
        assert!(source.head.contains(&format!("\r\n{line}")), "{line}: {}", source.head);
    }

    publisher.model("line\nbreak and \u{2028}").await;
    publisher.entry("agi-events", &[("event", "agi-decision"), ("reasoning", "why")]).await;
    for expected in ["model-event", "agi-decision-event"] {
        let (name, event) = source.event().await;
        let same = other.event().await;
        assert_eq!((name.as_str(), &event), (expected, &same["event"]));
        assert_eq!(source.last_event_id, same["position"], "positions are the same in all protocols");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_conditions_and_the_latest_are_chosen_by_the_address() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    let mut witness = Client::connect(gateway.port, "").await;
    witness.subscribe(json!({})).await;
    for name in ["a", "b", "c"] {
        publisher.model(name).await;
        publisher.inference(name, &[("region", "eu")]).await;
    }
    // Before that the gateway may not have them.
    for _ in 0..6 {
        witness.event().await;
    }
    let ask =
        async |query| EventSource::connect(gateway.port, query, "Accept: text/event-stream\r\n").await.0;
    let mut last = ask("?last=2&streams=model-events").await;
    let begin = Position::default().token();
    let object = format!("?where=%7B%22model_name%22%3A%5B%22a%22%2C%22end%22%5D%7D&after={begin}");
    let mut object = ask(&object).await;
    let mut terms = ask("?where=model_name%3Db&where=model_name=end&last=9").await;
    let mut two = ask("?streams=model-events,training-events&last=1").await;
    let mut repeated =
        ask("?streams=model-events&streams=inference-events&where=region=eu&where=model_name=c&last=5").await;
    publisher.end().await;
    publisher.inference("c", &[("region", "us")]).await;
    publisher.inference("c", &[("region", "eu"), ("request_id", "late")]).await;
    assert_eq!(last.models_until("end").await, ["b", "c"]);
    assert_eq!(object.models_until("end").await, ["a", "a"]);
    assert_eq!(terms.models_until("end").await, ["b", "b"]);
    assert_eq!(two.models_until("end").await, ["c"]);
    assert_eq!(repeated.entry().await["model_name"], "c");
    assert_eq!(repeated.entry().await["request_id"], "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_asked_for_is_refused_by_name() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    for (query, status, code) in [
        ("?stream=model-events", 400, "unknown_parameter"),
        ("?streams=model-event", 400, "unknown_stream"),
        ("?streams=", 400, "unknown_stream"),
        ("?where=model_name", 400, "invalid_where"),
        ("?where=%7B%22a%22", 400, "invalid_where"),
        ("?where=%5B1%5D", 400, "invalid_where"),
        ("?last=many", 400, "invalid_request"),
        ("?last=1001", 400, "invalid_request"),
        ("?last=-1", 400, "invalid_request"),
        ("?last=1&last=2", 400, "repeated_parameter"),
        ("?last=1&after=0-0&streams=model-events", 400, "invalid_request"),
        ("?after=yesterday", 400, "invalid_position"),
        ("?after=0-0", 400, "invalid_position"),
        ("?after=0-0&streams=model-events,error-events", 400, "invalid_position"),
        ("?userId=a&userId=b", 400, "repeated_parameter"),
    ] {
        assert_eq!(refused(gateway.port, query, "").await, (status, code.to_owned()), "{query}");
    }
    let (status, code, message) = EventSource::ask(gateway.port, "GET", "?stream=x", "").await.error().await;
    assert_eq!((status, code.as_str()), (400, "unknown_parameter"));
    assert!(message.contains("\"stream\"") && message.contains("streams, where, last, after"), "{message}");
    for id in ["yesterday", "1-2", "\u{fc}"] {
        assert_eq!(
            refused(gateway.port, "", &last_id(id)).await,
            (400, "invalid_position".to_owned()),
            "{id}"
        );
    }
    let twice = format!("{0}{0}", last_id("0-0"));
    assert_eq!(refused(gateway.port, "?streams=model-events", &twice).await.1, "invalid_position");
    let json = "Accept: application/json\r\n";
    assert_eq!(refused(gateway.port, "", json).await, (406, "not_acceptable".to_owned()));
    let long = format!("?userId={}", "x".repeat(1_000));
    assert_eq!(refused(gateway.port, &long, "").await, (400, "invalid_user".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_get_gets_events_and_head_their_head() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("MAX_CONNECTIONS_PER_ADDRESS", "1")]).await;
    for method in ["POST", "PUT", "DELETE"] {
        let source = EventSource::ask(gateway.port, method, "", "Content-Length: 0\r\n").await;
        assert!(source.head.contains("\r\nallow: get, head\r\n"), "{}", source.head);
        let (status, code, _) = source.error().await;
        assert_eq!((status, code.as_str()), (405, "method_not_allowed"));
    }
    for _ in 0..2 {
        let head = EventSource::ask(gateway.port, "HEAD", "", "").await;
        assert_eq!(head.status, 200, "it takes no place");
        assert!(head.head.contains("content-type: text/event-stream"));
    }
    EventSource::connect(gateway.port, "", "").await;
}

// === coming back ===

/// Reads everything in portions, each over a new connection to the next of the gateways, as an `EventSource` would.
async fn in_portions(redis: &RedisServer, gateways: &[TestGateway], total: usize, portion: usize) {
    let (mut source, _) = EventSource::connect(gateways[0].port, "?last=3", "").await;
    let url = redis.url();
    let publishing = tokio::spawn(async move {
        let settings = synapse_rs::RedisSettings::from_url(&url).unwrap();
        let connection = synapse_rs::stream::Connection::open(&settings).await.unwrap();
        let mut published = BTreeMap::<String, Vec<String>>::new();
        for number in 0..total {
            let stream = ["model-events", "training-events"][number % 2];
            let event = ["model-updated", "training-progress"][number % 2];
            let fields = [("event", event), ("model_name", "m")];
            let id = connection.append(stream, fields, None).await.unwrap();
            published.entry(stream.to_owned()).or_default().push(id.to_string());
        }
        published
    });
    let mut got = Vec::new();
    for gateway in gateways.iter().cycle().skip(1) {
        for _ in 0..portion.min(total - got.len()) {
            let event = source.entry().await;
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            got.push((text("stream"), text("id")));
        }
        if got.len() == total {
            break;
        }
        let headers = last_id(&source.last_event_id);
        let (next, subscribed) = EventSource::connect(gateway.port, "?last=3", &headers).await;
        assert_eq!(subscribed["recovered"], true);
        source = next;
    }
    assert_whole(&got, &publishing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_under_load_misses_nothing_and_gets_nothing_twice() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    in_portions(&redis, &[gateway], 2_000, 37).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_whose_past_is_in_redis_only_or_who_goes_to_another_replica() {
    let redis = RedisServer::new();
    let short = [("HISTORY_EVENTS", "7")];
    let gateways = [TestGateway::start(&redis, &short).await, TestGateway::start(&redis, &[]).await];
    in_portions(&redis, &gateways, 2_000, 41).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn last_event_id_goes_before_what_the_address_says() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    let one = publisher.model("one").await;
    let two = publisher.model("two").await;
    publisher.model("three").await;
    let after = format!("?streams=model-events&after={one}");
    let (mut first, _) = EventSource::connect(gateway.port, &after, "").await;
    assert_eq!(first.entry().await["model_name"], "two");
    let (mut again, _) = EventSource::connect(gateway.port, &after, &last_id(&two)).await;
    assert_eq!(again.entry().await["model_name"], "three");
    let headers = last_id(&first.last_event_id);
    let (mut latest, _) = EventSource::connect(gateway.port, "?last=100", &headers).await;
    assert_eq!(latest.entry().await["model_name"], "three");
    // An empty one is none.
    let (mut empty, _) = EventSource::connect(gateway.port, &after, &last_id("")).await;
    assert_eq!(empty.entry().await["model_name"], "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_not_be_brought_back_whole_is_told() {
    let redis = RedisServer::new();
    let publisher = Publisher::new(&redis).await;
    let first = publisher.model("gone").await;
    publisher.model("also gone").await;
    publisher.model("kept").await;
    let trim = ["model-events", "MAXLEN", "=", "1"];
    redis::cmd("XTRIM").arg(&trim).exec(&mut redis.connection()).unwrap();
    let gateway = TestGateway::start(&redis, &[]).await;
    let (mut source, subscribed) =
        EventSource::connect(gateway.port, "?streams=model-events", &last_id(&first)).await;
    assert_eq!(subscribed["recovered"], false);
    assert_eq!(source.entry().await["model_name"], "kept");
    // A position of a Redis that has been further.
    let (_, subscribed) =
        EventSource::connect(gateway.port, "?streams=model-events", &last_id("99999999999999-0")).await;
    assert_eq!(subscribed["recovered"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_connection_learns_its_position_and_hears_a_comment() {
    let redis = RedisServer::new();
    let settings = [("POSITION_INTERVAL", "100ms"), ("SSE_COMMENT_INTERVAL", "70ms")];
    let gateway = TestGateway::start(&redis, &settings).await;
    let publisher = Publisher::new(&redis).await;
    let (mut source, subscribed) = EventSource::connect(gateway.port, "?streams=training-events", "").await;
    for number in 0..5 {
        publisher.model(&number.to_string()).await;
    }
    let (mut comments, mut positions) = (0, 0);
    while comments < 3 || positions < 1 {
        let block = source.block().await.unwrap();
        if block.is_comment {
            assert_eq!((block.event.as_str(), block.data.as_str()), ("", ""));
            comments += 1;
        } else {
            assert_eq!(block.event, "position");
            assert_eq!(block.data, json!({ "position": source.last_event_id }).to_string());
            positions += 1;
        }
    }
    assert_ne!(subscribed["position"], source.last_event_id);
    let (mut late, _) = EventSource::connect(gateway.port, "", &last_id(&source.last_event_id)).await;
    publisher.model("next").await;
    assert!(late.models_until("next").await.len() < 5, "the position says nothing");
}

// === how it ends ===

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_read_is_closed_with_whole_events_and_the_others_get_everything() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("OUTBOX_BYTES", "64KiB")]).await;
    let publisher = Publisher::new(&redis).await;
    let (mut slow, _) = EventSource::connect(gateway.port, "", "").await;
    let (mut quick, _) = EventSource::connect(gateway.port, "", "").await;
    let filler = "x".repeat(8_000);
    let (mut ids, mut got) = (Vec::new(), Vec::new());
    for number in 0..2_000 {
        ids.push(publisher.inference(&number.to_string(), &[("filler", &filler)]).await);
        got.push(("inference-events".to_owned(), quick.entry().await["id"].as_str().unwrap().to_owned()));
    }
    let whole = [("inference-events".to_owned(), ids)].into();
    assert_whole(&got, &whole);

    let mut slowly = Vec::new();
    let closing = loop {
        let (name, data) = slow.event().await;
        if name == "closing" {
            break data;
        }
        slowly.push(("inference-events".to_owned(), data["id"].as_str().unwrap().to_owned()));
    };
    assert_eq!((&closing["code"], &closing["reason"]), (&json!(3001), &json!("slow_client")));
    assert_eq!(slow.block().await, None);
    assert!(slowly.len() < 2_000, "the socket alone held everything; the test proves nothing");
    let (mut again, subscribed) = EventSource::connect(gateway.port, "", &last_id(&slow.last_event_id)).await;
    assert_eq!(subscribed["recovered"], true);
    while slowly.len() < 2_000 {
        slowly.push(("inference-events".to_owned(), again.entry().await["id"].as_str().unwrap().to_owned()));
    }
    assert_whole(&slowly, &whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_takes_nothing_for_long_is_given_up_before_its_outbox_is_full() {
    let redis = RedisServer::new();
    let settings = [
        ("PING_INTERVAL", "200ms"),
        ("PING_TIMEOUT", "200ms"),
        ("MAX_CONNECTIONS_PER_ADDRESS", "1"),
        ("OUTBOX_BYTES", "1GiB"),
    ];
    let gateway = TestGateway::start(&redis, &settings).await;
    let publisher = Publisher::new(&redis).await;
    let (silent, _) = EventSource::connect(gateway.port, "", "").await;
    let filler = "x".repeat(500_000);
    for number in 0..40 {
        publisher.inference(&number.to_string(), &[("filler", &filler)]).await;
    }
    eventually("its place to be free", async || {
        (EventSource::ask(gateway.port, "GET", "", "").await.status == 200).then_some(())
    })
    .await;
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_talks_is_borne_with_but_not_for_ever() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("MAX_MESSAGE_BYTES", "1KiB")]).await;
    let (mut source, _) = EventSource::connect(gateway.port, "", "").await;
    assert!(source.send(&[b'x'; 1_000]).await);
    Publisher::new(&redis).await.model("still").await;
    assert_eq!(source.entry().await["model_name"], "still");
    source.send(&[b'x'; 100]).await;
    assert_eq!(source.closing().await["code"], 3502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_leaves_says_when_to_come_back_each_at_another_time() {
    let redis = RedisServer::new();
    let settings = [("SSE_RETRY", "10ms"), ("SHUTDOWN_GRACE", "60s")];
    let gateway = TestGateway::start(&redis, &settings).await;
    let mut sources = Vec::new();
    for _ in 0..8 {
        sources.push(EventSource::connect(gateway.port, "", "").await.0);
    }
    assert!(sources.iter().all(|source| source.retry.is_some_and(|retry| retry <= 15)));
    let leaving = tokio::spawn(gateway.stop());
    let mut retries = Vec::new();
    for source in &mut sources {
        let closing = source.closing().await;
        assert_eq!((&closing["code"], &closing["reason"]), (&json!(3000), &json!("draining")));
        retries.push(source.retry.unwrap());
    }
    drop(sources);
    retries.sort_unstable();
    assert!(retries[7] <= 60_015 && retries[7] - retries[0] > 1_000, "not spread: {retries:?}");
    assert_eq!(timeout(Duration::from_secs(20), leaving).await.unwrap().unwrap(), Ended::InOrder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_and_returns_costs_listeners_nothing() {
    let mut redis = RedisServer::durable();
    let gateway = TestGateway::start(&redis, &[]).await;
    let (mut source, _) = EventSource::connect(gateway.port, "", "").await;
    Publisher::new(&redis).await.model("before").await;
    assert_eq!(source.entry().await["model_name"], "before");
    redis.kill();
    redis.start();
    let publisher = Publisher::new(&redis).await;
    for name in ["one", "two", "end"] {
        publisher.model(name).await;
    }
    assert_eq!(source.models_until("end").await, ["one", "two"]);
}

// === who comes too early, or too often ===
