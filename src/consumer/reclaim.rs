//! The task that keeps what is in hand ours, takes over what others have left, and removes who is gone.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::{dispatch::Place, settle::IDS_PER_COMMAND, shared::Shared};
use crate::stream::{Connection, EntryId, SharedConnection, StreamError, claim::Renewed};

/// How many entries are taken over at once.
const TAKE_OVER_BATCH: usize = 100;

/// A consumer that holds nothing and was not heard of for longer is gone: one that lives reads or renews sooner.
const GONE_AFTER: Duration = Duration::from_secs(15);

/// How often consumers that are gone are looked for, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Keeper {
    pub shared: Arc<Shared>,
    /// A connection of its own: what it says must not wait for what others say.
    pub redis: SharedConnection,
}

impl Keeper {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone(), redis: SharedConnection::new(shared.redis.settings().clone()) }
    }

    /// Runs in a thread of its own, where a handler that blocks its runtime can't keep it from renewing.
    pub(super) fn run_apart(self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.run()),
            Err(error) => warn!(%error, "no thread to renew entries from; others will take them over"),
        }
    }

    pub(super) async fn run(self) {
        let min_idle = self.shared.config.min_idle;
        let (renewal, taking_over, sweep) = (min_idle / 3, min_idle / 2, SWEEP_EVERY.max(min_idle));
        let begin = Instant::now();
        let (mut renew_at, mut take_over_at, mut sweep_at) =
            (begin + renewal, begin + taking_over, begin + sweep);
        loop {
            let next = renew_at.min(take_over_at).min(sweep_at);
            if self.shared.stop.run_until_cancelled(sleep_until(next)).await.is_none() {
                return;
            }
            let now = Instant::now();
            let mut outcome = Ok(());
            if now >= renew_at {
                outcome = self.renew().await;
                renew_at = Instant::now() + renewal;
            }
            if now >= take_over_at {
                outcome = outcome.and(take_over(&self.shared, &self.redis).await);
                take_over_at = Instant::now() + taking_over;
            }
            if now >= sweep_at {
                outcome = outcome.and(self.sweep().await);
                sweep_at = Instant::now() + sweep;
            }
            if let Err(error) = outcome {
                // The others could not renew either, and are to do that before anybody looks for what was left behind.
                take_over_at = Instant::now() + min_idle;
                debug!(group = self.shared.config.group, %error, "entries could not be renewed or taken over for the moment");
            }
        }
    }

    /// Says that what is in hand is still being worked on, so that nobody takes it over.
    async fn renew(&self) -> Result<(), StreamError> {
        for number in 0..self.shared.streams.len() {
            of_this_stream_alone(self.renew_stream(number).await)?;
        }
        Ok(())
    }

    async fn renew_stream(&self, number: usize) -> Result<(), StreamError> {
        let shared = &self.shared;
        let stream = &shared.streams[number];
        for is_settled in [false, true] {
            let ids = shared.with(|dispatcher| dispatcher.of_stream(number, is_settled));
            for ids in ids.chunks(IDS_PER_COMMAND) {
                let renew = async |connection: Connection| {
                    connection.renew(&stream.name, shared.member(), ids, !is_settled).await
                };
                let renewed = self.redis.ask(renew).await?;
                self.note(number, renewed);
            }
        }
        Ok(())
    }

    /// What of the entries in hand is not ours any more, or is again.
    fn note(&self, stream: usize, renewed: Renewed) {
        let place = |id| Place { stream, id };
        let lost = self.shared.with(|dispatcher| {
            for id in renewed.others {
                dispatcher.forget(place(id));
            }
            dispatcher.adopted(renewed.adopted.into_iter().map(place));
            renewed.lost.into_iter().filter(|id| dispatcher.forget(place(*id))).count()
        });
        if lost > 0 {
            self.shared.count_lost(stream, lost);
        }
    }

    async fn sweep(&self) -> Result<(), StreamError> {
        for stream in &self.shared.streams {
            of_this_stream_alone(self.sweep_stream(&stream.name).await)?;
        }
        Ok(())
    }

    async fn sweep_stream(&self, stream: &str) -> Result<(), StreamError> {
        let group = &self.shared.config.group;
        let idle = GONE_AFTER.max(self.shared.config.min_idle * 2);
        let sweep =
            async |connection: Connection| connection.delete_dead_consumers(stream, group, idle).await;
        let gone = self.redis.ask(sweep).await?;
        if !gone.is_empty() {
            info!(stream, group, consumers = ?gone, "removed consumers that hold nothing and are gone");
        }
        Ok(())
    }
}

/// What the server refuses about one stream (its key is of another type, its group is gone) holds up no other: the
/// task that reads sees to it.
fn of_this_stream_alone(outcome: Result<(), StreamError>) -> Result<(), StreamError> {
    match outcome {
        Err(error @ StreamError::Refused { .. }) if !error.is_transient() => {
            debug!(%error, "a stream is left out for the moment");
            Ok(())
        }
        outcome => outcome,
    }
}

/// Takes over the entries of consumers that have not been heard of for `min_idle`, as far as there is room.
pub(super) async fn take_over(shared: &Shared, redis: &SharedConnection) -> Result<(), StreamError> {
    for number in 0..shared.streams.len() {
        of_this_stream_alone(take_over_stream(shared, redis, number).await)?;
    }
    Ok(())
}

async fn take_over_stream(
    shared: &Shared,
    redis: &SharedConnection,
    number: usize,
) -> Result<(), StreamError> {
    let mut cursor = EntryId::MIN;
    while !shared.stop.is_cancelled() && shared.room() > 0 {
        cursor = take_over_page(shared, redis, number, cursor).await?;
        if cursor == EntryId::MIN {
            break;
        }
    }
    Ok(())
}

async fn take_over_page(
    shared: &Shared,
    redis: &SharedConnection,
    number: usize,
    cursor: EntryId,
) -> Result<EntryId, StreamError> {
    let stream = &shared.streams[number];
    let (min_idle, limit) = (shared.config.min_idle, shared.config.max_deliveries);
    let take = async |connection: Connection| {
        connection.take_over(&stream.name, shared.member(), min_idle, cursor, TAKE_OVER_BATCH, limit).await
    };
    let taken = redis.ask(take).await?;
    if !taken.lost.is_empty() {
        shared.count_lost(number, taken.lost.len());
    }
    let place = |id| Place { stream: number, id };
    let entries = shared.with(|dispatcher| {
        let now = Instant::now();
        for (id, deliveries) in taken.exhausted {
            dispatcher.admit_exhausted(place(id), deliveries, now);
        }
        let is_new = |(entry, deliveries): &(crate::stream::Entry, u32)| {
            dispatcher.admit(place(entry.id), *deliveries)
        };
        taken.entries.into_iter().filter(is_new).collect::<Vec<_>>()
    });
    stream.counters.taken_over.add(entries.len());
    shared.bring(entries.into_iter().map(|(entry, deliveries)| (place(entry.id), deliveries, entry)));
    Ok(taken.cursor)
}
