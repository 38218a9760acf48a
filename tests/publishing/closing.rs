//! How a publisher ends.

use std::time::Duration;

use synapse_rs::{
    Publisher, RedisSettings,
    publisher::{DeliveryError, FlushError, PublishError, PublisherConfig},
};
use synapse_test_support::{Cut, Fault, Plan, Proxy, RedisServer, free_port};

use crate::support::*;

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

/// A publisher that nobody holds any more, and the task that writes for it.
fn dropped(
    server: &RedisServer,
    count: u64,
) -> (Vec<synapse_rs::publisher::Receipt>, tokio::task::JoinHandle<()>) {
    let (publisher, writer) = Publisher::new(settings(server), PublisherConfig::default());
    let writer = tokio::spawn(writer.run());
    let clone = publisher.clone();
    let receipts = (0..count).map(|number| clone.send(STREAM, &numbered(number)).unwrap()).collect();
    (receipts, writer)
}

#[tokio::test]
async fn the_writer_of_a_dropped_publisher_sends_what_is_queued_and_ends() {
    let server = RedisServer::new();
    let (receipts, writer) = dropped(&server, 1_000);
    tokio::time::timeout(PATIENCE, writer).await.expect("the writer ends").unwrap();
    assert!(receipts.iter().all(|receipt| receipt.outcome().unwrap().is_ok()));
    assert_eq!(numbers(&server, STREAM).await, (0..1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_writer_of_a_publisher_that_was_dropped_unused_ends() {
    let server = RedisServer::new();
    let (_, writer) = dropped(&server, 0);
    tokio::time::timeout(PATIENCE, writer).await.expect("the writer ends").unwrap();
}

#[tokio::test]
async fn the_writer_of_a_publisher_that_is_dropped_while_idle_ends() {
    let server = RedisServer::new();
    let (publisher, writer) = Publisher::new(settings(&server), PublisherConfig::default());
    let writer = tokio::spawn(writer.run());
    publisher.publish(STREAM, &numbered(0)).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    drop(publisher);
    tokio::time::timeout(PATIENCE, writer).await.expect("the writer ends").unwrap();
}

#[tokio::test]
async fn the_writer_of_a_dropped_publisher_waits_for_redis() {
    let mut server = RedisServer::new();
    server.kill();
    let (receipts, writer) = dropped(&server, 100);
    server.start();
    tokio::time::timeout(PATIENCE, writer).await.expect("the writer ends").unwrap();
    assert!(receipts.iter().all(|receipt| receipt.outcome().unwrap().is_ok()));
    assert_eq!(numbers(&server, STREAM).await, (0..100).collect::<Vec<_>>());
}

/// Whatever a publisher is waiting for, it ends when it has to.
#[tokio::test]
async fn closing_ends_in_time_wherever_the_connection_hangs() {
    let server = RedisServer::new();
    let plans = [
        // In the greeting, in the batch, and in the questions after a cut.
        vec![Plan::new().from_the_start().requests(0, Fault::SwallowBoth)],
        vec![Plan::new().requests(10, Fault::SwallowBoth)],
        vec![
            Plan::new().requests(10, Fault::Cut(Cut::Reset)),
            Plan::new().from_the_start().replies(1, Fault::Swallow),
        ],
        vec![
            Plan::new().replies(10, Fault::Cut(Cut::Reset)),
            Plan::new().from_the_start().replies(3_000, Fault::Swallow),
        ],
    ];
    for plans in plans {
        let proxy = Proxy::to(&server).await;
        let count = plans.len() as u64;
        for plan in plans {
            proxy.plan(plan);
        }
        let publisher = start_through(&proxy, PublisherConfig::default());
        let receipts: Vec<_> =
            (0..100).map(|number| publisher.send(STREAM, &numbered(number)).unwrap()).collect();
        proxy.until("it hangs", |passed| passed.faults == count).await;
        let closed = publisher.close(Duration::from_millis(50));
        let error = tokio::time::timeout(Duration::from_secs(2), closed).await.expect("it ends").unwrap_err();
        assert!(matches!(error, FlushError::Timeout { .. }), "{error}");
        for receipt in receipts {
            let outcome = tokio::time::timeout(PATIENCE, receipt).await.expect("every receipt is told");
            let error = outcome.unwrap_err();
            assert!(matches!(&error, DeliveryError::Abandoned { stream, .. } if stream == STREAM), "{error}");
        }
    }
}
