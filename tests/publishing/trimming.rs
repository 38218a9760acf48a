//! Streams so short that a batch trims away its own beginning: what was trimmed has arrived, and does not go again.

use std::ops::Range;

use synapse_rs::publisher::PublisherConfig;
use synapse_test_support::{Cut, Fault, Gate, Plan, Proxy, RedisServer};

use crate::support::*;

/// How many entries a node of a stream has: `MAXLEN ~` removes whole ones.
const NODE: u64 = 100;

fn short() -> PublisherConfig {
    PublisherConfig { maxlen: NODE, ..PublisherConfig::default() }
}

/// Bytes of the requests and replies of these events.
async fn measure(proxy: &Proxy, streams: &[&str], numbers: Range<u64>) -> (u64, u64) {
    let before = proxy.passed();
    let mut ledger = Ledger::new(start_through(proxy, short()));
    ledger.send(streams, numbers);
    ledger.flush("nothing is wrong").await;
    ledger.publisher.close(PATIENCE).await.unwrap();
    let after = proxy.passed();
    (after.request_bytes - before.request_bytes, after.reply_bytes - before.reply_bytes)
}

/// All that was sent was appended once: the end of it is there in order, the rest was trimmed.
async fn was_appended_once(ledger: &Ledger, server: &RedisServer, stream: &str, sent: &[u64], when: &str) {
    let connection = connect(server).await;
    ledger.flush(when).await;
    let stats = ledger.publisher.stats();
    assert_eq!(ever_added(&connection, stream).await, sent.len() as u64, "on {stream}, {when}: {stats:?}");
    let found: Vec<_> = ledger.found(&connection, stream).await.iter().filter_map(number).collect();
    assert!(found.len() as u64 >= NODE.min(sent.len() as u64), "{when}");
    assert_eq!(found, sent[sent.len() - found.len()..], "on {stream}, {when}");
    assert_eq!((stats.possible_duplicates, stats.failed, stats.outstanding), (0, 0, 0), "{when}: {stats:?}");
}

#[tokio::test]
async fn a_batch_longer_than_its_stream_is_appended_once_wherever_it_is_cut() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    let numbers = 1_000..2_500;
    let (request, reply) = measure(&proxy, &[STREAM], numbers.clone()).await;
    let mut trimmed = 0;
    for tenths in 0..=20 {
        admin::<()>(&server, &["FLUSHALL"]);
        let cut = Fault::Cut(Cut::Reset);
        proxy.plan(match tenths {
            0..=10 => Plan::new().requests(request * tenths / 10, cut),
            _ => Plan::new().replies(reply * (tenths - 11) / 10, cut),
        });
        let mut ledger = Ledger::new(start_through(&proxy, short()));
        ledger.send(&[STREAM], numbers.clone());
        let when = format!("cut at {tenths} tenths");
        let sent: Vec<_> = numbers.clone().collect();
        was_appended_once(&ledger, &server, STREAM, &sent, &when).await;
        trimmed += ledger.receipts_are_true(&connection, &when).await;
        ledger.publisher.close(PATIENCE).await.unwrap();
    }
    assert!(trimmed > 0, "receipts tell that events were trimmed before their ids were known");
}

#[tokio::test]
async fn several_short_streams_of_one_batch() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    let streams = ["a", "b", "c"];
    let numbers = 1_000..2_500;
    let (request, _) = measure(&proxy, &streams, numbers.clone()).await;
    for tenths in 1..=10 {
        admin::<()>(&server, &["FLUSHALL"]);
        proxy.plan(Plan::new().requests(request * tenths / 10, Fault::Cut(Cut::Fin)));
        let mut ledger = Ledger::new(start_through(&proxy, short()));
        ledger.send(&streams, numbers.clone());
        let when = format!("cut at {tenths} tenths");
        for (first, stream) in (numbers.start..).zip(streams) {
            let sent: Vec<_> = (first..numbers.end).step_by(streams.len()).collect();
            was_appended_once(&ledger, &server, stream, &sent, &when).await;
        }
        ledger.receipts_are_true(&connection, &when).await;
        ledger.publisher.close(PATIENCE).await.unwrap();
    }
}

/// The connection is cut after half of a batch on `a` and `b` in alternation, then `between` happens.
async fn cut_between(between: impl AsyncFnOnce(&RedisServer)) -> (RedisServer, Ledger, u64) {
    let server = RedisServer::new();
    let proxy = Proxy::to(&server).await;
    let (request, _) = measure(&proxy, &["a", "b"], 100..200).await;
    admin::<()>(&server, &["FLUSHALL"]);
    let (gate, before) = (Gate::new(), proxy.passed());
    proxy.plan(Plan::new().requests(request / 2, Fault::Cut(Cut::Reset)));
    proxy.plan(Plan::new().from_the_start().requests(0, Fault::Hold(gate.clone())));
    let mut ledger = Ledger::new(start_through(&proxy, short()));
    ledger.send(&["a", "b"], 100..200);
    proxy.until("the server is done", |passed| passed.broken > before.broken).await;
    let arrived = ever_added(&connect(&server).await, "a").await;
    between(&server).await;
    gate.open();
    ledger.flush("cut between").await;
    ledger.publisher.close(PATIENCE).await.unwrap();
    (server, ledger, arrived)
}

/// An event found on `b` proves that those on `a` before it were executed, although nothing is left of them.
#[tokio::test]
async fn what_one_stream_has_proves_what_another_had() {
    let (server, ledger, arrived) =
        cut_between(async |server| admin(server, &["XTRIM", "a", "MAXLEN", "0"])).await;
    let connection = connect(&server).await;
    let added = ever_added(&connection, "a").await;
    let stats = ledger.publisher.stats();
    // At most the one behind the last on `b` can't be told.
    assert!(added >= 50 && added - 50 <= stats.possible_duplicates.min(1), "{added} on a: {stats:?}");
    assert_eq!(ever_added(&connection, "b").await, 50, "{stats:?}");
    let trimmed = ledger.receipts_are_true(&connection, "a is trimmed").await as u64;
    assert!(trimmed + 1 >= arrived, "{trimmed} of {arrived}");
}

#[tokio::test]
async fn where_all_was_trimmed_all_goes_again_and_is_known_to_be_possible() {
    let (server, ledger, arrived) = cut_between(async |server| {
        for stream in ["a", "b"] {
            admin::<()>(server, &["XTRIM", stream, "MAXLEN", "0"]);
        }
    })
    .await;
    let connection = connect(&server).await;
    let added = ever_added(&connection, "a").await + ever_added(&connection, "b").await;
    let stats = ledger.publisher.stats();
    assert!(arrived > 20 && added > 100, "{arrived} had arrived, {added} were appended");
    assert!(added - 100 <= stats.possible_duplicates, "{added} appended: {stats:?}");
    let mut found = Vec::new();
    for stream in ["a", "b"] {
        found.extend(ledger.found(&connection, stream).await.iter().filter_map(number));
    }
    found.sort_unstable();
    assert_eq!(found, (100..200).collect::<Vec<_>>());
}

/// Others write so much that they trim away what we had written.
#[tokio::test]
async fn what_others_trim_away_is_not_lost() {
    let (server, ledger, _) = cut_between(async |server| {
        let connection = connect(server).await;
        for number in 0..350 {
            connection
                .append("a", [("event", "other"), ("n", &number.to_string())], Some(NODE))
                .await
                .unwrap();
        }
    })
    .await;
    let connection = connect(&server).await;
    let added = ever_added(&connection, "a").await - 350;
    let stats = ledger.publisher.stats();
    assert!(added >= 50 && added - 50 <= stats.possible_duplicates.min(1), "{added} on a: {stats:?}");
    assert_eq!(ever_added(&connection, "b").await, 50, "{stats:?}");
    ledger.receipts_are_true(&connection, "others trim").await;
}

/// Others' entries push the bound out of the stream before ours is refused: it would still be there if it had arrived.
#[tokio::test]
async fn what_was_refused_is_not_taken_for_trimmed() {
    let server = RedisServer::builder().set("maxmemory-policy", "noeviction").start();
    let connection = connect(&server).await;
    let memory = |limit: &str| admin::<()>(&server, &["CONFIG", "SET", "maxmemory", limit]);
    let proxy = Proxy::to(&server).await;
    let (first, _) = measure(&proxy, &["a"], 100..101).await;
    let (request, _) = measure(&proxy, &["a", "b"], 100..104).await;
    admin::<()>(&server, &["FLUSHALL"]);
    let gates = [Gate::new(), Gate::new()];
    let plan =
        Plan::new().requests(0, Fault::Hold(gates[0].clone())).requests(first, Fault::Hold(gates[1].clone()));
    // Nobody is told of anything.
    proxy.plan(plan.requests(request, Fault::Cut(Cut::Reset)).replies(0, Fault::Swallow));
    let (before, mut ledger) = (proxy.passed(), Ledger::new(start_through(&proxy, short())));
    ledger.send(&["a", "b"], 100..104);
    proxy.until("the batch is held", |passed| passed.faults == before.faults + 1).await;
    for number in 0..350 {
        connection.append("a", [("event", "other"), ("n", &number.to_string())], Some(NODE)).await.unwrap();
    }
    memory("1");
    gates[0].open();
    proxy.until("the first event is refused", |passed| passed.faults == before.faults + 3).await;
    memory("0");
    gates[1].open();
    assert_eq!(ledger.repeats(&connection, "refused while others trim").await, 0);
}
