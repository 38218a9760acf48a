//! What redis can't take waits on disk: in order, once, across the ends of processes.

#![expect(clippy::unwrap_used, reason = "a test states what must hold")]

mod disks;
mod killed;
mod support;

use std::{path::Path, time::Duration};

use synapse_rs::{
    Publisher,
    publisher::{DeliveryError, PublishError, PublisherConfig, SpoolConfig},
};
use synapse_test_support::{RedisServer, eventually};

use support::*;

#[tokio::test]
async fn what_redis_cant_take_goes_to_disk_and_comes_back_in_order() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    for number in 0..5_000 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    spooled(&publisher, 5_000).await;
    assert_eq!((publisher.stats().outstanding, publisher.stats().outstanding_bytes), (0, 0));
    server.start();
    for number in 5_000..6_000 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    publisher.flush(PATIENCE).await.unwrap();
    assert_numbers(&server, STREAM, 0..6_000).await;
    let stats = publisher.stats();
    assert_eq!(
        (stats.published, stats.spooled, stats.spooled_bytes, stats.possible_duplicates),
        (6_000, 0, 0, 0)
    );
}

#[tokio::test]
async fn the_next_publisher_sends_what_the_last_one_left() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    let receipt = publisher.send(STREAM, &numbered(0)).unwrap();
    for number in 1..1_000 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    publisher.close(Duration::from_millis(100)).await.unwrap();
    let error = receipt.await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Spooled { spool } if Path::new(spool) == dir.path()), "{error}");
    assert_eq!(publisher.stats().failed, 0);
    server.start();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    for number in 1_000..1_500 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    publisher.flush(PATIENCE).await.unwrap();
    assert_numbers(&server, STREAM, 0..1_500).await;
    assert_eq!(publisher.stats().possible_duplicates, 0);
}

#[tokio::test]
async fn a_flush_waits_for_what_an_earlier_publisher_left() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    for number in 0..100 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    publisher.close(Duration::ZERO).await.unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    publisher.flush(Duration::from_millis(50)).await.unwrap_err();
    server.start();
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, STREAM).await.len(), 100);
}

#[tokio::test]
async fn receipts_of_what_waits_on_disk_are_settled_when_it_arrives() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    let receipts: Vec<_> =
        (0..300).map(|number| publisher.send(STREAM, &numbered(number)).unwrap()).collect();
    spooled(&publisher, 300).await;
    server.start();
    let mut ids = Vec::new();
    for receipt in receipts {
        ids.push(receipt.await.unwrap());
    }
    assert!(ids.is_sorted());
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(publisher.stats().outstanding, 0);
    assert_numbers(&server, STREAM, 0..300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_redis_is_killed_again_and_again() {
    let mut server = RedisServer::durable();
    let dir = tempfile::tempdir().unwrap();
    let config = PublisherConfig { queue_events: 3_000, ..spooling(dir.path()) };
    let publisher = Publisher::start(settings(&server), config);
    let producer = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            for number in 0..30_000 {
                publisher.publish_when_room(&format!("s{}", number % 3), &numbered(number)).await.unwrap();
                if number % 50 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    for _ in 0..4 {
        let before = publisher.stats().published;
        eventually("more is published", || async {
            let stats = publisher.stats();
            (stats.published > before || stats.published == 30_000).then_some(())
        })
        .await;
        server.kill();
        server.start();
    }
    producer.await.unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    for stream in 0..3 {
        assert_numbers(&server, &format!("s{stream}"), (0..30_000).filter(|number| number % 3 == stream))
            .await;
    }
    assert_eq!(publisher.stats().possible_duplicates, 0);
}

#[tokio::test]
async fn a_full_spool_says_so_and_the_queue_fills() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let spool = SpoolConfig { max_bytes: 300_000, ..SpoolConfig::new(dir.path()) };
    let config = PublisherConfig { spool: Some(spool), queue_events: 500, ..PublisherConfig::default() };
    let publisher = Publisher::start(settings(&server), config);
    eventually("there is room neither on disk nor in memory", || async {
        while publisher.publish(STREAM, &numbered(accepted(&publisher))).is_ok() {}
        let stats = publisher.stats();
        (stats.outstanding == 500 && stats.spooled > 0 && stats.spool_error.is_some()).then_some(())
    })
    .await;
    let error = publisher.publish(STREAM, &numbered(0)).unwrap_err();
    assert!(matches!(error, PublishError::QueueFull(_)), "{error}");
    let accepted = accepted(&publisher);
    server.start();
    publisher.flush(PATIENCE).await.unwrap();
    assert_numbers(&server, STREAM, 0..accepted).await;
}

/// The number of the next event: all before it are accepted, and none is published.
fn accepted(publisher: &Publisher) -> u64 {
    publisher.stats().outstanding + publisher.stats().spooled
}

#[tokio::test]
async fn a_slow_redis_makes_a_crowd_that_goes_to_disk() {
    let server = RedisServer::durable();
    let dir = tempfile::tempdir().unwrap();
    let config = PublisherConfig { queue_events: 1_000, ..spooling(dir.path()) };
    let publisher = Publisher::start(settings(&server), config);
    publisher.publish(STREAM, &numbered(0)).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    let mut admin = server.connection();
    redis::cmd("CLIENT").arg("PAUSE").arg(60_000).arg("WRITE").exec(&mut admin).unwrap();
    for number in 1..20_000 {
        publisher.publish_when_room(STREAM, &numbered(number)).await.unwrap();
    }
    assert!(publisher.stats().spooled > 10_000, "{:?}", publisher.stats());
    redis::cmd("CLIENT").arg("UNPAUSE").exec(&mut admin).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    assert_numbers(&server, STREAM, 0..20_000).await;
    assert_eq!(publisher.stats().possible_duplicates, 0);
}

#[tokio::test]
async fn events_refused_for_the_moment_wait_on_disk() {
    let server = RedisServer::builder().set("maxmemory-policy", "noeviction").start();
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    publisher.publish(STREAM, &numbered(0)).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    let mut admin = server.connection();
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec(&mut admin).unwrap();
    for number in 1..2_000 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    spooled(&publisher, 1_999).await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").exec(&mut admin).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    assert_numbers(&server, STREAM, 0..2_000).await;
    assert_eq!(publisher.stats().possible_duplicates, 0);
}

#[tokio::test]
async fn two_publishers_share_a_directory_and_each_keeps_its_own() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let publishers = [0, 1].map(|_| Publisher::start(settings(&server), spooling(dir.path())));
    for number in 0..1_000 {
        for (stream, publisher) in ["a", "b"].iter().zip(&publishers) {
            publisher.publish(stream, &numbered(number)).unwrap();
        }
    }
    for publisher in &publishers {
        spooled(publisher, 1_000).await;
        publisher.close(Duration::ZERO).await.unwrap();
    }
    server.start();
    // One comes after two: it takes up both.
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    publisher.publish("c", &numbered(0)).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    for stream in ["a", "b"] {
        assert_numbers(&server, stream, 0..1_000).await;
    }
    assert_eq!(numbers(&server, "c").await, [0]);
}

#[tokio::test]
async fn a_publisher_that_is_dropped_leaves_on_disk_what_redis_cant_take() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let (publisher, writer) = Publisher::new(settings(&server), spooling(dir.path()));
    let writer = tokio::spawn(writer.run());
    publisher.publish(STREAM, &numbered(7)).unwrap();
    drop(publisher);
    tokio::time::timeout(PATIENCE, writer).await.unwrap().unwrap();
    server.start();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    publisher.publish(STREAM, &numbered(8)).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, STREAM).await, [7, 8]);
}

/// Those who ask take room as long as they wait, which the disk can't give back.
#[tokio::test]
async fn receipts_that_fill_the_queue_hold_nobody_up() {
    let server = RedisServer::durable();
    let dir = tempfile::tempdir().unwrap();
    let config = PublisherConfig { queue_events: 400, ..spooling(dir.path()) };
    let publisher = Publisher::start(settings(&server), config);
    publisher.publish(STREAM, &numbered(0)).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    let mut admin = server.connection();
    redis::cmd("CLIENT").arg("PAUSE").arg(60_000).arg("WRITE").exec(&mut admin).unwrap();
    let mut receipts = Vec::new();
    for number in 1..=400 {
        receipts.push(publisher.send(STREAM, &numbered(number)).unwrap());
        tokio::task::yield_now().await;
    }
    eventually("they are on disk", || async { (publisher.stats().spooled >= 300).then_some(()) }).await;
    let error = publisher.send(STREAM, &numbered(401)).unwrap_err();
    assert!(matches!(error, PublishError::QueueFull(_)), "{error}");
    redis::cmd("CLIENT").arg("UNPAUSE").exec(&mut admin).unwrap();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_numbers(&server, STREAM, 0..=400).await;
}

/// The next batch writes to a stream that is to be looked up, and waits for one whose replies don't come.
#[tokio::test]
async fn a_crowd_goes_to_disk_while_a_batch_waits_for_another() {
    let server = RedisServer::durable();
    let dir = tempfile::tempdir().unwrap();
    let config = PublisherConfig { queue_events: 1_000, ..spooling(dir.path()) };
    let publisher = Publisher::start(settings(&server), config);
    publisher.publish("a", &numbered(0)).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    admin(&server, &["CLIENT", "PAUSE", "60000", "WRITE"]);
    publisher.publish("a", &numbered(1)).unwrap();
    eventually("it is on its way", || async { (publisher.stats().queued == 0).then_some(()) }).await;
    let publish = async {
        for number in 0..5_000 {
            publisher.publish_when_room("b", &padded(number, 100)).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, publish).await.expect("the disk makes room");
    admin(&server, &["CLIENT", "UNPAUSE"]);
    publisher.flush(PATIENCE).await.unwrap();
    assert_numbers(&server, "b", 0..5_000).await;
    assert_numbers(&server, "a", 0..2).await;
}
