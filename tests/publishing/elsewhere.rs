//! After a cut the address leads to another server, or the streams are no longer what they were.

use synapse_rs::publisher::PublisherConfig;
use synapse_test_support::{Cut, Fault, Gate, Passed, Plan, Proxy, RedisServer, eventually, free_port};

use crate::support::*;

const STREAMS: [&str; 3] = ["a", "b", "c"];
const BATCH: std::ops::Range<u64> = 100..160;

/// A publisher whose connection ends in the middle of a batch and that waits before the next one.
struct Cutting {
    server: RedisServer,
    proxy: Proxy,
    gate: Gate,
    ledger: Ledger,
}

impl Cutting {
    /// Some events are acknowledged; then of a batch half is executed and nothing acknowledged.
    async fn new() -> Self {
        let server = RedisServer::new();
        let proxy = Proxy::to(&server).await;
        let request = Self::measure(&proxy, BATCH).await;
        let acknowledged = Self::measure(&proxy, 200..230).await;
        admin::<()>(&server, &["FLUSHALL"]);
        let (gate, before) = (Gate::new(), proxy.passed());
        proxy.plan(Plan::new().requests(acknowledged + request / 2, Fault::Cut(Cut::Reset)));
        proxy.plan(Plan::new().from_the_start().requests(0, Fault::Hold(gate.clone())));
        let mut ledger = Ledger::new(start_through(&proxy, PublisherConfig::default()));
        ledger.send(&STREAMS, 200..230);
        ledger.flush("before").await;
        ledger.send(&STREAMS, BATCH);
        let is_over =
            |passed: &Passed| passed.broken == before.broken + 1 && passed.faults == before.faults + 2;
        proxy.until("the cut is over and the next connection held", is_over).await;
        Self { server, proxy, gate, ledger }
    }

    async fn measure(proxy: &Proxy, numbers: std::ops::Range<u64>) -> u64 {
        let before = proxy.passed();
        let mut ledger = Ledger::new(start_through(proxy, PublisherConfig::default()));
        ledger.send(&STREAMS, numbers);
        ledger.flush("nothing is wrong").await;
        ledger.publisher.close(PATIENCE).await.unwrap();
        proxy.passed().request_bytes - before.request_bytes
    }

    /// The next connection, and those after it, lead to this server.
    fn fail_over(&self, to: &RedisServer) {
        self.proxy.lead_to(to);
        // The one that is held leads to the old server.
        self.proxy.cut_all(Cut::Reset);
        self.gate.open();
    }

    /// The numbers of this publisher's on a server, over all streams.
    async fn numbers_on(&self, server: &RedisServer) -> Vec<u64> {
        let connection = connect(server).await;
        let mut found = Vec::new();
        for stream in STREAMS {
            found.extend(self.ledger.found(&connection, stream).await.iter().filter_map(number));
        }
        found.sort_unstable();
        found
    }
}

#[tokio::test]
async fn an_empty_server_gets_all_that_is_not_acknowledged() {
    let cutting = Cutting::new().await;
    let other = RedisServer::new();
    // Among them is a connection with the number that ours had on the old server.
    let mut innocent: Vec<_> = (0..20).map(|_| other.connection()).collect();
    cutting.fail_over(&other);
    cutting.ledger.flush("another server").await;
    assert_eq!(cutting.numbers_on(&other).await, BATCH.collect::<Vec<_>>());
    for connection in &mut innocent {
        redis::cmd("PING").exec(connection).expect("nobody else's connection is killed");
    }
    assert_eq!(cutting.ledger.publisher.stats().possible_duplicates, 0);
}

#[tokio::test]
async fn a_server_that_lags_behind_gets_all_that_is_not_acknowledged() {
    let cutting = Cutting::new().await;
    let other = RedisServer::new();
    let (from, to) = (connect(&cutting.server).await, &mut other.connection());
    // It has the first half of what was acknowledged, under the same ids.
    for stream in STREAMS {
        let entries = entries(&from, stream).await;
        for entry in entries.iter().take(5) {
            let mut command = redis::cmd("XADD");
            command.arg(stream).arg(entry.id.to_string());
            for (name, value) in entry.fields() {
                command.arg(name).arg(value);
            }
            command.exec(to).unwrap();
        }
    }
    cutting.fail_over(&other);
    cutting.ledger.flush("a server that lags").await;
    assert_eq!(cutting.numbers_on(&other).await, BATCH.chain(200..215).collect::<Vec<_>>());
    assert_eq!(cutting.ledger.publisher.stats().possible_duplicates, 0);
}

/// A replica had received some of the batch before it became the master: its entries, its ids, another `run_id`.
#[tokio::test]
async fn a_replica_that_has_some_of_the_batch_gets_the_rest() {
    let cutting = Cutting::new().await;
    let other = RedisServer::new();
    // Not later, in case more replicas come.
    admin::<()>(&cutting.server, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    admin::<()>(&other, &["REPLICAOF", "127.0.0.1", &cutting.server.port().to_string()]);
    eventually("it has caught up", || async {
        let info: String = admin(&other, &["INFO", "replication"]);
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    admin::<()>(&other, &["REPLICAOF", "NO", "ONE"]);
    cutting.fail_over(&other);
    cutting.ledger.arrived_once(&connect(&other).await, "a replica").await;
}

/// What was acknowledged elsewhere has greater ids than what the new server gives: that is no bound for it.
#[tokio::test]
async fn a_server_whose_clock_is_behind_gets_all_once() {
    let (server, other) = (RedisServer::new(), RedisServer::new());
    let proxy = Proxy::to(&server).await;
    let request = Cutting::measure(&proxy, BATCH).await;
    for stream in STREAMS {
        admin::<()>(&server, &["XADD", stream, "99999999999999-7", "event", "other"]);
    }
    let mut ledger = Ledger::new(start_through(&proxy, PublisherConfig::default()));
    ledger.send(&STREAMS, 200..230);
    ledger.flush("before").await;
    proxy.lead_to(&other);
    // All is executed there, and nobody is told.
    proxy.plan(Plan::new().requests(request, Fault::Cut(Cut::Reset)).replies(0, Fault::Swallow));
    proxy.cut_all(Cut::Reset);
    ledger.send(&STREAMS, BATCH);
    ledger.flush("a clock that is behind").await;
    let connection = connect(&other).await;
    let mut found = Vec::new();
    for stream in STREAMS {
        found.extend(ledger.found(&connection, stream).await.iter().filter_map(number));
    }
    found.sort_unstable();
    assert_eq!((found, ledger.publisher.stats().possible_duplicates), (BATCH.collect::<Vec<_>>(), 0));
}

/// A replica that lags tells nothing of what its master has, and takes nothing: the master is asked again.
#[tokio::test]
async fn a_replica_on_the_way_back_doubles_nothing() {
    let cutting = Cutting::new().await;
    let replica = RedisServer::new();
    admin::<()>(&replica, &["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    cutting.fail_over(&replica);
    let publisher = &cutting.ledger.publisher;
    let connections = cutting.proxy.passed().connections;
    cutting.proxy.until("it has tried the replica", |passed| passed.connections > connections + 1).await;
    assert_eq!(publisher.stats().outstanding, 60, "a replica takes nothing");
    cutting.proxy.lead_to(&cutting.server);
    cutting.proxy.cut_all(Cut::Reset);
    cutting.ledger.arrived_once(&connect(&cutting.server).await, "by way of a replica").await;
}

#[tokio::test]
async fn the_same_server_after_a_restart_gets_the_rest() {
    let mut cutting = Cutting::new().await;
    admin::<()>(&cutting.server, &["SAVE"]);
    cutting.server.kill();
    cutting.server.start();
    // Client ids have begun again: ours is somebody else's now.
    let mut innocent: Vec<_> = (0..20).map(|_| cutting.server.connection()).collect();
    cutting.gate.open();
    cutting.ledger.arrived_once(&connect(&cutting.server).await, "restarted").await;
    for connection in &mut innocent {
        redis::cmd("PING").exec(connection).expect("nobody else's connection is killed");
    }
}

#[tokio::test]
async fn a_stream_that_was_deleted_gets_the_rest() {
    let cutting = Cutting::new().await;
    let before = cutting.numbers_on(&cutting.server).await;
    admin::<()>(&cutting.server, &["DEL", "b"]);
    cutting.gate.open();
    is_not_lost(&cutting, before, "deleted").await;
}

#[tokio::test]
async fn streams_that_were_flushed_get_the_rest() {
    let cutting = Cutting::new().await;
    let before = cutting.numbers_on(&cutting.server).await;
    admin::<()>(&cutting.server, &["FLUSHALL"]);
    cutting.gate.open();
    is_not_lost(&cutting, before, "flushed").await;
}

#[tokio::test]
async fn a_stream_that_was_deleted_and_written_by_others_gets_the_rest() {
    let cutting = Cutting::new().await;
    let before = cutting.numbers_on(&cutting.server).await;
    admin::<()>(&cutting.server, &["DEL", "b"]);
    let connection = connect(&cutting.server).await;
    for number in 0..5 {
        connection.append("b", [("event", "other"), ("number", &number.to_string())], None).await.unwrap();
    }
    cutting.gate.open();
    is_not_lost(&cutting, before, "deleted and written").await;
}

#[tokio::test]
async fn entries_that_someone_deleted_count_as_arrived_or_possible() {
    let cutting = Cutting::new().await;
    let before = cutting.numbers_on(&cutting.server).await;
    let connection = connect(&cutting.server).await;
    for stream in STREAMS {
        let entries = entries(&connection, stream).await;
        for entry in entries.iter().skip(10).step_by(2) {
            admin::<()>(&cutting.server, &["XDEL", stream, &entry.id.to_string()]);
        }
    }
    cutting.gate.open();
    is_not_lost(&cutting, before, "entries deleted").await;
}

#[tokio::test]
async fn a_stream_that_became_something_else_fails_its_events_alone() {
    let cutting = Cutting::new().await;
    admin::<()>(&cutting.server, &["SET", "b", "a string"]);
    cutting.gate.open();
    let error = cutting.ledger.publisher.flush(PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    let connection = connect(&cutting.server).await;
    for (stream, sent, receipt) in cutting.ledger.outcomes() {
        let outcome = receipt.outcome().unwrap();
        assert!(outcome.is_ok() || stream == "b", "{sent} on {stream}: {outcome:?}");
    }
    for stream in ["a", "c"] {
        let found = cutting.ledger.found(&connection, stream).await;
        assert_eq!(found.len(), 30, "{stream}");
    }
}

/// Everything that had not arrived before is there, nothing twice; what had arrived may be there again.
async fn is_not_lost(cutting: &Cutting, before: Vec<u64>, when: &str) {
    cutting.ledger.flush(when).await;
    let mut found = cutting.numbers_on(&cutting.server).await;
    let count = found.len();
    found.dedup();
    assert_eq!(found.len(), count, "nothing is there twice, {when}");
    let mut ever = [before, found].concat();
    ever.sort_unstable();
    ever.dedup();
    assert_eq!(ever, BATCH.chain(200..230).collect::<Vec<_>>(), "{when}");
}
