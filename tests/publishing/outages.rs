//! Servers that are gone or hang, for a while or again and again.

use std::time::Duration;

use synapse_rs::{
    Publisher,
    publisher::{FlushError, PublisherConfig},
};
use synapse_test_support::{RedisServer, eventually};
use tokio::task::JoinHandle;

use crate::support::*;

const STREAMS: [&str; 3] = ["a", "b", "c"];

/// Publishers that each send to all [`STREAMS`], as fast as they can.
struct Load {
    publishers: Vec<Publisher>,
    producers: Vec<JoinHandle<Ledger>>,
    total: u64,
}

impl Load {
    /// `count` publishers of `each` events.
    fn start(server: &RedisServer, count: usize, each: u64, config: &PublisherConfig) -> Self {
        let publishers: Vec<_> = (0..count)
            .map(|index| {
                let config = PublisherConfig { source: format!("publisher-{index}"), ..config.clone() };
                Publisher::start(settings(server), config)
            })
            .collect();
        let produce = |publisher: &Publisher| {
            let mut ledger = Ledger::new(publisher.clone());
            tokio::spawn(async move {
                for number in (0..each).step_by(100) {
                    // Never far ahead of redis, so that there is load as long as the test goes on.
                    while ledger.publisher.stats().outstanding > 500 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    ledger.send(&STREAMS, number..number + 100);
                    tokio::task::yield_now().await;
                }
                ledger
            })
        };
        let producers = publishers.iter().map(produce).collect();
        Self { publishers, producers, total: each * count as u64 }
    }

    fn published(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.stats().published).sum()
    }

    /// Waits until at least `count` more are published, or all are.
    async fn more(&self, count: u64) {
        let before = self.published();
        eventually("more is published", || async {
            let published = self.published();
            (published >= before + count || published == self.total).then_some(())
        })
        .await;
    }

    /// All arrive, each once; gives how many connections were lost meanwhile.
    async fn arrives_once(self, server: &RedisServer, when: &str) -> u64 {
        let mut lost = 0;
        for producer in self.producers {
            let ledger = producer.await.unwrap();
            ledger.arrived_once(&connect(server).await, when).await;
            lost += ledger.publisher.stats().lost_connections;
        }
        lost
    }
}

#[tokio::test]
async fn events_published_before_redis_is_there_wait_for_it() {
    let mut server = RedisServer::new();
    server.kill();
    let mut ledger = Ledger::new(start(&server));
    ledger.send(&STREAMS, 0..100);
    let waiting = ledger.publisher.flush(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(waiting, FlushError::Timeout { outstanding: 100, .. }), "{waiting}");
    waits(&ledger.publisher, "refused").await;
    server.start();
    ledger.arrived_once(&connect(&server).await, "redis came late").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_again_and_again() {
    let mut server = RedisServer::durable();
    let load = Load::start(&server, 3, 4_000, &PublisherConfig::default());
    for _ in 0..8 {
        load.more(300).await;
        server.kill();
        server.start();
    }
    let lost = load.arrives_once(&server, "redis was killed").await;
    assert!(lost >= 8, "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_kills_connections_again_and_again() {
    let server = RedisServer::new();
    let load = Load::start(&server, 3, 4_000, &PublisherConfig::default());
    for _ in 0..30 {
        load.more(100).await;
        admin::<()>(&server, &["CLIENT", "KILL", "TYPE", "normal"]);
    }
    // Some of them when there was nothing to send.
    let lost = load.arrives_once(&server, "connections were killed").await;
    assert!(lost >= 1, "{lost}");
}

/// Pauses the server under load.
async fn pauses(mode: &str, pause: Duration, response_timeout: Duration) -> u64 {
    let server = RedisServer::new();
    let config = PublisherConfig { response_timeout, ..PublisherConfig::default() };
    let load = Load::start(&server, 2, 2_000, &config);
    for _ in 0..3 {
        load.more(100).await;
        admin::<()>(&server, &["CLIENT", "PAUSE", &pause.as_millis().to_string(), mode]);
    }
    load.arrives_once(&server, &format!("paused for {pause:?}, {mode}")).await
}

#[tokio::test]
async fn a_pause_shorter_than_the_response_timeout_costs_no_connection() {
    let pause = Duration::from_millis(150);
    for mode in ["ALL", "WRITE"] {
        assert_eq!(pauses(mode, pause, PATIENCE).await, 0, "{mode}");
    }
}

#[tokio::test]
async fn a_pause_longer_than_the_response_timeout_is_waited_out() {
    let pause = Duration::from_millis(600);
    for mode in ["ALL", "WRITE"] {
        let lost = pauses(mode, pause, Duration::from_millis(100)).await;
        assert!(lost > 0, "{mode}");
    }
}

/// What the hanging server has in its sockets it executes when it goes on, also for a connection that was left.
#[tokio::test]
async fn a_server_that_hangs_executes_late_what_it_was_sent() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    for round in 0..5 {
        let streams = [format!("{round}-a"), format!("{round}-b")];
        let config =
            PublisherConfig { response_timeout: Duration::from_millis(100), ..PublisherConfig::default() };
        let mut ledger = Ledger::new(Publisher::start(settings(&server), config));
        ledger.send(&streams, 0..10);
        ledger.flush("before").await;
        server.freeze(true);
        ledger.send(&streams, 10..1_000);
        eventually("the connection is left", || async {
            (ledger.publisher.stats().lost_connections > 0).then_some(())
        })
        .await;
        server.freeze(false);
        ledger.arrived_once(&connection, "the server hung").await;
        ledger.publisher.close(PATIENCE).await.unwrap();
    }
}
