use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tracing::error;

use super::{
    ConsumeError, ConsumerConfig, ConsumerStats, Delivery, Kind,
    dead_letter::Undertaker,
    dispatch::{Place, Verdict, later},
    join::join_group,
    poll::{Membership, Poller},
    position,
    reclaim::Keeper,
    retry::Retrier,
    settle::Clerk,
    shared::Shared,
};
use crate::{config::RedisSettings, stream::EntryId};

/// How long closing waits for reading and renewing to end, and then for what is on its way to the dead letters.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// A member of a consumer group: hands out batches, takes back what became of each event.
///
/// Whatever is not settled when it is closed or dropped is given back at once; when the process dies,
/// others take it over after `min_idle`.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    /// None once it is being closed.
    tasks: Option<Tasks>,
}

/// The tasks of a subscription.
#[derive(Debug)]
struct Tasks {
    /// What reads, renews and delivers again.
    readers: Vec<JoinHandle<()>>,
    undertaker: JoinHandle<()>,
    clerk: JoinHandle<()>,
}

/// Says what became of events; cheap to clone.
#[derive(Clone, Debug)]
pub struct Settler {
    shared: Arc<Shared>,
}

// === impl Subscription ===

impl Subscription {
    /// Joins the group, creating it and its streams where they are missing.
    ///
    /// Fails at once if Redis can't be reached; later failures of Redis are waited out.
    pub async fn open(settings: RedisSettings, config: ConsumerConfig) -> Result<Self, ConsumeError> {
        Self::join(settings, config, false).await
    }

    /// With a thread of its own to renew entries from, for handlers that share this runtime and may block it.
    pub(super) async fn open_with_thread(
        settings: RedisSettings,
        config: ConsumerConfig,
    ) -> Result<Self, ConsumeError> {
        Self::join(settings, config, true).await
    }

    async fn join(
        settings: RedisSettings,
        config: ConsumerConfig,
        has_thread: bool,
    ) -> Result<Self, ConsumeError> {
        config.check()?;
        let kind = config.kind;
        let shared = Arc::new(Shared::new(settings, config));
        let mut poller = Poller {
            shared: shared.clone(),
            members: Vec::new(),
            is_first_session: true,
            positions: Vec::new(),
        };
        match kind {
            Kind::Group => {
                for number in 0..shared.streams.len() {
                    join_group(&shared, number, false).await?;
                }
                poller.members = vec![Membership { was_joined: true, refused: None }; shared.streams.len()];
            }
            Kind::Broadcast => poller.positions = position::load(&shared).await?,
        }
        let keeper = match kind {
            Kind::Group if has_thread => {
                let keeper = Keeper::new(&shared);
                tokio::task::spawn_blocking(move || keeper.run_apart())
            }
            Kind::Group => watched(&shared, "renewing", Keeper::new(&shared).run()),
            Kind::Broadcast => watched(&shared, "keeping the position", position::keep(shared.clone())),
        };
        let retrier = watched(&shared, "delivering again", Retrier { shared: shared.clone() }.run());
        let tasks = Tasks {
            readers: vec![watched(&shared, "reading", poller.run()), keeper, retrier],
            undertaker: watched(&shared, "burying", Undertaker { shared: shared.clone() }.run()),
            clerk: watched(&shared, "settling", Clerk { shared: shared.clone() }.run()),
        };
        Ok(Self { shared, tasks: Some(tasks) })
    }

    /// At most `max` events, in stream order but for those that are delivered again; waits for the first. `None` once
    /// the subscription is closed.
    ///
    /// Safe to cancel: no event is lost with the future. Several may wait at once.
    pub async fn next(&self, max: usize) -> Option<Vec<Delivery>> {
        loop {
            if self.shared.stop.is_cancelled() {
                return None;
            }
            let taken = self.shared.take(max.max(1), false);
            if !taken.is_empty() {
                return Some(taken);
            }
            self.shared.stop.run_until_cancelled(self.shared.ready()).await?;
        }
    }

    /// Where to say what became of events.
    pub fn settler(&self) -> Settler {
        Settler { shared: self.shared.clone() }
    }

    /// The name of this member of the group.
    pub fn consumer(&self) -> &str {
        &self.shared.consumer
    }

    /// Stops reading, tells Redis what was settled, gives back what was not, and leaves the group. Ends within ten
    /// seconds, whether or not Redis answers.
    pub async fn close(mut self) {
        if let Some(tasks) = self.tasks.take() {
            tasks.end(self.shared.clone()).await;
        }
    }

    /// Ends at once, as if the process had died: what is in hand is taken over by others after `min_idle`.
    pub fn abandon(mut self) {
        if let Some(tasks) = self.tasks.take() {
            tasks.readers.iter().chain([&tasks.undertaker, &tasks.clerk]).for_each(JoinHandle::abort);
        }
        // Of a thread that renews, which can't be aborted.
        self.shared.stop.cancel();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        let Some(tasks) = self.tasks.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tasks.end(self.shared.clone()));
        } else {
            // The runtime is gone, and its tasks with it.
            self.shared.drained.cancel();
            self.shared.leave.cancel();
        }
    }
}

impl Tasks {
    /// One after the other, for each has something to tell the next.
    async fn end(self, shared: Arc<Shared>) {
        shared.stop.cancel();
        end_within(STEP_TIMEOUT, self.readers).await;
        shared.drained.cancel();
        end_within(STEP_TIMEOUT, [self.undertaker]).await;
        shared.leave.cancel();
        let _ = self.clerk.await;
    }
}

/// Waits for tasks to end; aborts those that don't.
async fn end_within(limit: Duration, tasks: impl IntoIterator<Item = JoinHandle<()>>) {
    let deadline = Instant::now() + limit;
    for mut task in tasks {
        if timeout_at(deadline, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// A task without which the consumer stands still: if it breaks, the consumer ends.
fn watched(
    shared: &Arc<Shared>,
    what: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let shared = shared.clone();
    tokio::spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            error!(group = shared.config.group, "{what} broke: a defect of this program; the consumer ends");
            shared.stop.cancel();
        }
    })
}

// === impl Settler ===

impl Settler {
    /// It was handled.
    pub fn ack(&self, delivery: &Delivery) {
        self.settle(&delivery.stream, delivery.id, Verdict::Done);
    }

    /// All of these were handled: streams and ids.
    pub fn ack_all(&self, entries: &[(Arc<str>, EntryId)]) {
        let now = Instant::now();
        self.shared.with(|dispatcher| {
            for (stream, id) in entries {
                if let Some(stream) = self.shared.number(stream) {
                    dispatcher.settle(now, Place { stream, id: *id }, Verdict::Done);
                }
            }
        });
    }

    /// It was not handled, and somebody is to have it again at once.
    pub fn release(&self, delivery: &Delivery) {
        self.settle(&delivery.stream, delivery.id, Verdict::Released);
    }

    /// It was not tried, because what is needed for it is not there, and whoever has it will leave: it is anybody's at once,
    /// and this delivery does not count.
    pub fn return_untried(&self, delivery: &Delivery) {
        self.settle(&delivery.stream, delivery.id, Verdict::Untried);
    }

    /// It failed: it is delivered again after `delay`, by default one that doubles each time; the last time it goes
    /// to the dead letters, with the error.
    pub fn fail(&self, delivery: &Delivery, error: impl Into<String>, delay: Option<Duration>) {
        self.settle(&delivery.stream, delivery.id, Verdict::Failed { error: error.into(), delay });
    }

    /// It goes to the dead letters: `reason` in one word, `error` in words.
    pub fn reject(&self, delivery: &Delivery, reason: &'static str, error: impl Into<String>) {
        self.settle(&delivery.stream, delivery.id, Verdict::Permanent { reason, error: error.into() });
    }

    /// What is needed to handle events is not there: none are handed out for so long.
    pub fn pause(&self, duration: Duration) {
        self.shared.with(|dispatcher| dispatcher.pause_until(later(Instant::now(), duration)));
    }

    /// An event took a handler so long.
    pub fn handled_in(&self, delivery: &Delivery, took: Duration) {
        if let Some(number) = self.shared.number(&delivery.stream) {
            self.shared.streams[number].counters.handler_seconds.record(took);
        }
    }

    pub(crate) fn settle(&self, stream: &str, id: EntryId, verdict: Verdict) {
        let Some(number) = self.shared.number(stream) else { return };
        let place = Place { stream: number, id };
        if self.shared.with(|dispatcher| dispatcher.settle(Instant::now(), place, verdict)) {
            self.shared.streams[number].counters.retried.add(1);
        }
    }

    /// How the consumer was set up.
    pub fn config(&self) -> &ConsumerConfig {
        &self.shared.config
    }

    /// What the consumer has done so far.
    pub fn stats(&self) -> ConsumerStats {
        self.shared.stats()
    }

    /// Up to where each stream is settled, as far as it came to this consumer.
    pub fn positions(&self) -> Vec<(Arc<str>, EntryId)> {
        self.shared.positions(false)
    }

    /// Waits until there may be something to take, or the subscription is closed: `false`. Safe to cancel.
    #[cfg(feature = "python")]
    pub(crate) async fn ready(&self) -> bool {
        self.shared.stop.run_until_cancelled(self.shared.ready()).await.is_some()
    }

    /// At most `max` events that are ready; with `singly`, one that is delivered again comes by itself.
    #[cfg(feature = "python")]
    pub(crate) fn take(&self, max: usize, singly: bool) -> Vec<Delivery> {
        if self.shared.stop.is_cancelled() { Vec::new() } else { self.shared.take(max, singly) }
    }
}
