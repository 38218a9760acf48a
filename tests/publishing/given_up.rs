//! Events that the server will never take fail alone: their caller is told, and the others arrive.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use synapse_rs::{
    Event, Publisher, RedisSettings,
    publisher::{DeliveryError, FlushError, GivenUp, OnGivenUp, PublisherConfig},
};
use synapse_test_support::{Cut, Fault, Plan, Proxy, RedisServer};

use crate::support::*;

/// What a publisher was told of: stream, number, and whether it was refused.
type Told = Arc<Mutex<Vec<(String, u64, bool)>>>;

fn telling() -> (Told, PublisherConfig) {
    let told = Told::default();
    let on_given_up = {
        let told = told.clone();
        move |event: &GivenUp<'_>| {
            let number = event.fields.iter().find(|(name, _)| *name == b"number").unwrap().1;
            let number = String::from_utf8(number.to_vec()).unwrap().parse().unwrap();
            let is_refused = matches!(event.error, DeliveryError::Refused { .. });
            told.lock().push((event.stream.to_owned(), number, is_refused));
        }
    };
    let config =
        PublisherConfig { on_given_up: Some(OnGivenUp(Arc::new(on_given_up))), ..PublisherConfig::default() };
    (told, config)
}

/// Sends to a stream that takes events and to one that never does, in alternation, and looks who is told what.
async fn fails_alone(server: &RedisServer, publisher: Publisher, told: &Told, refusal: &str) {
    let mut fine = Ledger::new(publisher.clone());
    let mut refused = Vec::new();
    for number in 100..200 {
        if number % 2 == 0 {
            fine.send(&["fine"], number..number + 1);
        } else {
            refused.push((number, publisher.send("taken", &numbered(number)).unwrap()));
        }
    }
    let error = publisher.flush(PATIENCE).await.unwrap_err();
    assert!(
        matches!(&error, FlushError::GivenUp { count: 50, reason } if reason.contains(refusal)),
        "{error}"
    );
    for (number, receipt) in &refused {
        let error = receipt.outcome().unwrap().unwrap_err();
        assert!(
            matches!(&error, DeliveryError::Refused { stream, reason }
            if stream == "taken" && reason.starts_with(refusal)),
            "{number}: {error}"
        );
    }
    let expected: Vec<_> = refused.iter().map(|(number, _)| ("taken".to_owned(), *number, true)).collect();
    assert_eq!(*told.lock(), expected);
    // A second flush has nothing to complain about.
    fine.arrived(&connect(server).await, refusal).await;
    let stats = publisher.stats();
    assert_eq!((stats.published, stats.failed, stats.outstanding, stats.outstanding_bytes), (50, 50, 0, 0));
    // Whether a key of which nothing can be read had them before is not known.
    let possible = if stats.lost_connections == 0 { 0 } else { 50 };
    assert!(stats.possible_duplicates <= possible, "{stats:?}");
}

#[tokio::test]
async fn a_key_of_the_wrong_type() {
    let server = RedisServer::new();
    admin::<()>(&server, &["SET", "taken", "a string"]);
    let (told, config) = telling();
    fails_alone(&server, Publisher::start(settings(&server), config), &told, "WRONGTYPE").await;
}

#[tokio::test]
async fn a_key_that_this_user_may_not_write() {
    let server = RedisServer::new();
    admin::<()>(&server, &["ACL", "SETUSER", "some", "on", ">pw", "~fine", "+@all"]);
    let settings = RedisSettings::from_url(&format!("redis://some:pw@127.0.0.1:{}", server.port())).unwrap();
    let (told, config) = telling();
    fails_alone(&server, Publisher::start(settings, config), &told, "NOPERM").await;
}

#[tokio::test]
async fn a_key_of_the_wrong_type_does_not_hinder_what_comes_after_a_cut() {
    let server = RedisServer::new();
    admin::<()>(&server, &["SET", "taken", "a string"]);
    is_cut_everywhere(&server, "", "WRONGTYPE").await;
}

#[tokio::test]
async fn a_key_that_this_user_may_not_touch_does_not_hinder_what_comes_after_a_cut() {
    let server = RedisServer::new();
    admin::<()>(&server, &["ACL", "SETUSER", "some", "on", ">pw", "~fine", "+@all"]);
    is_cut_everywhere(&server, "some:pw@", "NOPERM").await;
}

/// [`fails_alone`] with the connection cut, once at each tenth of the request and of the replies.
async fn is_cut_everywhere(server: &RedisServer, user: &str, refusal: &str) {
    let proxy = Proxy::to(server).await;
    let settings = RedisSettings::from_url(&proxy.url().replace("//", &format!("//{user}"))).unwrap();
    let play = async |plan: Plan| {
        admin::<()>(server, &["DEL", "fine"]);
        proxy.plan(plan);
        let (told, config) = telling();
        let publisher = Publisher::start(settings.clone(), config);
        fails_alone(server, publisher.clone(), &told, refusal).await;
        publisher.close(PATIENCE).await.unwrap();
        publisher.stats().lost_connections
    };
    assert_eq!(play(Plan::new()).await, 0);
    let whole = proxy.passed();
    for tenths in 0..10 {
        let cut = || Fault::Cut(if tenths % 2 == 0 { Cut::Reset } else { Cut::Fin });
        assert_eq!(play(Plan::new().requests(whole.request_bytes * tenths / 10, cut())).await, 1);
        assert_eq!(play(Plan::new().replies(whole.reply_bytes * tenths / 10, cut())).await, 1);
    }
}

/// What is done about an event that is given up is as a rule to publish it elsewhere.
#[tokio::test]
async fn whoever_is_told_may_publish() {
    let server = RedisServer::new();
    admin::<()>(&server, &["SET", "taken", "a string"]);
    let itself = Arc::new(OnceLock::<Publisher>::new());
    let on_given_up = {
        let itself = itself.clone();
        move |event: &GivenUp<'_>| {
            let elsewhere = Event::new("given-up").with("number", event.fields.len());
            itself.get().unwrap().publish("elsewhere", &elsewhere).unwrap();
        }
    };
    let config =
        PublisherConfig { on_given_up: Some(OnGivenUp(Arc::new(on_given_up))), ..PublisherConfig::default() };
    let publisher = itself.get_or_init(|| Publisher::start(settings(&server), config));
    let receipt = publisher.send(STREAM, &numbered(1)).unwrap();
    receipt.on_settled({
        let publisher = publisher.clone();
        move |_| publisher.publish("elsewhere", &numbered(2)).unwrap()
    });
    publisher.publish("taken", &numbered(3)).unwrap();
    publisher.flush(PATIENCE).await.unwrap_err();
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, "elsewhere").await.len(), 2);
}

#[tokio::test]
async fn what_is_left_behind_at_the_end_is_told_too() {
    let mut server = RedisServer::new();
    server.kill();
    let (told, config) = telling();
    let publisher = Publisher::start(settings(&server), config);
    for number in 0..10 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    publisher.close(std::time::Duration::ZERO).await.unwrap_err();
    synapse_test_support::eventually("all are told", || async { (told.lock().len() == 10).then_some(()) })
        .await;
    assert_eq!(*told.lock(), (0..10).map(|number| (STREAM.to_owned(), number, false)).collect::<Vec<_>>());
}
