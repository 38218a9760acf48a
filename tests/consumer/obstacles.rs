//! Entries, keys and servers that are not as they should be.

use std::time::Duration;

use synapse_rs::consumer::{ConsumerConfig, Subscription};
use synapse_test_support::{RedisServer, eventually};

use crate::support::*;

#[tokio::test]
async fn a_lone_entry_that_cannot_be_buried_holds_up_nothing() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    redis::cmd("SET").arg("numbers:dlq").arg("a string").exec(&mut server.connection()).unwrap();
    append(&connection, STREAM, 0..1).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(50), max_deliveries: 1, ..config() };
    let dying = Subscription::open(settings(&server), config.clone()).await.unwrap();
    dying.next(1).await.unwrap();
    dying.abandon();
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    let batch = subscription.next(1).await.unwrap();
    subscription.settler().fail(&batch[0], "no", None);
    append(&connection, STREAM, 1..10).await;
    assert_eq!(ack_all(&subscription, 9).await, (1..10).collect::<Vec<_>>());
    subscription.close().await;
}

#[tokio::test]
async fn entries_trimmed_away_while_they_wait_are_counted() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..5).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(150), ..config() };
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 5 {
        held.extend(subscription.next(5).await.unwrap());
    }
    for delivery in &held {
        subscription.settler().fail(delivery, "later", Some(Duration::from_hours(1)));
    }
    redis::cmd("XTRIM").arg(STREAM).arg("MAXLEN").arg(0).exec(&mut server.connection()).unwrap();
    eventually("they are counted as lost", || async {
        (subscription.settler().stats().lost == 5).then_some(())
    })
    .await;
    subscription.close().await;
}

#[tokio::test]
async fn a_stream_that_is_none_holds_up_no_other_and_is_read_once_it_is_one() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let config = ConsumerConfig { streams: vec!["a".to_owned(), "b".to_owned()], ..config() };
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    redis::cmd("SET").arg("a").arg("a string").exec(&mut server.connection()).unwrap();
    append(&connection, "b", 0..100).await;
    assert_eq!(ack_all(&subscription, 100).await.len(), 100);
    // Nothing is lost while it is looked, every few seconds, whether the other one can be read by now.
    let mut found = 0;
    let begin = std::time::Instant::now();
    let mut sent = 100;
    while begin.elapsed() < Duration::from_millis(5_500) {
        append(&connection, "b", sent..sent + 20).await;
        sent += 20;
        found += ack_all(&subscription, 20).await.len();
    }
    assert_eq!(found as u64, sent - 100);
    redis::cmd("DEL").arg("a").exec(&mut server.connection()).unwrap();
    append(&connection, "a", 0..1).await;
    assert_eq!(ack_all(&subscription, 1).await, [0]);
    subscription.close().await;
}

#[tokio::test]
async fn dead_letters_that_cannot_be_written_wait_and_hold_up_nothing() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    redis::cmd("SET").arg("numbers:dlq").arg("a string").exec(&mut server.connection()).unwrap();
    append(&connection, STREAM, 0..3).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    let batch = subscription.next(3).await.unwrap();
    subscription.settler().reject(&batch[0], "rejected", "no");
    append(&connection, STREAM, 3..10).await;
    for delivery in &batch[1..] {
        subscription.settler().ack(delivery);
    }
    ack_all(&subscription, 7).await;
    pending_is(&connection, 1).await;
    redis::cmd("DEL").arg("numbers:dlq").exec(&mut server.connection()).unwrap();
    // Closing tries once more.
    subscription.close().await;
    assert_eq!(dead(&connection, STREAM).await, [("0".to_owned(), "rejected".to_owned())]);
    assert_eq!(group(&connection, STREAM).await.pending, 0);
}

#[tokio::test]
async fn without_memory_dead_letters_wait_while_acknowledgements_go_on() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    let batch = subscription.next(10).await.unwrap();
    let set = |limit: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).exec(&mut server.connection()).unwrap();
    };
    set("1");
    subscription.settler().reject(&batch[0], "rejected", "no");
    for delivery in &batch[1..] {
        subscription.settler().ack(delivery);
    }
    pending_is(&connection, 1).await;
    set("0");
    settled(&connection, STREAM).await;
    assert_eq!(dead(&connection, STREAM).await.len(), 1);
    subscription.close().await;
}

#[tokio::test]
async fn entries_trimmed_away_before_they_were_handled_are_counted_and_acknowledged() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(50), ..config() };
    let gone = Subscription::open(settings(&server), config.clone()).await.unwrap();
    gone.next(10).await.unwrap();
    gone.abandon();
    redis::cmd("XTRIM").arg(STREAM).arg("MAXLEN").arg(4).exec(&mut server.connection()).unwrap();
    let heir = Subscription::open(settings(&server), config).await.unwrap();
    assert_eq!(ack_all(&heir, 4).await, [6, 7, 8, 9]);
    settled(&connection, STREAM).await;
    assert_eq!(heir.settler().stats().lost, 6);
    heir.close().await;
}

#[tokio::test]
async fn bad_entries_among_good_ones_are_set_aside_with_the_reason() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let stream = "inference-events";
    let good =
        [("event", "inference-complete"), ("model_name", "m"), ("version", "1"), ("latency_ms", "1.5")];
    let add = async |fields: &[(&[u8], &[u8])]| {
        connection.append(stream, fields.iter().copied(), None).await.unwrap();
    };
    let large = vec![b'x'; 1 << 20];
    add(&[
        (b"event", b"inference-complete"),
        (b"model_name", b"m"),
        (b"version", b"\xff\xfe"),
        (b"latency_ms", b"1"),
    ])
    .await;
    add(&[(b"event", b"inference-complete"), (b"model_name", b"m")]).await;
    add(&[(b"", b"")]).await;
    add(&[(b"event", b"other"), (b"number", b"1"), (b"large", &large)]).await;
    let many: Vec<_> = (0..10_000).map(|n| format!("f{n}")).collect();
    connection
        .append(stream, many.iter().map(|name| (name, "v")).chain([(&"event".to_owned(), "other")]), None)
        .await
        .unwrap();
    connection.append(stream, good, None).await.unwrap();
    let config = ConsumerConfig { streams: vec![stream.to_owned()], ..config() };
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    let mut names = Vec::new();
    while names.len() < 3 {
        for delivery in subscription.next(10).await.unwrap() {
            names.push(delivery.event.name().to_owned());
            subscription.settler().ack(&delivery);
        }
    }
    assert_eq!(names, ["other", "other", "inference-complete"]);
    settled(&connection, stream).await;
    let reasons: Vec<_> = dead(&connection, stream).await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["undecodable", "undecodable"]);
    assert_eq!(subscription.settler().stats().nameless, 1);
    subscription.close().await;
}
