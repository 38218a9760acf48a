//! What is accepted, and what its caller is told.

use std::time::Duration;

use synapse_rs::{
    Publisher,
    publisher::{PublishError, PublisherConfig},
};
use synapse_test_support::RedisServer;

use crate::support::*;

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
    let connection = connect(&server).await;
    assert_eq!(connection.last_id(STREAM).await.unwrap(), id);
    assert_eq!(receipt.outcome(), Some(Ok(id)));
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

/// A batch for new streams waits for what is in flight, which nothing may keep from arriving.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_to_ever_new_streams_arrive_while_all_flush() {
    let server = RedisServer::new();
    let publisher = start(&server);
    let publish = |thread: u64| {
        let publisher = publisher.clone();
        tokio::task::spawn_blocking(move || {
            for number in 0..500 {
                publisher.publish(&format!("s{thread}-{number}"), &numbered(number)).unwrap();
                if number % 50 == 0 {
                    publisher.flush_blocking(PATIENCE).unwrap();
                }
            }
            publisher.flush_blocking(PATIENCE).unwrap();
        })
    };
    for thread in (0..4).map(publish).collect::<Vec<_>>() {
        thread.await.unwrap();
    }
    assert_eq!(publisher.stats().published, 2_000);
}
