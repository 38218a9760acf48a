//! Who gets which event, and what becomes of it by the handler's answer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use synapse_rs::{
    Filter, RedisSettings,
    consumer::{Answer, ConsumerConfig, Delivery, Kind, Settler, Subscription},
};
use synapse_test_support::{RedisServer, eventually};

use crate::support::*;

#[tokio::test]
async fn what_others_have_counted_up_is_tried_alone_before_it_is_given_up() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1).await;
    connection.create_group(STREAM, GROUP, "0").await.unwrap();
    let claim = "redis.call('XREADGROUP', 'GROUP', 'workers', 'old', 'STREAMS', 'numbers', '>') \
                 local id = redis.call('XRANGE', 'numbers', '-', '+')[1][1] \
                 redis.call('XCLAIM', 'numbers', 'workers', 'old', 0, id, 'IDLE', 99999999, 'RETRYCOUNT', 8, 'JUSTID')";
    redis::cmd("EVAL").arg(claim).arg(0).exec(&mut server.connection()).unwrap();
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    let batch = subscription.next(1).await.unwrap();
    assert_eq!(batch[0].deliveries, 9);
    subscription.settler().ack(&batch[0]);
    settled(&connection, STREAM).await;
    subscription.close().await;
    assert_eq!(dead(&connection, STREAM).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_holds_per_key_and_a_retry_holds_up_its_own_key_alone() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..60).await;
    let order: Arc<Mutex<Vec<(u64, u32)>>> = Arc::default();
    let seen = order.clone();
    let config = ConsumerConfig { concurrency: 8, ordered_by: Some("key".to_owned()), ..config() };
    let running = Running::start(&server, config, move |number, deliveries| {
        let seen = seen.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3))).await;
            seen.lock().push((number, deliveries));
            // The key of 6 stands still until all others are through.
            let others = seen.lock().iter().filter(|(other, _)| other % 3 != 0).count();
            if number == 6 && others < 40 { Answer::Failed("not yet".to_owned()) } else { Answer::Done }
        }
    });
    let with_patience = order.clone();
    eventually("all are handled", || async {
        let done =
            with_patience.lock().iter().map(|(number, _)| *number).collect::<std::collections::BTreeSet<_>>();
        (done.len() == 60).then_some(())
    })
    .await;
    running.stop().await;
    let order = order.lock().clone();
    for key in 0..3 {
        let mut of_key: Vec<_> = order.iter().map(|(number, _)| *number).filter(|n| n % 3 == key).collect();
        of_key.dedup();
        assert_eq!(of_key, (0..60).filter(|n| n % 3 == key).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_ends_its_process_each_time_is_tried_alone_and_set_aside_without_its_neighbours() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..5).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(60), max_deliveries: 2, ..config() };
    let poison = 2;
    let mut rounds = Vec::new();
    loop {
        let subscription = Subscription::open(settings(&server), config.clone()).await.unwrap();
        let settler = subscription.settler();
        // As a handler of batches would, it acknowledges none before it has handled them all.
        let next = || async {
            let news = tokio::time::timeout(Duration::from_millis(20), subscription.next(10)).await;
            match news {
                Ok(batch) => batch,
                Err(_) if !dead(&connection, STREAM).await.is_empty() => Some(Vec::new()),
                Err(_) => None,
            }
        };
        let batch = eventually("entries are taken over", next).await;
        rounds.push(batch.iter().map(number).collect::<Vec<_>>());
        if batch.is_empty() {
            subscription.close().await;
            break;
        }
        if batch.iter().any(|delivery| number(delivery) == poison) {
            subscription.abandon();
            continue;
        }
        for delivery in &batch {
            settler.ack(delivery);
        }
        subscription.close().await;
    }
    assert_eq!(rounds[..2], [vec![0, 1, 2, 3, 4], vec![0, 1, 2, 3, 4]]);
    assert!(rounds[2..].iter().all(|round| round.len() <= 1), "not alone: {rounds:?}");
    assert_eq!(dead(&connection, STREAM).await, [("2".to_owned(), "max_deliveries".to_owned())]);
    assert_eq!(group(&connection, STREAM).await.pending, 0);
}

#[tokio::test]
async fn a_handler_that_blocks_its_runtime_is_not_robbed() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(300), ..config() };
    let (url, thief_config) = (server.url(), config.clone());
    let (is_held, held) = std::sync::mpsc::channel();
    // In a runtime of its own: this one will be blocked.
    let thief = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        held.recv().unwrap();
        runtime.block_on(async {
            let settings = RedisSettings::from_url(&url).unwrap();
            let thief = Subscription::open(settings, thief_config).await.unwrap();
            let stolen = tokio::time::timeout(Duration::from_millis(1200), thief.next(1)).await;
            thief.close().await;
            stolen.is_ok()
        })
    });
    let is_over = Arc::new(Mutex::new(Some(thief)));
    let running = Running::start(&server, config, move |_, deliveries| {
        assert_eq!(deliveries, 1);
        is_held.send(()).unwrap();
        let thief = is_over.lock().take().unwrap();
        assert!(!thief.join().unwrap(), "the entry was taken from a live handler");
        async { Answer::Done }
    });
    eventually("it is handled", || async {
        let groups = connection.groups(STREAM).await.unwrap();
        groups.first().filter(|group| group.lag == Some(0) && group.pending == 0).map(|_| ())
    })
    .await;
    running.stop().await;
    assert_eq!(dead(&connection, STREAM).await, []);
}

#[tokio::test]
async fn what_is_unavailable_counts_no_attempt_and_lets_nothing_else_through() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..4).await;
    let calls: Arc<Mutex<BTreeMap<u64, Vec<u32>>>> = Arc::default();
    let is_up = Arc::new(AtomicBool::new(false));
    let (noted, up) = (calls.clone(), is_up.clone());
    let config = ConsumerConfig { max_deliveries: 1, ..config() };
    let running = Running::start(&server, config, move |number, deliveries| {
        noted.lock().entry(number).or_default().push(deliveries);
        let up = up.load(Ordering::Relaxed);
        async move { if up { Answer::Done } else { Answer::Unavailable(Duration::from_millis(5)) } }
    });
    eventually("it was tried often", || async { (calls.lock().get(&0)?.len() > 20).then_some(()) }).await;
    assert_eq!(calls.lock().len(), 1, "another entry was handed out meanwhile");
    is_up.store(true, Ordering::Relaxed);
    settled(&connection, STREAM).await;
    running.stop().await;
    assert!(calls.lock().values().flatten().all(|deliveries| *deliveries == 1));
    assert_eq!(dead(&connection, STREAM).await, []);
}

#[tokio::test]
async fn a_handler_that_hangs_has_failed_and_the_others_go_on() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..3).await;
    let config =
        ConsumerConfig { handler_timeout: Some(Duration::from_millis(20)), max_deliveries: 2, ..config() };
    let running = Running::start(&server, config, |number, _| async move {
        if number == 1 {
            std::future::pending::<()>().await;
        }
        Answer::Done
    });
    let is_dead = || async { (!dead(&connection, STREAM).await.is_empty()).then_some(()) };
    eventually("it was given up", is_dead).await;
    settled(&connection, STREAM).await;
    running.stop().await;
    assert_eq!(dead(&connection, STREAM).await, [("1".to_owned(), "max_deliveries".to_owned())]);
}

#[tokio::test]
async fn reading_waits_when_the_events_in_memory_are_large() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let payload = "x".repeat(10_000);
    for number in 0..400 {
        let fields = [("event", "counted"), ("number", &number.to_string()), ("payload", &payload)];
        connection.append(STREAM, fields, None).await.unwrap();
    }
    let config = ConsumerConfig { max_in_hand_bytes: 200_000, batch: 20, ..config() };
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    let settler = subscription.settler();
    let most = AtomicUsize::new(0);
    let mut handled = 0;
    while handled < 400 {
        let batch = subscription.next(1).await.unwrap();
        let bytes = usize::try_from(settler.stats().in_hand_bytes).unwrap();
        most.fetch_max(bytes, Ordering::Relaxed);
        settler.ack(&batch[0]);
        handled += 1;
    }
    // The limit and one read.
    assert!(most.load(Ordering::Relaxed) <= 2 * 200_000 + 10_100, "{most:?} bytes in hand");
    subscription.close().await;
}

#[tokio::test]
async fn a_condition_keeps_the_others_away_and_acknowledges_them() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..9).await;
    let condition = Filter::from_pairs(["key=k1"]).unwrap();
    let config = ConsumerConfig { condition: Some(condition), ..config() };
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    assert_eq!(ack_all(&subscription, 3).await, [1, 4, 7]);
    settled(&connection, STREAM).await;
    subscription.close().await;
}

fn broadcast(name: &str) -> ConsumerConfig {
    ConsumerConfig { group: name.to_owned(), kind: Kind::Broadcast, ..config() }
}

async fn fail_once(subscription: &Subscription, settler: &Settler) -> Delivery {
    let mut batch = subscription.next(1).await.unwrap();
    settler.fail(&batch[0], "again", None);
    batch.remove(0)
}

#[tokio::test]
async fn every_broadcast_consumer_gets_every_event_and_a_named_one_goes_on_where_it_was() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let left = Subscription::open(settings(&server), broadcast("left")).await.unwrap();
    let right = Subscription::open(settings(&server), broadcast("")).await.unwrap();
    let failed = fail_once(&right, &right.settler()).await;
    assert_eq!((number(&failed), failed.deliveries), (0, 1));
    let mut found = ack_all(&right, 10).await;
    found.sort_unstable();
    assert_eq!(found, (0..10).collect::<Vec<_>>());
    assert_eq!(ack_all(&left, 10).await, (0..10).collect::<Vec<_>>());
    left.close().await;
    append(&connection, STREAM, 10..12).await;
    let again = Subscription::open(settings(&server), broadcast("left")).await.unwrap();
    assert_eq!(ack_all(&again, 2).await, [10, 11]);
    let rejected = append(&connection, STREAM, 12..13).await[0];
    let batch = again.next(1).await.unwrap();
    again.settler().reject(&batch[0], "rejected", "no");
    again.close().await;
    assert_eq!(dead(&connection, STREAM).await, [("12".to_owned(), "rejected".to_owned())]);
    assert_eq!(connection.positions("left").await.unwrap(), [(STREAM.to_owned(), rejected)]);
    assert_eq!(connection.groups(STREAM).await.unwrap(), []);
    right.close().await;
}
