//! Whatever happens in whatever order, every event arrives once.

use std::{ops::Range, time::Duration};

use proptest::{collection::vec, prelude::*, sample::select};
use synapse_rs::publisher::PublisherConfig;
use synapse_test_support::{Cut, Fault, Plan, Proxy, RedisServer};

use crate::support::*;

const STREAMS: [&str; 3] = ["a", "b", "c"];
const PUBLISHERS: usize = 2;
const CASES: u32 = 32;

/// One step of a story.
#[derive(Clone, Debug)]
enum Step {
    /// A publisher sends so many events, beginning with this stream.
    Send { publisher: usize, stream: usize, count: u64 },
    /// The next connection of a publisher breaks at this byte.
    Plan { publisher: usize, fault: Fault, at: u64, of_replies: bool, from_the_start: bool },
    /// All connections of a publisher break now.
    Cut { publisher: usize, cut: Cut },
    /// All connections there are end, by the server's hand.
    Kill,
    /// From now on the server refuses everything, or nothing.
    Refuse(bool),
    /// Somebody else appends.
    Other { stream: usize },
    /// What goes on by itself goes on for a while.
    Run,
    /// A publisher has sent all it has.
    Flush { publisher: usize },
}

/// What happens, to streams of which length.
#[derive(Clone, Debug)]
struct Story {
    maxlen: u64,
    batch_bytes: usize,
    steps: Vec<Step>,
}

fn cut() -> impl Strategy<Value = Cut> {
    select(vec![Cut::Reset, Cut::Fin])
}

fn step() -> impl Strategy<Value = Step> {
    let publisher = 0..PUBLISHERS;
    let fault = prop_oneof![4 => cut().prop_map(Fault::Cut), 1 => Just(Fault::SwallowBoth)];
    let at = prop_oneof![0_u64..400, 0_u64..20_000];
    let plan = (publisher.clone(), fault, at, any::<bool>(), prop::bool::weighted(0.2));
    prop_oneof![
        6 => (publisher.clone(), 0..STREAMS.len(), 1_u64..80)
            .prop_map(|(publisher, stream, count)| Step::Send { publisher, stream, count }),
        3 => plan.prop_map(|(publisher, fault, at, of_replies, from_the_start)| {
            Step::Plan { publisher, fault, at, of_replies, from_the_start }
        }),
        2 => (publisher.clone(), cut()).prop_map(|(publisher, cut)| Step::Cut { publisher, cut }),
        1 => Just(Step::Kill),
        1 => any::<bool>().prop_map(Step::Refuse),
        1 => (0..STREAMS.len()).prop_map(|stream| Step::Other { stream }),
        4 => Just(Step::Run),
        1 => publisher.prop_map(|publisher| Step::Flush { publisher }),
    ]
}

fn story() -> impl Strategy<Value = Story> {
    let maxlen = prop_oneof![3 => Just(1_000_000), 1 => Just(0), 2 => Just(100)];
    let batch_bytes = select(vec![1_000, 10_000, 512 * 1024]);
    (maxlen, batch_bytes, vec(step(), 1..40)).prop_map(|(maxlen, batch_bytes, steps)| Story {
        maxlen,
        batch_bytes,
        steps,
    })
}

/// A story being played.
struct Play<'a> {
    server: &'a RedisServer,
    proxies: Vec<Proxy>,
    ledgers: Vec<Ledger>,
    next: Vec<u64>,
    others: [u64; 3],
    refuses: bool,
    was_refused: bool,
}

impl<'a> Play<'a> {
    async fn new(server: &'a RedisServer, story: &Story) -> Self {
        admin::<()>(server, &["FLUSHALL"]);
        let (mut proxies, mut ledgers) = (Vec::new(), Vec::new());
        for publisher in 0..PUBLISHERS {
            let proxy = Proxy::to(server).await;
            let config = PublisherConfig {
                source: format!("publisher-{publisher}"),
                maxlen: story.maxlen,
                max_batch_bytes: story.batch_bytes,
                response_timeout: Duration::from_millis(500),
                ..PublisherConfig::default()
            };
            ledgers.push(Ledger::new(start_through(&proxy, config)));
            proxies.push(proxy);
        }
        Self {
            server,
            proxies,
            ledgers,
            next: vec![0; PUBLISHERS],
            others: [0; 3],
            refuses: false,
            was_refused: false,
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Send { publisher, stream, count } => {
                let mut streams = STREAMS;
                streams.rotate_left(*stream);
                let numbers = self.numbers(*publisher, *count);
                self.ledgers[*publisher].send(&streams, numbers);
            }
            Step::Plan { publisher, fault, at, of_replies, from_the_start } => {
                // A greeting that is swallowed is waited for too long for a test.
                let (plan, fault) = match from_the_start {
                    true => (Plan::new().from_the_start(), &Fault::Cut(Cut::Reset)),
                    false => (Plan::new(), fault),
                };
                let plan = if *of_replies {
                    plan.replies(*at, fault.clone())
                } else {
                    plan.requests(*at, fault.clone())
                };
                self.proxies[*publisher].plan(plan);
            }
            Step::Cut { publisher, cut } => self.proxies[*publisher].cut_all(*cut),
            Step::Kill => admin(self.server, &["CLIENT", "KILL", "TYPE", "normal"]),
            Step::Refuse(refuse) => self.refuse(*refuse),
            Step::Other { stream } => {
                if !self.refuses {
                    admin::<()>(
                        self.server,
                        &["XADD", STREAMS[*stream], "*", "event", "other", "number", "7"],
                    );
                    self.others[*stream] += 1;
                }
            }
            Step::Run => {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
            Step::Flush { publisher } => {
                if !self.refuses {
                    self.ledgers[*publisher].flush("in between").await;
                }
            }
        }
    }

    fn numbers(&mut self, publisher: usize, count: u64) -> Range<u64> {
        let first = self.next[publisher];
        self.next[publisher] += count;
        first..first + count
    }

    fn refuse(&mut self, refuse: bool) {
        admin::<()>(self.server, &["CONFIG", "SET", "maxmemory", if refuse { "1" } else { "0" }]);
        self.refuses = refuse;
        self.was_refused |= refuse;
    }

    /// Nothing is in the way any more: everything arrives.
    async fn end(mut self, story: &Story) {
        self.refuse(false);
        self.proxies.iter().for_each(Proxy::forget_plans);
        let connection = connect(self.server).await;
        let mut possible = 0;
        for ledger in &self.ledgers {
            ledger.flush("at the end").await;
            let stats = ledger.publisher.stats();
            assert_eq!((stats.failed, stats.outstanding, stats.outstanding_bytes), (0, 0, 0), "{stats:?}");
            possible += stats.possible_duplicates;
            ledger.receipts_are_true(&connection, "at the end").await;
            if story.maxlen != 100 {
                if self.was_refused {
                    assert_eq!(ledger.repeats(&connection, "at the end").await, 0);
                } else {
                    ledger.arrived(&connection, "at the end").await;
                }
            }
        }
        let sent: u64 = self.next.iter().sum();
        let mut added = 0;
        for (stream, others) in STREAMS.iter().zip(self.others) {
            added += ever_added(&connection, stream).await - others;
        }
        assert!(
            sent <= added && added <= sent + possible,
            "{sent} sent, {added} appended, {possible} possibly twice"
        );
        if story.maxlen != 100 {
            assert_eq!(possible, 0, "everything can be known where nothing is trimmed");
        }
        for ledger in &self.ledgers {
            ledger.publisher.close(PATIENCE).await.unwrap();
        }
    }
}

#[test]
fn every_event_arrives_once_whatever_happens() {
    let server = RedisServer::builder().set("maxmemory-policy", "noeviction").start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..ProptestConfig::with_cases(cases())
    };
    proptest!(config, |(story in story())| {
        runtime.block_on(async {
            let mut play = Play::new(&server, &story).await;
            for step in &story.steps {
                play.step(step).await;
            }
            play.end(&story).await;
        });
    });
}

/// `PROPTEST_CASES`, or few enough for every day.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}
