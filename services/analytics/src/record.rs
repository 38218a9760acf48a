//! Figures of users: what comes while others are being stored is stored together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use synapse_rs::shutdown::Shutdown;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{
    metrics,
    sample::{Metric, PointTime, Sample},
    store::{Store, StoreError, Written},
};

/// How many may wait.
const QUEUE: usize = 10_000;
/// How many are stored at once at most.
const AT_ONCE: usize = 1_000;
/// How long one waits at most.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a figure was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The store will never have it.
    #[error("{0}")]
    Refused(String),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes figures. Clones are the same.
#[derive(Clone, Debug)]
pub struct Recorder {
    orders: mpsc::Sender<Order>,
    /// The time of the last one, in nanoseconds since 1970.
    last_ns: Arc<AtomicI64>,
    shutdown: Shutdown,
    /// How long one waits still when the service leaves.
    last_patience: Duration,
}

/// What is to be recorded, and who waits for it.
#[derive(Debug)]
struct Order {
    metric: Metric,
    answer: oneshot::Sender<Result<(), RecordError>>,
}

/// Stores what was ordered.
#[derive(Debug)]
pub struct Recording {
    orders: mpsc::Receiver<Order>,
}

impl Recorder {
    /// What takes, until `shutdown` and `last_patience` longer, and what stores.
    pub fn new(shutdown: Shutdown, last_patience: Duration) -> (Self, Recording) {
        let (sender, orders) = mpsc::channel(QUEUE);
        (Self { orders: sender, last_ns: Arc::default(), shutdown, last_patience }, Recording { orders })
    }

    /// Now; later than any time that was given before.
    pub fn now(&self) -> PointTime {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let last = self.last_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(now_ns.max(last.saturating_add(1)))
        });
        PointTime::from_ns(now_ns.max(last.unwrap_or_default().saturating_add(1)))
    }

    /// Records a figure, and answers once the store has it.
    pub async fn record(&self, metric: Metric) -> Result<(), RecordError> {
        let busy = || StoreError::unavailable("too many figures wait for the store");
        let (answer, answered) = oneshot::channel();
        self.orders.try_send(Order { metric, answer }).map_err(|_| busy())?;
        let leaving = async {
            self.shutdown.cancelled().await;
            sleep(self.last_patience).await;
        };
        let answered = async {
            tokio::select! {
                biased;
                answer = answered => answer.ok(),
                () = leaving => None,
            }
        };
        match timeout(PATIENCE, answered).await {
            Ok(Some(outcome)) => outcome,
            _ => {
                Err(StoreError::unavailable(format!("the store has not taken it within {PATIENCE:?}")).into())
            }
        }
    }
}

impl Recording {
    /// Stores until the last request has been answered.
    pub async fn run(mut self, store: Arc<impl Store>, served: Shutdown) {
        let mut orders = Vec::new();
        while served
            .run_until_cancelled(self.orders.recv_many(&mut orders, AT_ONCE))
            .await
            .is_some_and(|count| count > 0)
        {
            // Who has gone is not stored for: it was told that nothing is.
            let waiting = orders.drain(..).filter(|order| !order.answer.is_closed());
            let (samples, answers): (Vec<_>, Vec<_>) =
                waiting.map(|order| (Sample::Metric(order.metric), order.answer)).unzip();
            // With the last request its figures are given up too.
            let Some(outcome) = served.run_until_cancelled(store.write(&samples)).await else { return };
            match outcome {
                Ok(written) => {
                    for (outcome, answer) in written.into_iter().zip(answers) {
                        tell(outcome, answer);
                    }
                }
                Err(error) => {
                    metrics::store_failed("record");
                    tracing::debug!(%error, "figures can't be recorded");
                    for answer in answers {
                        let _ = answer.send(Err(error.clone().into()));
                    }
                }
            }
        }
    }
}

fn tell(outcome: Written, answer: oneshot::Sender<Result<(), RecordError>>) {
    let outcome = match outcome {
        Written::Stored => {
            metrics::recorded(1);
            Ok(())
        }
        Written::Refused(words) => Err(RecordError::Refused(words)),
        Written::Waiting(error) => Err(error.into()),
    };
    // Who asked may have gone.
    let _ = answer.send(outcome);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_figures_have_the_same_time() {
        let (recorder, _recording) = Recorder::new(Shutdown::new(), PATIENCE);
        let times = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..10_000).map(|_| recorder.now()).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<HashSet<_>>()
        });
        assert_eq!(times.len(), 40_000);
    }
}
