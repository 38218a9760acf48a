//! What is kept, on either database.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use synapse_chassis::settings::Environment;
use synapse_database::{Database, DatabaseSettings};
use synapse_notifications::{
    notification::Notification,
    store::{Fate, MAX_WAITING, Mark, Push, PushOf, Query, SCHEMA, Settled, Store, Subscription},
};
use synapse_test_support::PostgresServer;
use tempfile::TempDir;
use uuid::Uuid;

/// A store; the rest keeps it alive.
struct Bench {
    store: Store,
    _folder: TempDir,
    _server: Option<PostgresServer>,
}

async fn both() -> [Bench; 2] {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notifications.db");
    let (database, writer) = Database::open_sqlite(&path, SCHEMA, Duration::from_secs(20)).await.unwrap();
    tokio::spawn(writer.run());
    let on_sqlite = Bench { store: Store::new(database), _folder: folder, _server: None };
    let server = PostgresServer::new();
    let url = server.url();
    let settings =
        DatabaseSettings::read(&Environment::from_map([("DATABASE_URL", url.as_str())]), "x.db").unwrap();
    let database = Database::open_postgres(&settings, SCHEMA).await.unwrap();
    let folder = TempDir::new().unwrap();
    [on_sqlite, Bench { store: Store::new(database), _folder: folder, _server: Some(server) }]
}

fn notification(user: &str, number: u32, is_live: bool) -> Notification {
    Notification {
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{user} {number}").as_bytes()),
        user: user.to_owned(),
        event_id: number.to_string(),
        kind: "badge".to_owned(),
        title: "News".to_owned(),
        message: "Event: badge – 🎖".to_owned(),
        data: "{\"a\":\"\\u0000\"}".to_owned(),
        timestamp: "2026-11-25T00:00:00.000000Z".to_owned(),
        created_ms: 1_000 + i64::from(number),
        is_live,
    }
}

fn subscription(name: &str) -> Subscription {
    Subscription { endpoint: name.to_owned(), p256dh: "p".to_owned(), auth: "a".to_owned() }
}

fn settled(push: &Push, fate: Fate, now_ms: i64, rests_until_ms: Option<i64>) -> Settled {
    Settled { sequence: push.sequence, endpoint: push.to.endpoint.clone(), fate, now_ms, rests_until_ms }
}

fn push() -> PushOf {
    PushOf { payload: "hello".to_owned(), expires_ms: 99_000 }
}

async fn list(store: &Store, user: &str, unread: bool) -> Vec<Notification> {
    let query = Query { user: user.to_owned(), unread, limit: 500, before: None };
    store.list(query).await.unwrap().0.into_iter().map(|listed| listed.notification).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_kept_once_however_many_hand_it_in() {
    for Bench { store, .. } in &both().await {
        store.subscribe("u".to_owned(), subscription("e")).await.unwrap();
        let insert = |n: u32| store.insert(notification("u", n % 10, true), Some(push()));
        let stored: Vec<_> = join_all((0..100).map(insert)).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(stored.iter().filter(|stored| stored.is_new).count(), 10);
        assert_eq!(stored.iter().map(|stored| stored.pushes).sum::<u64>(), 10, "and pushed once");
        let kept: HashSet<_> = list(store, "u", false).await.iter().map(|it| it.event_id.clone()).collect();
        assert_eq!(kept.len(), 10);
        let again = store.insert(notification("v", 1, true), Some(push())).await.unwrap();
        assert!(again.is_new && again.pushes == 0, "another user's is another");
        let mut first = list(store, "v", false).await;
        assert_eq!(first.pop(), Some(notification("v", 1, true)), "as it was handed in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_announced_and_shown_is_known_until_it_is() {
    for Bench { store, .. } in &both().await {
        for number in 0..5 {
            store.insert(notification("u", number, number != 3), None).await.unwrap();
        }
        let numbers =
            |found: Vec<Notification>| -> Vec<String> { found.into_iter().map(|it| it.event_id).collect() };
        let unannounced = async |before_ms| numbers(store.unannounced(before_ms, 0).await.unwrap().0);
        let missed = async |most, max_bytes| store.missed("u".to_owned(), most, max_bytes).await.unwrap();
        assert_eq!(unannounced(1_003).await, ["0", "1", "2"], "not the youngest");
        assert_eq!(unannounced(9_999).await, ["0", "1", "2", "4"], "not the old one");
        assert_eq!(numbers(missed(2, 1 << 20).await.notifications), ["2", "4"], "newest, in order");
        assert_eq!(numbers(missed(9, 1).await.notifications), ["4"], "one, however large");
        let ids = [0, 2].map(|number| notification("u", number, true).id);
        store.mark(&ids, Mark::Announced).await.unwrap();
        store.mark(&ids[..1], Mark::Delivered).await.unwrap();
        assert_eq!(unannounced(9_999).await, ["1", "4"]);
        let all = missed(100, 1 << 20).await;
        assert_eq!(
            (numbers(all.notifications), all.passed_over),
            (vec!["1".into(), "2".into(), "4".into()], None)
        );
        let older = missed(1, 1 << 20).await.passed_over.unwrap();
        assert!(!store.pass_over("u".to_owned(), older).await.unwrap(), "that was all");
        assert_eq!(
            numbers(missed(100, 1 << 20).await.notifications),
            ["4"],
            "the others are left to the inbox"
        );
        assert_eq!(store.mark_all_read("u".to_owned(), 7).await.unwrap(), 5);
        assert!(missed(100, 1 << 20).await.notifications.is_empty(), "what was read needs no showing");
        assert!(list(store, "u", true).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_taken_by_one_and_comes_back_to_all_if_nothing_is_heard() {
    for Bench { store, .. } in &both().await {
        for name in ["a", "b", "c", "d"] {
            store.subscribe("u".to_owned(), subscription(name)).await.unwrap();
        }
        store.insert(notification("u", 0, true), Some(push())).await.unwrap();
        assert_eq!(store.next_push_ms(&[]).await.unwrap(), Some(1_000));
        assert!(store.take_pushes(999, 5_000, 10, vec![]).await.unwrap().is_empty(), "not due yet");
        let mut taken = Vec::new();
        // All may look at the same two at once, of which one gets them and the others nothing.
        for _ in 0..4 {
            let takers = join_all((0..4).map(|_| store.take_pushes(1_000, 5_000, 2, vec![]))).await;
            taken.extend(takers.into_iter().flat_map(Result::unwrap));
        }
        let endpoints: HashSet<_> = taken.iter().map(|push| push.to.endpoint.clone()).collect();
        assert_eq!((taken.len(), endpoints.len()), (4, 4), "each by one");
        let take = async |now_ms| store.take_pushes(now_ms, 9_000, 10, vec![]).await;
        store.settle_push(settled(&taken[0], Fate::Over, 1_000, None)).await.unwrap();
        store.settle_push(settled(&taken[1], Fate::Again { due_ms: 3_000 }, 1_000, None)).await.unwrap();
        assert_eq!(take(3_000).await.unwrap()[0].attempts, 1);
        assert_eq!(take(5_000).await.unwrap().len(), 2, "nothing was heard of those");
        let gone = taken[2].to.endpoint.clone();
        assert!(store.unsubscribe("u".to_owned(), gone.clone()).await.unwrap());
        assert!(!store.forget(subscription(&gone)).await.unwrap(), "it was forgotten already");
        assert_eq!(take(9_000).await.unwrap().len(), 2, "nor is it sent to");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_take_turns_and_one_that_fails_rests_with_all_that_waits_for_it() {
    for Bench { store, .. } in &both().await {
        for (user, name) in [("u", "slow"), ("v", "well")] {
            store.subscribe(user.to_owned(), subscription(name)).await.unwrap();
        }
        let insert = async |user: &str, number| {
            store.insert(notification(user, number, true), Some(push())).await.unwrap();
        };
        for number in 0..3 {
            insert("u", number).await;
        }
        insert("v", 7).await;
        let take = async |now_ms, most, but: &[&str]| {
            let but = but.iter().map(|endpoint| (*endpoint).to_owned()).collect();
            store.take_pushes(now_ms, 50_000, most, but).await.unwrap()
        };
        let to = |pushes: &[Push]| -> Vec<_> { pushes.iter().map(|push| push.to.endpoint.clone()).collect() };
        assert_eq!(take(2_000, 10, &["slow", "well"]).await.len(), 0, "both are busy");
        assert_eq!(store.next_push_ms(&["slow".to_owned(), "well".to_owned()]).await.unwrap(), None);
        let taken = take(2_000, 1, &[]).await;
        assert_eq!(to(&taken), ["slow"], "the oldest, and one of its endpoint");
        store.settle_push(settled(&taken[0], Fate::Sent, 2_000, None)).await.unwrap();
        let taken = take(2_000, 1, &[]).await;
        assert_eq!(to(&taken), ["well"], "its turn, though there are older ones to the other");
        store.settle_push(settled(&taken[0], Fate::Sent, 2_000, None)).await.unwrap();
        let taken = take(2_000, 10, &[]).await;
        let failed = settled(&taken[0], Fate::Again { due_ms: 9_000 }, 2_000, Some(9_000));
        store.settle_push(failed).await.unwrap();
        insert("u", 3).await;
        insert("v", 8).await;
        assert_eq!(to(&take(8_999, 10, &[]).await), ["well"], "what comes meanwhile rests too");
        let taken = take(9_000, 10, &[]).await;
        assert_eq!((taken.len(), taken[0].attempts, taken[0].failures), (1, 1, 1), "the one that was tried");
        store.settle_push(settled(&taken[0], Fate::Sent, 9_000, None)).await.unwrap();
        let taken = take(9_000, 10, &[]).await;
        assert_eq!((taken.len(), taken[0].failures), (1, 0), "it is well again");
        assert_eq!(store.remove_failing(99_000).await.unwrap(), 0);
        store.settle_push(settled(&taken[0], Fate::Over, 10_000, Some(98_000))).await.unwrap();
        assert_eq!(store.remove_failing(10_000).await.unwrap(), 0, "not for so long");
        assert_eq!(store.remove_failing(10_001).await.unwrap(), 1);
        assert_eq!(store.remove_expired_pushes(98_999).await.unwrap(), 0);
        insert("v", 9).await;
        let taken = take(60_000, 10, &[]).await;
        let rests = settled(&taken[0], Fate::Again { due_ms: 200_000 }, 60_000, Some(200_000));
        store.settle_push(rests).await.unwrap();
        assert_eq!(store.remove_expired_pushes(99_000).await.unwrap(), 2, "whenever they are due");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_whoever_has_a_browser_now_and_did_not_have_it_then() {
    for Bench { store, .. } in &both().await {
        store.subscribe("old".to_owned(), subscription("shared")).await.unwrap();
        store.insert(notification("old", 0, true), Some(push())).await.unwrap();
        let taken = store.take_pushes(2_000, 3_000, 10, vec![]).await.unwrap();
        store.subscribe("new".to_owned(), subscription("shared")).await.unwrap();
        // One that was being tried meanwhile comes back, and is not sent to the new user.
        store.settle_push(settled(&taken[0], Fate::Again { due_ms: 2_500 }, 2_000, None)).await.unwrap();
        assert_eq!(store.take_pushes(9_000, 9_999, 10, vec![]).await.unwrap().len(), 0);
        let renewed = Subscription { p256dh: "q".to_owned(), ..subscription("shared") };
        store.subscribe("new".to_owned(), renewed.clone()).await.unwrap();
        assert!(!store.forget(subscription("shared")).await.unwrap(), "a late answer about the old keys");
        assert!(store.forget(renewed).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_so_many_pushes_wait_for_a_subscription() {
    for Bench { store, .. } in &both().await {
        store.subscribe("u".to_owned(), subscription("e")).await.unwrap();
        let mut queued = 0;
        for number in 0..u32::try_from(MAX_WAITING).unwrap() + 5 {
            queued += store.insert(notification("u", number, true), Some(push())).await.unwrap().pushes;
        }
        assert_eq!(queued, u64::try_from(MAX_WAITING).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_it_is_kept_is_removed() {
    for Bench { store, .. } in &both().await {
        for number in 0..4 {
            store.insert(notification("u", number, true), None).await.unwrap();
        }
        assert_eq!(store.gauges().await.unwrap().oldest_ms, 1_000);
        assert_eq!(store.remove_before(1_002).await.unwrap(), 2);
        let gauges = store.gauges().await.unwrap();
        assert_eq!((gauges.oldest_ms, gauges.unannounced, gauges.pushes), (1_002, 2, 0));
        assert_eq!(list(store, "u", false).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_first_key() {
    for Bench { store, .. } in &both().await {
        let asked = join_all((0..8).map(|number| store.vapid_key(number.to_string()))).await;
        let keys: HashSet<_> = asked.into_iter().map(Result::unwrap).collect();
        assert_eq!(keys.len(), 1);
    }
}
