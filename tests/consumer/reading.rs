//! Every event reaches a handler at least once, and is acknowledged after it was handled.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use synapse_rs::{
    EntryId, RedisSettings,
    consumer::{Answer, ConsumeError, ConsumerConfig, ConsumerRuntime, Delivery, Handler, Subscription},
    shutdown::Shutdown,
    tail::{After, News, Rewound, Tail},
};
use synapse_test_support::{RedisServer, eventually, free_port};

use crate::support::*;

/// Answers by a rule, and notes what it was given.
#[derive(Clone, Default)]
struct Recorder {
    seen: Arc<Mutex<BTreeMap<u64, u32>>>,
    failures: BTreeMap<u64, u32>,
}

impl Handler for Recorder {
    async fn handle(&self, delivery: &Delivery) -> Answer {
        let number = number(delivery);
        *self.seen.lock().entry(number).or_default() += 1;
        match self.failures.get(&number) {
            Some(0) => Answer::Permanent("never".to_owned()),
            Some(99) => panic!("on purpose"),
            Some(times) if delivery.deliveries <= *times => Answer::Failed("not yet".to_owned()),
            _ => Answer::Done,
        }
    }
}

/// Runs a handler until `until` says so.
async fn run_until(
    server: &RedisServer,
    handler: Recorder,
    config: ConsumerConfig,
    until: impl AsyncFn() -> bool,
) {
    let shutdown = Shutdown::new();
    let runtime = ConsumerRuntime::new(settings(server), config, handler);
    let running = tokio::spawn(runtime.run(shutdown.clone()));
    eventually("the handler is through", async || until().await.then_some(())).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_published_before_the_first_start_is_handled_in_order() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1_000).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    let settler = subscription.settler();
    let mut found = Vec::new();
    while found.len() < 1_000 {
        for delivery in subscription.next(500).await.unwrap() {
            assert_eq!(delivery.deliveries, 1);
            found.push(number(&delivery));
            settler.ack(&delivery);
        }
    }
    assert_eq!(found, (0..1_000).collect::<Vec<_>>());
    settled(&connection, STREAM).await;
    subscription.close().await;
    assert_eq!(group(&connection, STREAM).await.consumers, 0);
}

#[tokio::test]
async fn two_members_share_the_entries() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let (left, right) = (Recorder::default(), Recorder::default());
    let shutdown = Shutdown::new();
    let members: Vec<_> = [&left, &right]
        .map(|handler| {
            let config = ConsumerConfig { batch: 10, ..config() };
            tokio::spawn(
                ConsumerRuntime::new(settings(&server), config, handler.clone()).run(shutdown.clone()),
            )
        })
        .into();
    append(&connection, STREAM, 0..500).await;
    eventually("all are handled", || async {
        (left.seen.lock().len() + right.seen.lock().len() == 500).then_some(())
    })
    .await;
    shutdown.cancel();
    for member in members {
        member.await.unwrap().unwrap();
    }
    assert!(left.seen.lock().values().chain(right.seen.lock().values()).all(|times| *times == 1));
    assert_eq!(group(&connection, STREAM).await.pending, 0);
}

#[tokio::test]
async fn failures_are_retried_and_end_among_the_dead_letters() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    // 2 works the third time, 3 never does, 4 is hopeless, 5 panics.
    let failures = BTreeMap::from([(2, 2), (3, 1_000), (4, 0), (5, 99)]);
    let handler = Recorder { failures, ..Recorder::default() };
    let seen = handler.seen.clone();
    let dead = || async { connection.range("numbers:dlq", EntryId::MIN, EntryId::MAX, 100).await.unwrap() };
    run_until(&server, handler, config(), async || {
        dead().await.len() == 3 && seen.lock().get(&2) == Some(&3)
    })
    .await;

    let seen = seen.lock().clone();
    assert_eq!((seen[&1], seen[&2], seen[&3], seen[&4], seen[&5]), (1, 3, 5, 1, 5));
    let reasons: BTreeMap<String, (String, String)> = dead().await.iter().map(letter).collect();
    assert_eq!(reasons["3"], ("max_deliveries".to_owned(), "not yet".to_owned()));
    assert_eq!(reasons["4"], ("rejected".to_owned(), "never".to_owned()));
    assert_eq!(reasons["5"], ("max_deliveries".to_owned(), "the handler panicked: on purpose".to_owned()));
    assert_eq!(group(&connection, STREAM).await.pending, 0);
}

fn letter(entry: &synapse_rs::stream::Entry) -> (String, (String, String)) {
    let field = |name: &str| {
        let found = entry.fields().find(|(field, _)| *field == name.as_bytes());
        String::from_utf8(found.unwrap().1.to_vec()).unwrap()
    };
    (field("number"), (field("dlq_reason"), field("dlq_error")))
}

#[tokio::test]
async fn an_entry_that_cannot_be_decoded_stops_nobody() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let stream = "inference-events";
    connection.append(stream, [("created", "2026-11-23")], None).await.unwrap();
    connection
        .append(
            stream,
            [("event", "inference-complete"), ("model_name", "m"), ("version", "1"), ("latency_ms", "bad")],
            None,
        )
        .await
        .unwrap();
    connection.append(stream, [("event", "other"), ("number", "1")], None).await.unwrap();
    let config = ConsumerConfig::new(GROUP, [stream]);
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    let batch = subscription.next(500).await.unwrap();
    assert_eq!(batch.len(), 1);
    subscription.settler().ack(&batch[0]);
    let dead = eventually("the dead letter", || async {
        connection.range("inference-events:dlq", EntryId::MIN, EntryId::MAX, 10).await.unwrap().pop()
    })
    .await;
    let reason = dead.fields().find(|(field, _)| *field == b"dlq_reason").unwrap().1;
    assert_eq!(reason, b"undecodable");
    subscription.close().await;
    assert_eq!(connection.groups(stream).await.unwrap()[0].pending, 0);
}

#[tokio::test]
async fn what_is_not_settled_is_given_back_on_closing() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..20).await;
    // Nobody would take over what was not given back.
    let config = ConsumerConfig { min_idle: Duration::from_hours(1), ..config() };
    let first = Subscription::open(settings(&server), config.clone()).await.unwrap();
    let batch = first.next(10).await.unwrap();
    for delivery in &batch[..5] {
        first.settler().ack(delivery);
    }
    let read = || async { (group(&connection, STREAM).await.lag == Some(0)).then_some(()) };
    eventually("the rest was read", read).await;
    first.close().await;
    assert_eq!(group(&connection, STREAM).await.pending, 15);

    let second = Subscription::open(settings(&server), config).await.unwrap();
    let mut batch = Vec::new();
    while batch.len() < 15 {
        batch.extend(second.next(500).await.unwrap());
    }
    let found: Vec<_> = batch.iter().map(|delivery| (number(delivery), delivery.deliveries)).collect();
    // Those that a handler had count as delivered, those that were only read don't.
    assert_eq!(found[..5], (5..10).map(|number| (number, 2)).collect::<Vec<_>>());
    assert_eq!(found[5..], (10..20).map(|number| (number, 1)).collect::<Vec<_>>());
    second.close().await;
}

#[tokio::test]
async fn entries_of_a_dead_consumer_are_taken_over() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..3).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(200), ..config() };
    let dead = Subscription::open(settings(&server), config.clone()).await.unwrap();
    let left = dead.next(500).await.unwrap();
    dead.abandon();

    let heir = Subscription::open(settings(&server), config).await.unwrap();
    let taken = heir.next(500).await.unwrap();
    assert_eq!(taken.len(), left.len());
    for (taken, left) in taken.iter().zip(&left) {
        assert_eq!((taken.id, taken.deliveries), (left.id, 2));
        heir.settler().ack(taken);
    }
    settled(&connection, STREAM).await;
    heir.close().await;
}

#[tokio::test]
async fn a_slow_live_consumer_is_not_robbed() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(300), ..config() };
    let slow = Subscription::open(settings(&server), config.clone()).await.unwrap();
    let held = slow.next(500).await.unwrap();
    let thief = Subscription::open(settings(&server), config).await.unwrap();
    // More than three times min_idle: the entry is renewed meanwhile.
    assert!(tokio::time::timeout(Duration::from_secs(1), thief.next(1)).await.is_err());
    slow.settler().ack(&held[0]);
    settled(&connection, STREAM).await;
    slow.close().await;
    thief.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_redis_loses_nothing() {
    let mut server = RedisServer::durable();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..300).await;
    let handler = Recorder::default();
    let seen = handler.seen.clone();
    let shutdown = Shutdown::new();
    let config = ConsumerConfig { batch: 10, ..config() };
    let running =
        tokio::spawn(ConsumerRuntime::new(settings(&server), config, handler).run(shutdown.clone()));
    eventually("some are handled", || async { (seen.lock().len() > 50).then_some(()) }).await;
    server.kill();
    server.start();
    let connection = connect(&server).await;
    append(&connection, STREAM, 300..400).await;
    eventually("all are handled", || async { (seen.lock().len() == 400).then_some(()) }).await;
    settled(&connection, STREAM).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_group_that_was_deleted_is_made_again() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let handler = Recorder::default();
    let seen = handler.seen.clone();
    let shutdown = Shutdown::new();
    let running =
        tokio::spawn(ConsumerRuntime::new(settings(&server), config(), handler).run(shutdown.clone()));
    append(&connection, STREAM, 0..10).await;
    eventually("the first are handled", || async { (seen.lock().len() == 10).then_some(()) }).await;
    redis::cmd("XGROUP").arg("DESTROY").arg(STREAM).arg(GROUP).exec(&mut server.connection()).unwrap();
    append(&connection, STREAM, 10..20).await;
    eventually("the others are handled", || async { (seen.lock().len() == 20).then_some(()) }).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn closing_without_redis_ends_in_time() {
    let mut server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    let batch = subscription.next(500).await.unwrap();
    server.kill();
    for delivery in &batch {
        subscription.settler().ack(delivery);
    }
    tokio::time::timeout(Duration::from_secs(9), subscription.close()).await.unwrap();
}

#[tokio::test]
async fn a_wrong_address_and_bad_settings_are_told_at_once() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let error = Subscription::open(RedisSettings::from_url(&url).unwrap(), config()).await.unwrap_err();
    assert!(error.to_string().contains("connection refused"), "{error}");
    for bad in [
        ConsumerConfig { group: String::new(), ..config() },
        ConsumerConfig { streams: Vec::new(), ..config() },
        ConsumerConfig { start: "yesterday".to_owned(), ..config() },
        ConsumerConfig { batch: 0, ..config() },
    ] {
        let error = Subscription::open(RedisSettings::default(), bad).await.unwrap_err();
        assert!(matches!(error, ConsumeError::InvalidSetting { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_tail_misses_nothing_between_reads_and_goes_on_after_a_restart() {
    let mut server = RedisServer::durable();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let mut tail = Tail::open(settings(&server), &[STREAM.to_owned()], After::Now).await.unwrap();
    append(&connection, STREAM, 10..20).await;
    let mut found = Vec::new();
    let mut restarted = false;
    while found.len() < 20 {
        match tail.next().await {
            News::Entries(entries) => {
                found.extend(entries.into_iter().map(|entry| number_of(&entry.event.unwrap().unwrap())));
            }
            News::Interrupted(_) => {}
            News::Resumed(rewound) => assert_eq!(rewound, []),
        }
        if found.len() >= 10 && !std::mem::replace(&mut restarted, true) {
            server.kill();
            server.start();
            let connection = connect(&server).await;
            append(&connection, STREAM, 20..30).await;
        }
    }
    assert_eq!(found, (10..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_tail_whose_stream_lost_entries_says_so_and_goes_on_from_its_end() {
    let mut server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1).await;
    let mut tail = Tail::open(settings(&server), &[STREAM.to_owned()], After::Now).await.unwrap();
    let seen = tail.positions()[0].1;
    server.kill();
    server.start();
    let rewound = loop {
        match tail.next().await {
            News::Interrupted(_) => {}
            News::Resumed(rewound) => break rewound,
            News::Entries(entries) => panic!("the stream is empty, but for {entries:?}"),
        }
    };
    assert_eq!(rewound, [Rewound { stream: STREAM.to_owned(), seen, end: EntryId::MIN }]);
    append(&connect(&server).await, STREAM, 1..2).await;
    let News::Entries(entries) = tail.next().await else { panic!("the new entry") };
    assert_eq!(number_of(&entries[0].event.clone().unwrap().unwrap()), 1);
}
