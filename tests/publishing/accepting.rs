//! What is accepted, and what its caller is told.

use std::time::Duration;

use synapse_rs::{
    Publisher, RedisSettings,
    publisher::{PublishError, PublisherConfig},
};
use synapse_test_support::{Fault, Gate, Plan, Proxy, RedisServer, eventually};

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

/// How far a stream goes is asked before the first batch for it, and that only once nothing else is on its way.
#[tokio::test]
async fn a_batch_with_a_new_stream_waits_for_the_one_before_it() {
    let server = RedisServer::new();
    let proxy = Proxy::to(&server).await;
    let gate = Gate::new();
    proxy.plan(Plan::new().replies(0, Fault::Hold(gate.clone())));
    let config = PublisherConfig { max_batch_bytes: 50_000, ..PublisherConfig::default() };
    let (publisher, writer) = Publisher::new(RedisSettings::from_url(&proxy.url()).unwrap(), config);
    // A thread of its own: one that is busy for ever must not hinder the test from failing.
    std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(writer.run());
    });
    let mut ledger = Ledger::new(publisher);
    ledger.send(&["a"], 0..1);
    proxy.until("the first is on its way", |passed| passed.faults == 1).await;
    // Several batches, of which the next is taken already.
    ledger.send(&["b"], 1..1_000);
    let busy = ledger.publisher.clone();
    eventually("the next batch is taken", || async { (busy.stats().queued < 999).then_some(()) }).await;
    gate.open();
    ledger.arrived_once(&connect(&server).await, "new streams").await;
    ledger.publisher.close(PATIENCE).await.unwrap();
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
