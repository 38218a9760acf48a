//! Where connections are cut at every byte: a server, and lanes side by side that each play round after round.

use futures_util::future::join_all;
use synapse_rs::{publisher::PublisherConfig, stream::Connection};
use synapse_test_support::{Cut, Fault, Plan, Proxy, RedisServer};

use crate::support::*;

/// Which offsets are tried: `all`, or one number. Unset: some, beginning with another one each time.
const OFFSETS_VARIABLE: &str = "SYNAPSE_TEST_OFFSETS";

/// How many connections are cut side by side.
const LANES: usize = 16;

/// The batch that is cut: all numbers have as many digits, so that all requests have the same size.
pub(crate) const BATCH: std::ops::Range<u64> = 110..130;

/// What is published before a warm round's batch.
const EARLIER: std::ops::Range<u64> = 100..103;

pub(crate) struct Lab {
    pub(crate) connection: Connection,
    /// Bytes of the requests and of the replies of [`EARLIER`] and of [`BATCH`].
    earlier: (u64, u64),
    pub(crate) batch: (u64, u64),
    server: RedisServer,
}

/// One batch to be cut at one byte, on streams of its own.
pub(crate) struct Round<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) proxy: &'a Proxy,
    pub(crate) at: u64,
    pub(crate) when: String,
}

/// A plan that counts from where a round's batch begins.
#[derive(Clone, Copy)]
pub(crate) enum Where {
    Requests,
    Replies,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let server = RedisServer::new();
        let connection = connect(&server).await;
        let mut lab = Self { connection, earlier: (0, 0), batch: (0, 0), server };
        lab.earlier = lab.measure(EARLIER).await;
        lab.batch = lab.measure(BATCH).await;
        lab
    }

    async fn measure(&self, numbers: std::ops::Range<u64>) -> (u64, u64) {
        let proxy = Proxy::to(&self.server).await;
        let mut ledger = Ledger::new(start_through(&proxy, PublisherConfig::default()));
        ledger.send(&streams(99_999), numbers);
        ledger.flush("nothing is wrong").await;
        let passed = proxy.passed();
        (passed.request_bytes, passed.reply_bytes)
    }

    /// Plays a round for one in `step` bytes up to `len`, or for those that are asked for.
    #[expect(clippy::print_stdout, reason = "a failed test shows which bytes it tried")]
    pub(crate) async fn each(&self, len: u64, step: u64, play: impl AsyncFn(Round<'_>)) {
        let (first, step) = match std::env::var(OFFSETS_VARIABLE).as_deref() {
            Ok("all") => (0, 1),
            Ok(one) => (one.parse().unwrap(), len + 1),
            Err(_) => (u64::from(std::process::id()) % step, step),
        };
        println!("cut at byte {first}, and then every {step}, up to {len}");
        let offsets: Vec<_> = (first..=len).step_by(usize::try_from(step).unwrap()).collect();
        let (offsets, play) = (&offsets, &play);
        join_all((0..LANES).map(|lane| async move {
            let proxy = Proxy::to(&self.server).await;
            for at in offsets.iter().copied().skip(lane).step_by(LANES) {
                let when = format!("cut at byte {at} (see {OFFSETS_VARIABLE})");
                play(Round { lab: self, proxy: &proxy, at, when }).await;
            }
        }))
        .await;
    }

    pub(crate) async fn proxy(&self) -> Proxy {
        Proxy::to(&self.server).await
    }
}

impl Round<'_> {
    pub(crate) fn streams(&self) -> [String; 3] {
        streams(self.at)
    }

    pub(crate) fn cut(&self) -> Fault {
        Fault::Cut(if self.at.is_multiple_of(2) { Cut::Reset } else { Cut::Fin })
    }

    /// Whether something is published before the batch: then a stream's last entry is known by its acknowledgement.
    fn is_warm(&self) -> bool {
        self.at % 4 < 2 && self.at > 0
    }

    /// This round's cut, at `at` bytes of the batch.
    pub(crate) fn plan(&self, direction: Where, at: u64) -> Plan {
        let earlier = if self.is_warm() { self.lab.earlier } else { (0, 0) };
        match direction {
            Where::Requests => Plan::new().requests(earlier.0 + at, self.cut()),
            Where::Replies => Plan::new().replies(earlier.1 + at, self.cut()),
        }
    }

    /// Sends this round's events, the last of them as one batch.
    pub(crate) async fn send(&self, proxy: &Proxy, source: &str) -> Ledger {
        let mut ledger = Ledger::new(start_through(proxy, named(source)));
        if self.is_warm() {
            ledger.send(&self.streams(), EARLIER);
            ledger.flush(&self.when).await;
        }
        ledger.send(&self.streams(), BATCH);
        ledger
    }

    pub(crate) async fn arrived_once(&self, ledger: &Ledger) {
        ledger.arrived_once(&self.lab.connection, &self.when).await;
        ledger.publisher.close(PATIENCE).await.unwrap();
    }
}

/// As long for every number.
fn streams(number: u64) -> [String; 3] {
    ["a", "b", "c"].map(|name| format!("{number:05}-{name}"))
}
