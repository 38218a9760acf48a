//! Coming back without a gap and without a repeat.

use std::collections::BTreeMap;

use serde_json::json;
use synapse_gateway::position::Position;
use synapse_rs::EntryId;
use synapse_test_support::RedisServer;
use tokio::task::JoinHandle;

use crate::support::{Client, Publisher, TestGateway, assert_whole};

const STREAMS: [&str; 2] = ["model-events", "inference-events"];

/// Publishes in the background, in turns on both streams; the ids in the end.
fn publish(redis: &RedisServer, count: usize) -> JoinHandle<BTreeMap<String, Vec<String>>> {
    let url = redis.url();
    tokio::spawn(async move {
        let settings = synapse_rs::RedisSettings::from_url(&url).unwrap();
        let connection = synapse_rs::stream::Connection::open(&settings).await.unwrap();
        let mut published = BTreeMap::<String, Vec<String>>::new();
        for number in 0..count {
            let stream = STREAMS[number % 2];
            let name = number.to_string();
            let (event, latency) =
                if number % 2 == 0 { ("model-ready", "") } else { ("inference-complete", "1") };
            let mut fields = vec![("event", event), ("model_name", name.as_str()), ("version", "1")];
            if !latency.is_empty() {
                fields.push(("latency_ms", latency));
            }
            let id = connection.append(stream, fields.iter().copied(), None).await.unwrap();
            published.entry(stream.to_owned()).or_default().push(id.to_string());
        }
        published
    })
}

/// Takes so many events, noting them and the last position.
async fn take(client: &mut Client, count: usize, got: &mut Vec<(String, String)>) -> String {
    let mut position = String::new();
    for _ in 0..count {
        let event = client.event().await;
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        got.push((text("stream"), text("id")));
        position = text("position");
    }
    position
}

/// Reads everything in portions, each over a new connection to the next of the gateways.
async fn in_portions(redis: &RedisServer, gateways: &[TestGateway], total: usize, portion: usize) {
    let mut first = Client::connect(gateways[0].port, "").await;
    let begin = first.subscribe(json!({})).await;
    let mut position = begin["position"].as_str().unwrap().to_owned();
    let publishing = publish(redis, total);
    let mut got = Vec::new();
    position = if portion < total { take(&mut first, portion, &mut got).await } else { position };
    drop(first);
    for gateway in gateways.iter().cycle().skip(1) {
        if got.len() == total {
            break;
        }
        let mut client = Client::connect(gateway.port, "").await;
        let answer = client.subscribe(json!({ "after": position })).await;
        assert_eq!(answer["recovered"], true);
        let missing = total - got.len();
        position = take(&mut client, portion.min(missing), &mut got).await;
    }
    assert_whole(&got, &publishing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_under_load_misses_nothing_and_gets_nothing_twice() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    in_portions(&redis, &[gateway], 3_000, 37).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_whose_past_is_in_redis_only() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("HISTORY_EVENTS", "7")]).await;
    in_portions(&redis, &[gateway], 3_000, 53).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_that_comes_back_to_another_replica() {
    let redis = RedisServer::new();
    let gateways = [
        TestGateway::start(&redis, &[]).await,
        TestGateway::start(&redis, &[("HISTORY_EVENTS", "20")]).await,
    ];
    in_portions(&redis, &gateways, 2_000, 41).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_delivers_everything() {
    let redis = RedisServer::new();
    let gateways = [TestGateway::start(&redis, &[]).await, TestGateway::start(&redis, &[]).await];
    let mut clients = Vec::new();
    for gateway in gateways.iter().chain(&gateways) {
        let mut client = Client::connect(gateway.port, "").await;
        client.subscribe(json!({})).await;
        clients.push(client);
    }
    let published = publish(&redis, 1_000).await.unwrap();
    for mut client in clients {
        let mut got = Vec::new();
        take(&mut client, 1_000, &mut got).await;
        assert_whole(&got, &published);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_an_entry_resumes_its_one_stream() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    let id = publisher.model("one").await;
    publisher.inference("other stream", &[]).await;
    publisher.model("two").await;
    let mut client = Client::connect(gateway.port, "").await;
    client.say(json!({"type": "subscribe", "after": id})).await;
    assert_eq!(client.error().await.0, "invalid_position");
    client.subscribe(json!({"streams": ["model-events"], "after": id})).await;
    assert_eq!(client.event().await["event"]["model_name"], "two");
    client.subscribe(json!({"streams": ["model-events"], "after": "0-0"})).await;
    publisher.model("three").await;
    assert_eq!(client.models_until("three").await, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_subscription_while_the_first_catches_up_repeats_nothing() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("HISTORY_EVENTS", "10")]).await;
    let published = publish(&redis, 2_000).await.unwrap();
    let mut client = Client::connect(gateway.port, "").await;
    client.say(json!({"type": "subscribe", "streams": ["model-events"], "after": "0-0"})).await;
    client.say(json!({"type": "subscribe", "streams": ["inference-events"], "after": "0-0"})).await;
    let mut got = Vec::new();
    while got.len() < 2_000 {
        let message = client.hear().await;
        if message["type"] == "event" {
            let text = |name: &str| message[name].as_str().unwrap().to_owned();
            got.push((text("stream"), text("id")));
        }
    }
    assert_whole(&got, &published);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_keeps_asking_for_more_under_load_gets_each_event_once() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut client = Client::connect(gateway.port, "").await;
    let begin = client.subscribe(json!({"streams": ["model-events"]})).await;
    let publishing = publish(&redis, 4_000);
    let mut got = Vec::new();
    while got.len() < 4_000 {
        let message = client.hear().await;
        if message["type"] != "event" {
            continue;
        }
        let text = |name: &str| message[name].as_str().unwrap().to_owned();
        got.push((text("stream"), text("id")));
        if got.len() == 100 {
            let all =
                json!({"type": "subscribe", "streams": ["inference-events"], "after": begin["position"]});
            client.say(all).await;
        } else if got.len() % 100 == 0 {
            client.say(json!({"type": "subscribe", "streams": ["model-events"]})).await;
        }
    }
    assert_whole(&got, &publishing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_several_streams_comes_in_the_order_it_was_written() {
    let redis = RedisServer::new();
    let publisher = Publisher::new(&redis).await;
    for number in 0..500 {
        publisher.inference(&number.to_string(), &[]).await;
        if number % 50 == 0 {
            publisher.model(&format!("between {number}")).await;
        }
    }
    publisher.end().await;
    for history in ["0", "300"] {
        let gateway = TestGateway::start(&redis, &[("HISTORY_EVENTS", history)]).await;
        let mut client = Client::connect(gateway.port, "").await;
        client.subscribe(json!({ "after": Position::default().token() })).await;
        let mut milliseconds = Vec::new();
        while milliseconds.len() < 511 {
            let event = client.event().await;
            let id: EntryId = event["id"].as_str().unwrap().parse().unwrap();
            milliseconds.push(id.ms);
        }
        assert!(milliseconds.is_sorted(), "history of {history}: {milliseconds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_is_told() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("HISTORY_EVENTS", "0")]).await;
    let publisher = Publisher::new(&redis).await;
    let first = publisher.model("first").await;
    let second = publisher.model("second").await;
    publisher.model("third").await;
    let subscribe = |after: &str| json!({"streams": ["model-events"], "after": after});
    let mut client = Client::connect(gateway.port, "").await;
    assert_eq!(client.subscribe(subscribe("0-0")).await["recovered"], true, "nothing was ever trimmed");
    assert_eq!(client.models_until("third").await, ["first", "second"]);

    let mut connection = redis.connection();
    redis::cmd("XTRIM").arg("model-events").arg("MAXLEN").arg(1).exec(&mut connection).unwrap();
    for (after, recovered) in [("0-0", false), (first.as_str(), false)] {
        let mut client = Client::connect(gateway.port, "").await;
        assert_eq!(client.subscribe(subscribe(after)).await["recovered"], recovered, "after {after}");
        assert_eq!(client.event().await["event"]["model_name"], "third");
    }
    // Whether the entry after the second was the third can't be known any more.
    let mut client = Client::connect(gateway.port, "").await;
    assert_eq!(client.subscribe(subscribe(&second)).await["recovered"], false);

    let fourth = publisher.model("fourth").await;
    publisher.model("fifth").await;
    redis::cmd("XDEL").arg("model-events").arg(&fourth).exec(&mut connection).unwrap();
    let mut client = Client::connect(gateway.port, "").await;
    let third_on = subscribe(&second);
    assert_eq!(client.subscribe(third_on).await["recovered"], false, "one in the middle was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_the_future_is_not_waited_for() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    publisher.model("past").await;
    let mut client = Client::connect(gateway.port, "").await;
    let request = json!({"streams": ["model-events"], "after": "99999999999999-0"});
    assert_eq!(client.subscribe(request).await["recovered"], false);
    publisher.model("present").await;
    let name = client.event().await["event"]["model_name"].clone();
    assert!(name == "present" || name == "past", "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_position_is_refused_and_the_connection_lives_on() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut client = Client::connect(gateway.port, "").await;
    for after in ["", "$", "yesterday", "1-2-3"] {
        client.say(json!({"type": "subscribe", "after": after})).await;
        assert_eq!(client.error().await.0, "invalid_position", "{after:?}");
    }
    client.say(json!({"type": "ping"})).await;
    assert_eq!(client.hear().await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_client_learns_its_position_and_resumes_from_it() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("POSITION_INTERVAL", "100ms")]).await;
    let publisher = Publisher::new(&redis).await;
    let mut client = Client::connect(gateway.port, "").await;
    let begin = client.subscribe(json!({"streams": ["training-events"]})).await;
    for number in 0..5 {
        publisher.model(&number.to_string()).await;
    }
    let mut position = begin["position"].clone();
    while position == begin["position"] {
        let message = client.hear().await;
        assert_eq!(message["type"], "position");
        position = message["position"].clone();
    }
    let mut late = Client::connect(gateway.port, "").await;
    late.subscribe(json!({ "after": position })).await;
    let last = publisher.model("next").await;
    let got = late.models_until("next").await;
    assert!(got.len() < 5, "the position says nothing: {got:?} came before {last}");
}
