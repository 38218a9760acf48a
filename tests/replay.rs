//! Copying a part of a stream, against a real server.

#![expect(clippy::unwrap_used, reason = "a test states what must hold")]

use std::num::NonZeroU32;

use serde_json::json;
use synapse_rs::{
    EntryId, Filter, RedisSettings,
    replay::{Replay, Request},
    stream::{Connection, Entry},
};
use synapse_test_support::RedisServer;
use tokio::time::{Duration, Instant, timeout};

async fn connect(server: &RedisServer) -> Connection {
    Connection::open(&RedisSettings::from_url(&server.url()).unwrap()).await.unwrap()
}

/// Entries with ids 1-0, 2-0, …
fn append(server: &RedisServer, stream: &str, from: u64, count: u64) {
    let mut pipe = redis::pipe();
    for n in from..from + count {
        pipe.cmd("XADD").arg(stream).arg(format!("{n}-0")).arg("event").arg("model-status");
        pipe.arg("model_name").arg(if n % 2 == 0 { "even" } else { "odd" });
        pipe.arg("event_id").arg(format!("e{n}")).arg("raw").arg(&b"\xff\x00"[..]);
    }
    pipe.exec(&mut server.connection()).unwrap();
}

async fn entries(connection: &Connection, stream: &str) -> Vec<Entry> {
    connection.range(stream, EntryId::MIN, EntryId::MAX, 1_000_000).await.unwrap()
}

fn value(entry: &Entry, field: &str) -> String {
    let found = entry.fields().find(|(name, _)| *name == field.as_bytes()).unwrap();
    String::from_utf8_lossy(found.1).into_owned()
}

async fn run(connection: &Connection, request: Request) -> Replay {
    let mut replay = Replay::begin(connection, request).await.unwrap();
    while replay.advance(connection).await.unwrap() {}
    replay
}

#[tokio::test]
async fn entries_are_copied_byte_for_byte_with_their_first_id() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&server, "s", 1, 3_000);
    let progress = run(&connection, Request::new("s", "t")).await.progress();
    assert_eq!(
        (progress.copied, progress.examined, progress.position),
        (3_000, 3_000, EntryId::new(3_000, 0))
    );
    let copies = entries(&connection, "t").await;
    assert_eq!(copies.len(), 3_000);
    for (n, copy) in (1..).zip(&copies) {
        assert_eq!((value(copy, "event_id"), value(copy, "replay_of")), (format!("e{n}"), format!("{n}-0")));
        assert_eq!(copy.fields().nth(3).unwrap().1, b"\xff\x00");
    }
    // A copy of a copy is a repetition of the first.
    run(&connection, Request { limit: Some(1), ..Request::new("t", "u") }).await;
    assert_eq!(value(&entries(&connection, "u").await[0], "replay_of"), "1-0");
}

#[tokio::test]
async fn a_range_a_condition_and_a_limit_choose_what_is_copied() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&server, "model-events", 1, 100);
    let request = Request {
        from: EntryId::new(11, 0),
        to: EntryId::new(60, 0),
        filter: Filter::from_json(&json!({"model_name": "even"})).unwrap(),
        limit: Some(20),
        ..Request::new("model-events", "t")
    };
    // One of the range can't be read: `raw` is not text.
    assert_eq!(run(&connection, request.clone()).await.progress().copied, 0);
    redis::cmd("DEL").arg("model-events").exec(&mut server.connection()).unwrap();
    let mut pipe = redis::pipe();
    for n in 1..=100 {
        pipe.cmd("XADD").arg("model-events").arg(format!("{n}-0")).arg("event").arg("model-status");
        pipe.arg("model_name").arg(if n % 2 == 0 { "even" } else { "odd" });
    }
    pipe.exec(&mut server.connection()).unwrap();
    let progress = run(&connection, request).await.progress();
    assert_eq!((progress.copied, progress.position), (20, EntryId::new(50, 0)));
    let origins: Vec<_> =
        entries(&connection, "t").await.iter().map(|copy| value(copy, "replay_of")).collect();
    assert_eq!(origins, (12..=50).step_by(2).map(|n| format!("{n}-0")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_replay_onto_the_same_stream_ends_where_it_ended_at_the_beginning() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&server, "s", 1, 700);
    let mut replay = Replay::begin(&connection, Request::new("s", "s")).await.unwrap();
    append(&server, "s", 701, 5);
    while replay.advance(&connection).await.unwrap() {}
    assert_eq!((replay.progress().copied, replay.progress().end), (700, EntryId::new(700, 0)));
    assert_eq!(entries(&connection, "s").await.len(), 1_405);
}

#[tokio::test]
async fn nothing_is_copied_from_an_empty_or_a_missing_range() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    assert_eq!(run(&connection, Request::new("nowhere", "t")).await.progress().copied, 0);
    append(&server, "s", 1, 10);
    let backwards = Request { from: EntryId::new(9, 0), to: EntryId::new(3, 0), ..Request::new("s", "t") };
    assert_eq!(run(&connection, backwards).await.progress().examined, 0);
    assert!(entries(&connection, "t").await.is_empty());
}

#[tokio::test]
async fn the_rate_is_not_exceeded_over_any_stretch() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&server, "s", 1, 60);
    let rate = NonZeroU32::new(200);
    let mut replay =
        Replay::begin(&connection, Request { events_per_second: rate, ..Request::new("s", "t") })
            .await
            .unwrap();
    let begin = Instant::now();
    let mut pieces = Vec::new();
    while replay.advance(&connection).await.unwrap() {
        pieces.push((replay.progress().copied, begin.elapsed()));
    }
    assert_eq!(pieces.last().unwrap().0, 60);
    for (copied, elapsed) in pieces {
        // One piece of 50 ms (10 entries) ahead at most.
        assert!(copied as f64 <= elapsed.as_secs_f64() * 200.0 + 10.0, "{copied} after {elapsed:?}");
    }
}

#[tokio::test]
async fn a_cancelled_or_failed_replay_goes_on_where_it_was() {
    let mut server = RedisServer::durable();
    let connection = connect(&server).await;
    append(&server, "s", 1, 100);
    let request = Request { events_per_second: NonZeroU32::new(100), ..Request::new("s", "t") };
    let mut replay = Replay::begin(&connection, request).await.unwrap();
    assert!(replay.advance(&connection).await.unwrap());
    // Cancelled while it waits for its time.
    assert!(timeout(Duration::from_millis(1), replay.advance(&connection)).await.is_err());
    assert_eq!(replay.progress().copied, 5);
    server.kill();
    let mut failed = false;
    for _ in 0..2 {
        failed |= replay.advance(&connection).await.is_err();
    }
    assert!(failed);
    assert!(replay.progress().unanswered > 0, "it is said that nobody knows");
    server.start();
    let connection = connect(&server).await;
    while replay.advance(&connection).await.unwrap() {}
    assert_eq!(replay.progress().copied, 100);
    assert!(replay.progress().possible_duplicates > 0, "nobody knows whether the last piece had arrived");
    assert_eq!(replay.progress().unanswered, 0);
    let origins: std::collections::HashSet<_> =
        entries(&connection, "t").await.iter().map(|copy| value(copy, "replay_of")).collect();
    assert_eq!(origins.len(), 100);

    // Another goes on from its position.
    let rest = Request { from: EntryId::new(95, 0).next(), ..Request::new("s", "u") };
    assert_eq!(run(&connection, rest).await.progress().copied, 5);
}

#[tokio::test]
async fn a_piece_that_is_refused_is_not_copied_twice() {
    let server = RedisServer::builder().set("maxmemory-policy", "noeviction").start();
    let connection = connect(&server).await;
    let mut redis = server.connection();
    let mut pipe = redis::pipe();
    for n in 1..=400 {
        pipe.cmd("XADD")
            .arg("s")
            .arg(format!("{n}-0"))
            .arg("event")
            .arg("x")
            .arg("text")
            .arg("x".repeat(8_000));
    }
    pipe.exec(&mut redis).unwrap();
    let mut replay = Replay::begin(&connection, Request::new("s", "t")).await.unwrap();
    let limit = |room: u64, redis: &mut redis::Connection| {
        let info: String = redis::cmd("INFO").arg("memory").query(redis).unwrap();
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        let limit = used.parse::<u64>().unwrap() + room;
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).exec(redis).unwrap();
    };
    // Room for a part of what there is; then a little more each time.
    let mut refused = 0;
    limit(1_000_000, &mut redis);
    loop {
        match replay.advance(&connection).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                assert!(error.is_transient() && error.to_string().contains("OOM"), "{error}");
                assert_eq!(replay.progress().unanswered, 0, "an answer came");
                let copies = entries(&connection, "t").await.len() as u64;
                assert_eq!(replay.progress().copied, copies, "what it says is what there is");
                refused += 1;
                limit(1_000_000 * (refused + 1), &mut redis);
            }
        }
    }
    assert!(refused > 0);
    assert_eq!((replay.progress().copied, replay.progress().possible_duplicates), (400, 0));
    assert_eq!(entries(&connection, "t").await.len(), 400);
}

#[tokio::test]
async fn a_refused_entry_ends_it_with_the_position_before() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&server, "s", 1, 10);
    redis::cmd("SET").arg("t").arg("a string").exec(&mut server.connection()).unwrap();
    let mut replay = Replay::begin(&connection, Request::new("s", "t")).await.unwrap();
    let error = replay.advance(&connection).await.unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
    assert_eq!((replay.progress().position, replay.progress().copied), (EntryId::MIN, 0));
}
