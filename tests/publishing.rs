//! What is accepted reaches its stream, in order, whatever happens to Redis meanwhile.

#![expect(clippy::unwrap_used, reason = "a test states what must hold")]

use std::time::Duration;

use synapse_rs::{
    Event, Publisher, RedisSettings,
    publisher::{DeliveryError, FlushError, PublishError, PublisherConfig},
    stream::{Connection, EntryId},
};
use synapse_test_support::{RedisServer, eventually, free_port};

const STREAM: &str = "numbers";
const PATIENCE: Duration = Duration::from_secs(20);

fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::from_url(&server.url()).unwrap()
}

fn start(server: &RedisServer) -> Publisher {
    Publisher::start(settings(server), PublisherConfig::default())
}

fn numbered(number: u64) -> Event {
    Event::new("counted").with("number", number)
}

/// The numbers on the stream, in its order.
async fn numbers(server: &RedisServer, stream: &str) -> Vec<u64> {
    let connection = Connection::open(&settings(server)).await.unwrap();
    let entries = connection.range(stream, EntryId::MIN, EntryId::MAX, 1_000_000).await.unwrap();
    let number = |entry: &synapse_rs::stream::Entry| {
        let value = entry.fields().find(|(field, _)| *field == b"number").map(|(_, value)| value.to_vec());
        String::from_utf8(value.unwrap()).unwrap().parse().unwrap()
    };
    entries.iter().map(number).collect()
}

#[tokio::test]
async fn events_arrive_in_order_and_a_flush_waits_for_all() {
    let server = RedisServer::new();
    let publisher = start(&server);
    for number in 0..5_000 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, STREAM).await, (0..5_000).collect::<Vec<_>>());
    let stats = publisher.stats();
    assert_eq!((stats.published, stats.outstanding, stats.outstanding_bytes, stats.failed), (5_000, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_many_threads_each_keep_their_order() {
    let server = RedisServer::new();
    let publisher = start(&server);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let publisher = publisher.clone();
            std::thread::spawn(move || {
                for number in 0..2_000 {
                    publisher.publish(&format!("s{thread}"), &numbered(number)).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    publisher.flush(PATIENCE).await.unwrap();
    for thread in 0..4 {
        assert_eq!(numbers(&server, &format!("s{thread}")).await, (0..2_000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_receipt_gives_the_entry_id() {
    let server = RedisServer::new();
    let publisher = start(&server);
    let receipt = publisher.send(STREAM, &numbered(7)).unwrap();
    let id = receipt.clone().await.unwrap();
    let connection = Connection::open(&settings(&server)).await.unwrap();
    assert_eq!(connection.last_id(STREAM).await.unwrap(), id);
    assert_eq!(receipt.outcome(), Some(Ok(id)));
}

#[tokio::test]
async fn events_published_before_redis_is_there_wait_for_it() {
    let mut server = RedisServer::new();
    server.kill();
    let publisher = start(&server);
    for number in 0..100 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    let waiting = publisher.flush(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(waiting, FlushError::Timeout { outstanding: 100, .. }), "{waiting}");
    eventually("the refusal is reported", || async { publisher.stats().last_error }).await;
    server.start();
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, STREAM).await, (0..100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_redis_is_killed_again_and_again() {
    let mut server = RedisServer::durable();
    let publisher = start(&server);
    let producer = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            for number in 0..20_000 {
                publisher.publish_when_room(STREAM, &numbered(number)).await.unwrap();
                if number % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    for _ in 0..3 {
        let before = publisher.stats().published;
        eventually("more is published", || async {
            let stats = publisher.stats();
            (stats.published > before || stats.published == 20_000).then_some(())
        })
        .await;
        server.kill();
        server.start();
    }
    producer.await.unwrap();
    publisher.flush(PATIENCE).await.unwrap();

    assert_eq!(numbers(&server, STREAM).await, (0..20_000).collect::<Vec<_>>());
    assert_eq!(publisher.stats().possible_duplicates, 0);
}

#[tokio::test]
async fn a_server_out_of_memory_is_waited_out_without_a_duplicate() {
    let server = RedisServer::builder().set("maxmemory-policy", "noeviction").start();
    let publisher = start(&server);
    publisher.publish(STREAM, &numbered(0)).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    let mut admin = server.connection();
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec(&mut admin).unwrap();
    for number in 1..1_000 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    eventually("the refusal is reported", || async {
        publisher.stats().last_error.filter(|error| error.starts_with("OOM"))
    })
    .await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").exec(&mut admin).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, STREAM).await, (0..1_000).collect::<Vec<_>>());
    assert_eq!(publisher.stats().possible_duplicates, 0);
}

#[tokio::test]
async fn a_key_of_the_wrong_type_fails_its_own_events_only() {
    let server = RedisServer::new();
    let publisher = start(&server);
    redis::cmd("SET").arg("taken").arg("a string").exec(&mut server.connection()).unwrap();
    let refused = publisher.send("taken", &numbered(1)).unwrap();
    let fine = publisher.send(STREAM, &numbered(2)).unwrap();
    let error = refused.await.unwrap_err();
    assert!(
        matches!(&error, DeliveryError::Refused { stream, reason }
        if stream == "taken" && reason.starts_with("WRONGTYPE")),
        "{error}"
    );
    fine.await.unwrap();
    let told = publisher.flush(PATIENCE).await.unwrap_err();
    assert!(matches!(told, FlushError::GivenUp { count: 1, .. }), "{told}");
    publisher.flush(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_and_room_is_waited_for() {
    let mut server = RedisServer::new();
    server.kill();
    let config = PublisherConfig { queue_events: 10, ..PublisherConfig::default() };
    let publisher = Publisher::start(settings(&server), config);
    for number in 0..10 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    let error = publisher.publish(STREAM, &numbered(10)).unwrap_err();
    assert!(matches!(error, PublishError::QueueFull(full) if full.events == 10), "{error}");
    let waiting = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish_when_room(STREAM, &numbered(10)).await }
    });
    server.start();
    waiting.await.unwrap().unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, STREAM).await, (0..11).collect::<Vec<_>>());
}

#[tokio::test]
async fn closing_sends_what_is_queued_and_refuses_what_comes_after() {
    let server = RedisServer::new();
    let publisher = start(&server);
    for number in 0..1_000 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    publisher.close(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, STREAM).await.len(), 1_000);
    assert!(matches!(publisher.publish(STREAM, &numbered(0)), Err(PublishError::Closed)));
}

#[tokio::test]
async fn closing_without_redis_ends_in_time_and_tells_every_receipt() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let publisher = Publisher::start(RedisSettings::from_url(&url).unwrap(), PublisherConfig::default());
    let receipt = publisher.send(STREAM, &numbered(1)).unwrap();
    let error = publisher.close(Duration::from_millis(100)).await.unwrap_err();
    assert!(error.to_string().contains("connection refused"), "{error}");
    let error = receipt.await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Abandoned { stream, .. } if stream == STREAM), "{error}");
}

#[tokio::test]
async fn everyone_who_awaits_a_receipt_is_told() {
    let server = RedisServer::new();
    let publisher = start(&server);
    let receipt = publisher.send(STREAM, &numbered(1)).unwrap();
    let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(receipt.clone())).collect();
    for outcome in waiting {
        let outcome = tokio::time::timeout(PATIENCE, outcome).await.unwrap().unwrap();
        assert_eq!(outcome, receipt.outcome().unwrap());
    }
}

#[tokio::test]
async fn a_flush_does_not_call_abandoned_events_sent() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let publisher = Publisher::start(RedisSettings::from_url(&url).unwrap(), PublisherConfig::default());
    publisher.publish(STREAM, &numbered(1)).unwrap();
    let flush = publisher.flush(PATIENCE);
    let (flushed, closed) = tokio::join!(flush, publisher.close(Duration::from_millis(200)));
    closed.unwrap_err();
    let error = flushed.unwrap_err();
    assert!(matches!(error, FlushError::GivenUp { count: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_nothing_is_lost_meanwhile() {
    let server = RedisServer::builder().set("requirepass", "right").start();
    let publisher = start(&server);
    publisher.publish(STREAM, &numbered(1)).unwrap();
    let error = eventually("the refusal is reported", || async { publisher.stats().last_error }).await;
    assert!(error.contains("REDIS_PASSWORD"), "{error}");
    assert_eq!(publisher.stats().outstanding, 1);
}

#[tokio::test]
async fn lingering_gathers_and_a_flush_does_not_wait_for_it() {
    let server = RedisServer::new();
    let config = PublisherConfig { linger: Duration::from_mins(1), ..PublisherConfig::default() };
    let publisher = Publisher::start(settings(&server), config);
    publisher.publish(STREAM, &numbered(1)).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, STREAM).await, [1]);
}

#[tokio::test]
async fn an_impossible_stream_name_is_refused_at_the_call() {
    let server = RedisServer::new();
    let publisher = start(&server);
    for name in [String::new(), "x".repeat(513)] {
        let error = publisher.publish(&name, &numbered(1)).unwrap_err();
        assert!(matches!(error, PublishError::InvalidStream { .. }), "{error}");
    }
}
