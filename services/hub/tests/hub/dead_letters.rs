//! Dead letters over HTTP.

use serde_json::{Value, json};
use synapse_rs::EntryId;
use synapse_test_support::{RedisServer, eventually};

use crate::support::{TestHub, bury, connect};

const STREAM: &str = "platform-events";

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_no_stream_takes_fails_the_replay_of_no_other() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let mut connection = redis.connection();
    redis::cmd("SET").arg("text").arg("a string").exec(&mut connection).unwrap();
    let fields = [("event", "x"), ("dlq_original_stream", "text"), ("dlq_original_group", "g")];
    let dead = format!("{STREAM}:dlq");
    let first: String = redis::cmd("XADD").arg(&dead).arg("*").arg(&fields).query(&mut connection).unwrap();
    bury(&redis, STREAM, "g", "rejected", 300).await;
    let record = hub.post(&format!("/dlq/{STREAM}/g/replay"), &json!({})).await.with(200);
    assert_eq!(
        (&record["state"], &record["progress"]["done"], &record["progress"]["refused"]),
        (&json!("failed"), &json!(300), &json!(1))
    );
    let error = record["error"].as_str().unwrap();
    assert!(error.contains(&first) && error.contains("WRONGTYPE"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_not_there_is_not_found_however_many_letters_there_are() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    let mut pipe = redis::pipe();
    for _ in 0..10_100 {
        pipe.cmd("XADD").arg("q:dlq").arg("*").arg("event").arg("x").arg("dlq_original_group").arg("other");
    }
    pipe.exec(&mut redis.connection()).unwrap();
    assert_eq!(hub.get("/dlq/q/nope").await.error(), (404, "group_not_found"));
    assert_eq!(hub.get("/dlq/q/other").await.with(200)["letters"].as_array().unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_counted_shown_and_put_back() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    assert_eq!(hub.get("/dlq").await.with(200), json!({"dead_letters": [], "total": 0}));
    bury(&redis, STREAM, "a/b", "rejected", 5).await;
    let list = hub.get("/dlq").await.with(200);
    assert_eq!(list["total"], 5);
    let pile = &list["dead_letters"][0];
    assert_eq!(
        (&pile["stream"], &pile["group"], &pile["reasons"]),
        (&json!(STREAM), &json!("a/b"), &json!({"rejected": 5}))
    );

    let first = hub.get("/dlq/platform-events/a%2Fb?count=3").await.with(200);
    let rest = hub
        .get(&format!("/dlq/platform-events/a%2Fb?after={}", first["next"].as_str().unwrap()))
        .await
        .with(200);
    let all: Vec<&Value> =
        [&first, &rest].into_iter().flat_map(|page| page["letters"].as_array().unwrap()).collect();
    assert_eq!(
        all.iter().map(|letter| letter["data"]["n"].as_u64().unwrap()).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(
        (&all[0]["reason"], &all[0]["error"], &all[0]["deliveries"]),
        (&json!("rejected"), &json!("why"), &json!(5))
    );
    assert!(rest["next"].is_null());
    let other = hub.get("/dlq/platform-events/a%2Fb?reason=other").await.with(200);
    assert_eq!(other["letters"], json!([]));

    let ids = json!({"ids": [all[1]["id"], all[3]["id"]]});
    let two = hub.post("/dlq/platform-events/a%2Fb/replay", &ids).await.with(200);
    assert_eq!(
        (&two["state"], &two["progress"]["done"], &two["kind"]),
        (&json!("done"), &json!(2), &json!("dead_letters"))
    );
    let request = hub.request(http::Method::POST, "/dlq/platform-events/a%2Fb/replay");
    assert_eq!(hub.send(request, "").await.with(200)["progress"]["done"], 3);
    assert_eq!(hub.get("/dlq").await.with(200)["total"], 0);
    let connection = connect(&redis).await;
    let entries = connection.range(STREAM, EntryId::MIN, EntryId::MAX, 100).await.unwrap();
    assert_eq!(entries.len(), 10);
    let origins: Vec<_> = entries[5..]
        .iter()
        .map(|entry| String::from_utf8_lossy(entry.fields().last().unwrap().1).into_owned())
        .collect();
    let original = |n: usize| entries[n].id.to_string();
    assert_eq!(origins, [original(1), original(3), original(0), original(2), original(4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_groups_that_are_not_there_are_told_apart_from_empty_ones() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[]).await;
    assert_eq!(hub.get("/dlq/nowhere/g").await.error(), (404, "stream_not_found"));
    assert_eq!(hub.post("/dlq/nowhere/g/replay", &json!({})).await.error(), (404, "stream_not_found"));
    let connection = connect(&redis).await;
    connection.create_group(STREAM, "empty", "0").await.unwrap();
    assert_eq!(hub.get("/dlq/platform-events/empty").await.with(200)["letters"], json!([]));
    assert_eq!(
        hub.post("/dlq/platform-events/empty/replay", &json!({})).await.with(200)["progress"]["done"],
        0
    );
    assert_eq!(hub.get("/dlq/platform-events/other").await.error(), (404, "group_not_found"));
    assert_eq!(
        hub.post("/dlq/platform-events/other/replay", &json!({})).await.error(),
        (404, "group_not_found")
    );
    // A group that is gone is known by its letters.
    bury(&redis, STREAM, "gone", "rejected", 1).await;
    redis::cmd("XGROUP").arg(&["DESTROY", STREAM, "gone"]).exec(&mut redis.connection()).unwrap();
    assert_eq!(hub.get("/dlq/platform-events/gone").await.with(200)["letters"].as_array().unwrap().len(), 1);
    for request in [
        json!({"ids": ["x"]}),
        json!({"ids": "1-0"}),
        json!({"limit": 0}),
        json!({"limits": 1}),
        json!({"ids": vec!["1-0"; 10_001]}),
    ] {
        let answer = hub.post("/dlq/platform-events/gone/replay", &request).await;
        assert_eq!(answer.error().0, 400, "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_go_back_once_each_while_redis_is_restarted() {
    let mut redis = RedisServer::builder().set("appendonly", "yes").set("appendfsync", "always").start();
    let hub = TestHub::start(&redis, &[]).await;
    let mut pipe = redis::pipe();
    for n in 0..10_000 {
        pipe.cmd("XADD").arg("platform-events:dlq").arg("*").arg("event").arg("task-failed").arg("n").arg(n);
        pipe.arg("dlq_original_group").arg("g").arg("dlq_original_id").arg(format!("{}-0", n + 1));
    }
    pipe.exec(&mut redis.connection()).unwrap();
    let path = "/dlq/platform-events/g/replay";
    let body = json!({});
    let (answer, ()) = tokio::join!(hub.post(path, &body), async {
        eventually("some are back", async || {
            // The server may be away at this moment: then none is.
            let settings = synapse_rs::RedisSettings::from_url(&redis.url()).unwrap();
            let connection = synapse_rs::stream::Connection::open(&settings).await.ok()?;
            (connection.length(STREAM).await.ok()? > 0).then_some(())
        })
        .await;
        redis.kill();
        redis.start();
    });
    let id = answer.body["id"].as_str().unwrap().to_owned();
    eventually("the replay ends", async || {
        let record = hub.get(&format!("/replay/{id}")).await;
        (record.body["state"] == "done").then_some(())
    })
    .await;
    let connection = connect(&redis).await;
    let back = connection.range(STREAM, EntryId::MIN, EntryId::MAX, 20_000).await.unwrap();
    let mut numbers: Vec<u64> = back
        .iter()
        .map(|entry| String::from_utf8_lossy(entry.fields().nth(1).unwrap().1).parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10_000).collect::<Vec<_>>());
    assert_eq!(connection.length("platform-events:dlq").await.unwrap(), 0);
}
