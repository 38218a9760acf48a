//! Connections that are open and carry nothing any more, or carry it late.

use std::time::Duration;

use synapse_rs::{Publisher, publisher::PublisherConfig};
use synapse_test_support::{Cut, Fault, Gate, Plan, Proxy, RedisServer};

use crate::support::*;

const STREAMS: [&str; 3] = ["a", "b", "c"];

fn impatient() -> PublisherConfig {
    PublisherConfig { response_timeout: Duration::from_millis(150), ..PublisherConfig::default() }
}

/// What the requests and replies of so many events amount to.
async fn measure(proxy: &Proxy, numbers: std::ops::Range<u64>) -> (u64, u64) {
    let before = proxy.passed();
    let mut ledger = Ledger::new(start_through(proxy, PublisherConfig::default()));
    ledger.send(&STREAMS, numbers);
    ledger.flush("nothing is wrong").await;
    ledger.publisher.close(PATIENCE).await.unwrap();
    let after = proxy.passed();
    (after.request_bytes - before.request_bytes, after.reply_bytes - before.reply_bytes)
}

#[tokio::test]
async fn a_connection_that_answers_nothing_is_left() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    let (request, reply) = measure(&proxy, 100..200).await;
    let plan = Plan::new;
    for (name, plan) in [
        ("nothing arrives", plan().requests(0, Fault::Swallow)),
        ("half of the batch arrives", plan().requests(request / 2, Fault::Swallow)),
        ("all arrives, and no reply comes", plan().replies(0, Fault::Swallow)),
        ("all arrives, and half of the replies comes", plan().replies(reply / 2, Fault::Swallow)),
        ("nothing more passes in either direction", plan().requests(request / 3, Fault::SwallowBoth)),
    ] {
        admin::<()>(&server, &["FLUSHALL"]);
        proxy.plan(plan);
        let mut ledger = Ledger::new(start_through(&proxy, impatient()));
        ledger.send(&STREAMS, 100..200);
        ledger.arrived_once(&connection, name).await;
        assert!(ledger.publisher.stats().lost_connections > 0, "{name}");
        ledger.publisher.close(PATIENCE).await.unwrap();
    }
}

/// More than the sockets' buffers hold: the end of the batch can't even be written.
#[tokio::test]
async fn a_connection_that_takes_nothing_is_left() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    proxy.plan(Plan::new().requests(100_000, Fault::SwallowBoth));
    let config = PublisherConfig { max_batch_bytes: 64 * 1024 * 1024, ..impatient() };
    let mut ledger = Ledger::new(start_through(&proxy, config));
    ledger.padding = 30_000;
    ledger.send(&STREAMS, 0..500);
    ledger.arrived_once(&connection, "the socket is full").await;
    assert!(ledger.publisher.stats().lost_connections > 0);
}

#[tokio::test]
async fn a_connection_that_waits_for_events_is_not_left() {
    let server = RedisServer::new();
    let config = PublisherConfig { response_timeout: Duration::from_secs(1), ..PublisherConfig::default() };
    let mut ledger = Ledger::new(Publisher::start(settings(&server), config.clone()));
    for number in 0..3 {
        ledger.send(&STREAMS, number..number + 1);
        ledger.flush("between").await;
        tokio::time::sleep(config.response_timeout.mul_f64(1.2)).await;
    }
    ledger.arrived_once(&connect(&server).await, "at leisure").await;
    assert_eq!(ledger.publisher.stats().lost_connections, 0);
}

/// A batch that takes its server longer than the timeout, with replies that keep coming.
#[tokio::test]
async fn a_slow_server_that_answers_is_not_left() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    let (request, _) = measure(&proxy, 100..120).await;
    admin::<()>(&server, &["FLUSHALL"]);
    let gates: Vec<_> = (0..10).map(|_| Gate::new()).collect();
    let plan = gates.iter().zip(0..).fold(Plan::new(), |plan, (gate, tenth)| {
        plan.requests(request * tenth / 10, Fault::Hold(gate.clone()))
    });
    proxy.plan(plan);
    let before = proxy.passed();
    let timeout = Duration::from_secs(1);
    let config = PublisherConfig { response_timeout: timeout, ..PublisherConfig::default() };
    let mut ledger = Ledger::new(start_through(&proxy, config));
    ledger.send(&STREAMS, 100..120);
    for (tenth, gate) in (1..).zip(&gates) {
        proxy.until("a part is held", |passed| passed.faults == before.faults + tenth).await;
        tokio::time::sleep(timeout / 5).await;
        gate.open();
    }
    ledger.arrived_once(&connection, "slowly").await;
    assert_eq!(ledger.publisher.stats().lost_connections, 0);
}

/// The server hears of the old connection's end only after what was on its way, long after the new one has begun.
#[tokio::test]
async fn what_the_old_connection_brings_late_doubles_nothing() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    let (request, _) = measure(&proxy, 100..200).await;
    for tenths in 0..10 {
        admin::<()>(&server, &["FLUSHALL"]);
        let (gate, before) = (Gate::new(), proxy.passed());
        let strand = Fault::Strand { until: request, gate: gate.clone() };
        proxy.plan(Plan::new().requests(request * tenths / 10, strand));
        let mut ledger = Ledger::new(start_through(&proxy, PublisherConfig::default()));
        ledger.send(&STREAMS, 100..200);
        let when = format!("late from {tenths} tenths on");
        ledger.arrived_once(&connection, &when).await;
        gate.open();
        proxy.until("the late bytes have arrived", |passed| passed.broken > before.broken).await;
        ledger.arrived_once(&connection, &when).await;
        ledger.publisher.close(PATIENCE).await.unwrap();
    }
}

/// The late bytes arrive while the new connection asks what has arrived.
#[tokio::test]
async fn what_the_old_connection_brings_in_the_middle_doubles_nothing() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    let (request, _) = measure(&proxy, 100..200).await;
    for round in 0..60 {
        admin::<()>(&server, &["FLUSHALL"]);
        let (late, questions, before) = (Gate::new(), Gate::new(), proxy.passed());
        proxy.plan(Plan::new().requests(request / 2, Fault::Strand { until: request, gate: late.clone() }));
        // A little further each time.
        proxy.plan(Plan::new().from_the_start().requests(round * 12, Fault::Hold(questions.clone())));
        let mut ledger = Ledger::new(start_through(&proxy, PublisherConfig::default()));
        ledger.send(&STREAMS, 100..200);
        proxy.until("both are held", |passed| passed.faults == before.faults + 2).await;
        late.open();
        proxy.until("the late bytes have arrived", |passed| passed.broken > before.broken).await;
        questions.open();
        ledger.arrived_once(&connection, &format!("late at byte {}", round * 12)).await;
        ledger.publisher.close(PATIENCE).await.unwrap();
    }
}

/// A new connection that is not answered is given up like one that can't be opened.
#[tokio::test]
async fn a_greeting_that_is_not_answered_is_tried_again() {
    let server = RedisServer::new();
    let proxy = Proxy::to(&server).await;
    proxy.plan(Plan::new().from_the_start().replies(0, Fault::Swallow));
    proxy.plan(Plan::new().from_the_start().requests(0, Fault::Cut(Cut::Fin)));
    let mut ledger = Ledger::new(start_through(&proxy, PublisherConfig::default()));
    ledger.send(&STREAMS, 0..10);
    ledger.arrived_once(&connect(&server).await, "no answer to the greeting").await;
    assert_eq!(ledger.publisher.stats().lost_connections, 2);
}

#[tokio::test]
async fn a_response_timeout_may_be_endless() {
    let server = RedisServer::new();
    let config = PublisherConfig { response_timeout: Duration::MAX, ..PublisherConfig::default() };
    let mut ledger = Ledger::new(Publisher::start(settings(&server), config));
    ledger.send(&STREAMS, 0..100);
    ledger.arrived_once(&connect(&server).await, "without a timeout").await;
}

/// The new connection comes while the server has not yet executed all it was sent on the old one.
#[tokio::test]
async fn a_batch_that_is_being_executed_when_its_connection_is_lost_arrives_once() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    for round in 0..2 {
        admin::<()>(&server, &["FLUSHALL"]);
        proxy.plan(Plan::new().requests(1_500_000 + 1_000_000 * round, Fault::Cut(Cut::Reset)));
        let config = PublisherConfig { max_batch_bytes: 64 * 1024 * 1024, ..PublisherConfig::default() };
        let mut ledger = Ledger::new(start_through(&proxy, config));
        ledger.send(&STREAMS, 0..12_000);
        ledger.arrived_once(&connection, "while the batch is executed").await;
        ledger.publisher.close(PATIENCE).await.unwrap();
    }
}
