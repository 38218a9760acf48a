//! Servers that forbid the questions which tell what has arrived: nothing is lost, and repeats are known to be possible.

use std::time::Duration;

use synapse_rs::{Publisher, RedisSettings, publisher::PublisherConfig};
use synapse_test_support::{Cut, Fault, Gate, Plan, Proxy, RedisServer};

use crate::support::*;

const STREAMS: [&str; 3] = ["a", "b", "c"];
const COUNT: u64 = 60;

/// How a batch may be broken that is so long, in bytes of its request and of its replies.
fn plans((request, reply): (u64, u64)) -> Vec<Plan> {
    let cut = || Fault::Cut(Cut::Reset);
    vec![
        Plan::new().requests(0, cut()),
        Plan::new().requests(request / 2, cut()),
        Plan::new().requests(request, cut()),
        Plan::new().replies(0, cut()),
        Plan::new().replies(reply / 2, cut()),
    ]
}

/// Breaks batches as a user with these rights; gives the repeats and how many were held possible.
async fn broken(rules: &[&str]) -> (u64, u64) {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let user = ["ACL", "SETUSER", "some", "on", ">pw", "~*", "+@all"];
    admin::<()>(&server, &[&user, rules].concat());
    let proxy = Proxy::to(&server).await;
    let settings = RedisSettings::from_url(&proxy.url().replace("//", "//some:pw@")).unwrap();
    let play = async |plan: Plan| {
        admin::<()>(&server, &["FLUSHALL"]);
        proxy.plan(plan);
        let mut ledger = Ledger::new(Publisher::start(settings.clone(), PublisherConfig::default()));
        ledger.send(&STREAMS, 100..100 + COUNT);
        let repeats = ledger.repeats(&connection, &format!("with {rules:?}")).await;
        ledger.publisher.close(PATIENCE).await.unwrap();
        (repeats, ledger.publisher.stats().possible_duplicates)
    };
    assert_eq!(play(Plan::new()).await, (0, 0), "with {rules:?}");
    let whole = proxy.passed();
    let mut sum = (0, 0);
    for plan in plans((whole.request_bytes, whole.reply_bytes)) {
        let (repeats, possible) = play(plan).await;
        sum = (sum.0 + repeats, sum.1 + possible);
    }
    sum
}

#[tokio::test]
async fn without_reading_all_that_was_sent_may_be_doubled() {
    for rules in [&["-xrange"][..], &["-xrange", "-xinfo"], &["-@read"], &["-@all", "+xadd", "+ping"]] {
        let (repeats, possible) = broken(rules).await;
        // Half of two batches, all of two more.
        assert!(repeats > 0 && possible >= repeats, "{repeats} of {possible}, with {rules:?}");
    }
}

/// The old connection is over, but nobody may say so: what is found has arrived, and the rest is not certain.
#[tokio::test]
async fn without_killing_the_old_connection_what_is_found_does_not_go_again() {
    for rules in [&["-client|kill"][..], &["-client"], &["-client|id"], &["-info"], &["-client", "-info"]] {
        let (repeats, possible) = broken(rules).await;
        assert_eq!(repeats, 0, "with {rules:?}");
        assert!(possible > 0, "with {rules:?}");
    }
}

#[tokio::test]
async fn without_asking_for_a_streams_extent_nothing_is_lost() {
    for rules in [&["-xinfo"][..], &["-xinfo|stream"]] {
        let (repeats, possible) = broken(rules).await;
        assert!(repeats <= possible, "{repeats} of {possible}, with {rules:?}");
    }
}

/// More than the sockets' buffers hold: the end of the batch was never on its way.
#[tokio::test]
async fn what_was_never_written_is_not_held_possible() {
    let server = RedisServer::new();
    admin::<()>(&server, &["ACL", "SETUSER", "some", "on", ">pw", "~*", "+@all", "-xrange"]);
    let proxy = Proxy::to(&server).await;
    let settings = RedisSettings::from_url(&proxy.url().replace("//", "//some:pw@")).unwrap();
    proxy.plan(Plan::new().requests(100_000, Fault::SwallowBoth));
    let config = PublisherConfig {
        max_batch_bytes: 64 * 1024 * 1024,
        response_timeout: Duration::from_millis(150),
        ..PublisherConfig::default()
    };
    let mut ledger = Ledger::new(Publisher::start(settings, config));
    ledger.padding = 30_000;
    ledger.send(&STREAMS, 0..1_000);
    ledger.repeats(&connect(&server).await, "the socket is full").await;
    let possible = ledger.publisher.stats().possible_duplicates;
    assert!(0 < possible && possible < 600, "{possible}");
}

#[tokio::test]
async fn late_bytes_of_a_connection_that_may_not_be_killed_are_known_to_be_possible() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    admin::<()>(&server, &["ACL", "SETUSER", "some", "on", ">pw", "~*", "+@all", "-client|kill"]);
    let proxy = Proxy::to(&server).await;
    let settings = RedisSettings::from_url(&proxy.url().replace("//", "//some:pw@")).unwrap();
    let mut measure = Ledger::new(Publisher::start(settings.clone(), PublisherConfig::default()));
    measure.send(&STREAMS, 100..100 + COUNT);
    measure.flush("nothing is wrong").await;
    measure.publisher.close(PATIENCE).await.unwrap();
    admin::<()>(&server, &["FLUSHALL"]);

    let (until, before, gate) = (proxy.passed().request_bytes, proxy.passed(), Gate::new());
    proxy.plan(Plan::new().requests(until / 2, Fault::Strand { until, gate: gate.clone() }));
    let mut ledger = Ledger::new(Publisher::start(settings, PublisherConfig::default()));
    ledger.send(&STREAMS, 100..100 + COUNT);
    ledger.flush("before the late bytes").await;
    gate.open();
    proxy.until("the late bytes have arrived", |passed| passed.broken > before.broken).await;
    let repeats = ledger.repeats(&connection, "late").await;
    assert!(repeats >= COUNT / 2, "{repeats}");
}
