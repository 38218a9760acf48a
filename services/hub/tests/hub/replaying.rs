//! Replays that take their time.

use serde_json::{Value, json};
use synapse_chassis::service::Ended;
use synapse_test_support::{RedisServer, eventually};

use crate::support::{TestHub, append_old, connect};

/// A replay that takes an hour.
fn slow() -> Value {
    json!({"stream": "model-events", "onto": "copy", "events_per_second": 10})
}

async fn until(hub: &TestHub, id: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually("the replay is as expected", async || {
        // Redis may be away at this moment.
        let record = hub.get(&format!("/replay/{id}")).await;
        (record.status == 200 && is_it(&record.body)).then_some(record.body)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_one_is_over_when_it_is_answered() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    append_old(&redis, "model-events", 2, 100).await;
    append_old(&redis, "model-events", 1, 20).await;
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(90);
    let request = json!({"stream": "model-events", "onto": "copy", "from": since.to_string(), "where": {"n": [1, 2, 3]}});
    let record = hub.post("/replay", &request).await.with(200);
    assert_eq!((&record["state"], &record["progress"]["copied"]), (&json!("done"), &json!(3)));
    assert_eq!((&record["progress"]["examined"], &record["request"]), (&json!(20), &request));
    let copies = hub.get("/streams/copy/messages?after=0").await.with(200);
    let first = &copies["messages"][0]["data"];
    assert_eq!(first["n"], 1);
    assert!(first["replay_of"].as_str().unwrap().ends_with("-2"), "{first}");
    // What is known of it stays for a day, for every hub.
    let other = TestHub::start(&redis, &[]).await;
    let id = record["id"].as_str().unwrap();
    assert_eq!(other.get(&format!("/replay/{id}")).await.with(200), record);
    assert_eq!(other.delete(&format!("/replay/{id}")).await.with(200), record);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_one_goes_on_after_the_answer_and_can_be_cancelled_from_any_hub() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[("MAX_REPLAYS", "2")]).await;
    let other = TestHub::start(&redis, &[]).await;
    append_old(&redis, "model-events", 2, 36_000).await;
    let (one, two, slow) = (hub.post("/replay", &slow()).await, hub.post("/replay", &slow()).await, slow());
    assert_eq!(hub.post("/replay", &slow).await.error(), (429, "too_many_replays"));
    let id = one.body["id"].as_str().unwrap().to_owned();
    assert_eq!(one.headers["location"], format!("/replay/{id}"));
    assert_eq!(one.with(202)["state"], "running");
    until(&hub, &id, |record| record["progress"]["copied"].as_u64() > Some(10)).await;
    let here = hub.delete(&format!("/replay/{id}")).await.with(200);
    assert_eq!(here["state"], "cancelled");

    let id = two.with(202)["id"].as_str().unwrap().to_owned();
    until(&other, &id, |record| record["state"] == "running").await;
    other.delete(&format!("/replay/{id}")).await.with(202);
    let there = until(&other, &id, |record| record["state"] == "cancelled").await;
    // What it has copied is what it says, and the place from which another would go on.
    let copied = connect(&redis).await.length("copy").await.unwrap();
    let sum = here["progress"]["copied"].as_u64().unwrap() + there["progress"]["copied"].as_u64().unwrap();
    assert_eq!(copied, sum);
    let position = there["progress"]["position"].as_str().unwrap();
    assert!(position.ends_with(&format!("-{}", there["progress"]["copied"])), "{there}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_leaves_stops_its_replays_and_says_where() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let other = TestHub::start(&redis, &[]).await;
    append_old(&redis, "model-events", 2, 36_000).await;
    let id = hub.post("/replay", &slow()).await.with(202)["id"].as_str().unwrap().to_owned();
    assert_eq!(hub.stop().await, Ended::InOrder);
    let record = other.get(&format!("/replay/{id}")).await.with(200);
    assert_eq!(record["state"], "interrupted");
    let copied = record["progress"]["copied"].as_u64().unwrap();
    assert_eq!(connect(&redis).await.length("copy").await.unwrap(), copied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_waits_for_redis_and_goes_on_without_a_gap() {
    let mut redis = RedisServer::durable();
    let hub = TestHub::start(&redis, &[]).await;
    append_old(&redis, "model-events", 2, 1_000).await;
    let request = json!({"stream": "model-events", "onto": "copy", "events_per_second": 300});
    let id = hub.post("/replay", &request).await.with(202)["id"].as_str().unwrap().to_owned();
    redis.kill();
    redis.start();
    let record = until(&hub, &id, |record| record["state"] != "running").await;
    assert_eq!((&record["state"], &record["progress"]["copied"]), (&json!("done"), &json!(1_000)));
    let copied = connect(&redis).await.length("copy").await.unwrap();
    let twice = record["progress"]["possible_duplicates"].as_u64().unwrap();
    assert!((1_000..=1_000 + twice).contains(&copied), "{copied} copies, {twice} possibly twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_says_what_for_and_goes_on() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    append_old(&redis, "model-events", 2, 300).await;
    let mut connection = redis.connection();
    let mut limit = |bytes: u64| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut connection).unwrap();
    };
    limit(1);
    let started = hub.post("/replay", &json!({"stream": "model-events", "onto": "copy"})).await.with(202);
    let id = started["id"].as_str().unwrap();
    let waits = |record: &Value| record["error"].as_str().is_some_and(|error| error.contains("OOM"));
    let first = until(&hub, id, waits).await;
    assert_eq!(first["state"], "running");
    // However long the delay has become by then.
    until(&hub, id, |record| waits(record) && seconds_between(&first, record) > 6.0).await;
    limit(0);
    let record = until(&hub, id, |record| record["state"] != "running").await;
    assert_eq!((&record["state"], &record["error"]), (&json!("done"), &Value::Null));
    assert_eq!(record["progress"]["copied"], 300);
    assert_eq!(connect(&redis).await.length("copy").await.unwrap(), 300);
}

fn seconds_between(first: &Value, last: &Value) -> f64 {
    let at = |record: &Value| record["updated_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    at(last).duration_since(at(first)).as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_a_request_is_what_was_understood() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    append_old(&redis, "model-events", 2, 3).await;
    let request = format!("{}{{\"stream\": \"model-events\", \"onto\": \"copy\"}}", " ".repeat(1 << 20));
    let record = hub.post_bytes("/replay", request).await.with(200);
    assert_eq!(record["request"], json!({"stream": "model-events", "onto": "copy"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_redis_refuses_says_so() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    append_old(&redis, "model-events", 2, 36_000).await;
    let id = hub.post("/replay", &slow()).await.with(202)["id"].as_str().unwrap().to_owned();
    let mut connection = redis.connection();
    redis::cmd("DEL").arg("copy").exec(&mut connection).unwrap();
    redis::cmd("SET").arg("copy").arg("a string").exec(&mut connection).unwrap();
    let record = until(&hub, &id, |record| record["state"] == "failed").await;
    assert!(record["error"].as_str().unwrap().contains("WRONGTYPE"), "{record}");
}
