//! Groups, streams and members that come and go.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use synapse_rs::consumer::{Answer, ConsumerConfig, Subscription};
use synapse_test_support::{RedisServer, eventually};

use crate::support::*;

#[tokio::test]
async fn a_deleted_group_goes_on_where_all_is_acknowledged_and_keeps_what_is_in_hand() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    assert_eq!(ack_all(&subscription, 10).await, (0..10).collect::<Vec<_>>());
    pending_is(&connection, 0).await;
    append(&connection, STREAM, 10..11).await;
    let held = subscription.next(10).await.unwrap();

    redis::cmd("XGROUP").arg("DESTROY").arg(STREAM).arg(GROUP).exec(&mut server.connection()).unwrap();
    append(&connection, STREAM, 11..13).await;
    // Nothing that was acknowledged comes again, and what is in hand does not come twice.
    assert_eq!(ack_all(&subscription, 2).await, [11, 12]);
    pending_is(&connection, 1).await;
    subscription.settler().ack(&held[0]);
    settled(&connection, STREAM).await;
    subscription.close().await;
}

#[tokio::test]
async fn what_two_members_have_in_hand_outlives_their_group() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..20).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(300), batch: 10, ..config() };
    let left = Subscription::open(settings(&server), config.clone()).await.unwrap();
    let right = Subscription::open(settings(&server), config).await.unwrap();
    let held = left.next(5).await.unwrap();
    // All of them are in hand, with handlers or waiting for them.
    let all_read = || async { (group(&connection, STREAM).await.lag == Some(0)).then_some(()) };
    eventually("all are read", all_read).await;
    redis::cmd("XGROUP").arg("DESTROY").arg(STREAM).arg(GROUP).exec(&mut server.connection()).unwrap();
    // Made again by one of them; each renews what it has, which is pending for it again.
    eventually("all is pending again", || async {
        let groups = connection.groups(STREAM).await.unwrap();
        groups.first().filter(|group| group.pending == 20).map(|_| ())
    })
    .await;
    let mut handled: Vec<_> = held.iter().map(number).collect();
    for delivery in &held {
        left.settler().ack(delivery);
    }
    for subscription in [&left, &right] {
        let next = || tokio::time::timeout(Duration::from_millis(200), subscription.next(20));
        while let Ok(Some(batch)) = next().await {
            handled.extend(batch.iter().map(number));
            for delivery in &batch {
                subscription.settler().ack(delivery);
            }
        }
    }
    settled(&connection, STREAM).await;
    handled.sort_unstable();
    handled.dedup();
    assert_eq!(handled, (0..20).collect::<Vec<_>>());
    left.close().await;
    right.close().await;
}

#[tokio::test]
async fn connections_that_break_count_as_no_delivery() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..3).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(200), max_deliveries: 2, ..config() };
    let subscription = Subscription::open(settings(&server), config.clone()).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 3 {
        held.extend(subscription.next(3).await.unwrap());
    }
    for broken in 1..=4 {
        eventually("it waits for news", || async {
            let info: String = redis::cmd("INFO").arg("clients").query(&mut server.connection()).unwrap();
            info.contains("blocked_clients:1").then_some(())
        })
        .await;
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut server.connection()).unwrap();
        eventually("it reads again", || async {
            (subscription.settler().stats().lost_connections >= broken).then_some(())
        })
        .await;
    }
    subscription.abandon();
    // Two of them were delivered once, as far as anybody can tell: they are delivered again, not given up.
    let heir = Subscription::open(settings(&server), config).await.unwrap();
    let mut found = ack_all(&heir, 3).await;
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2]);
    heir.close().await;
    let connection = connect(&server).await;
    assert_eq!(dead(&connection, STREAM).await, []);
}

#[tokio::test]
async fn a_subscription_that_is_dropped_gives_back_what_it_has() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..200).await;
    // Nobody would take over what was not given back.
    let config = ConsumerConfig { min_idle: Duration::from_hours(1), ..config() };
    let subscription = Subscription::open(settings(&server), config.clone()).await.unwrap();
    subscription.next(10).await.unwrap();
    drop(subscription);
    eventually("all it had is given back", || async {
        let pending = connection.pending_entries(STREAM, GROUP, 1000).await.unwrap();
        let is_free = pending.iter().all(|entry| entry.idle >= Duration::from_hours(1));
        (!pending.is_empty() && is_free).then_some(())
    })
    .await;
    let heir = Subscription::open(settings(&server), config).await.unwrap();
    let mut found = ack_all(&heir, 200).await;
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 200);
    heir.close().await;
}

#[tokio::test]
async fn a_deleted_stream_is_read_from_its_new_beginning() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    ack_all(&subscription, 10).await;
    redis::cmd("DEL").arg(STREAM).exec(&mut server.connection()).unwrap();
    let add = |id: &str| {
        let mut command = redis::cmd("XADD");
        command.arg(STREAM).arg(id).arg("event").arg("counted").arg("number").arg(99);
        command.exec(&mut server.connection()).unwrap();
    };
    add("5-0");
    assert_eq!(ack_all(&subscription, 1).await, [99]);
    subscription.close().await;
}

#[tokio::test]
async fn a_group_ahead_of_its_stream_is_set_back_to_its_end() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1).await;
    connection.create_group(STREAM, GROUP, "9999999999999-0").await.unwrap();
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    append(&connection, STREAM, 1..2).await;
    assert_eq!(ack_all(&subscription, 1).await, [1]);
    subscription.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_a_group_at_work_sets_nothing_back() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let handled: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
    let noted = handled.clone();
    let running = Running::start(&server, config(), move |number, _| {
        *noted.lock().entry(number).or_default() += 1;
        async { Answer::Done }
    });
    let writer = tokio::spawn(async move { append(&connection, STREAM, 0..4_000).await });
    while !writer.is_finished() {
        Subscription::open(settings(&server), ConsumerConfig { batch: 1, ..config() })
            .await
            .unwrap()
            .close()
            .await;
    }
    writer.await.unwrap();
    eventually("all are handled", || async { (handled.lock().len() == 4_000).then_some(()) }).await;
    running.stop().await;
    assert_eq!(handled.lock().iter().filter(|(_, times)| **times > 1).collect::<Vec<_>>(), []);
}

#[tokio::test]
async fn consumers_that_are_gone_are_removed_unless_they_hold_something() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1).await;
    let holding = Subscription::open(settings(&server), config()).await.unwrap();
    holding.next(1).await.unwrap();
    let idle = Subscription::open(settings(&server), config()).await.unwrap();
    eventually("both read", || async { (group(&connection, STREAM).await.consumers == 2).then_some(()) })
        .await;
    let (holder, gone) = (holding.consumer().to_owned(), idle.consumer().to_owned());
    holding.abandon();
    idle.abandon();
    let removed = eventually("the idle one is gone", || async {
        let removed =
            connection.delete_dead_consumers(STREAM, GROUP, Duration::from_millis(20)).await.unwrap();
        (!removed.is_empty()).then_some(removed)
    })
    .await;
    assert_eq!(removed, [gone]);
    let left: Vec<_> = connection.consumers(STREAM, GROUP).await.unwrap();
    assert_eq!(left.iter().map(|consumer| consumer.name.as_str()).collect::<Vec<_>>(), [holder]);
}
