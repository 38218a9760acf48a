//! The task that reads entries again: those that failed, when their delay is over; those whose turn comes in the
//! order of their key; those that are to be tried alone.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{
    Kind,
    dispatch::Due,
    shared::{RETRY_PAUSE, Shared, notified_until},
};
use crate::stream::{Connection, StreamError, claim::Redelivered};

/// How many entries are read again at once.
const AT_ONCE: usize = 100;

pub(super) struct Retrier {
    pub shared: Arc<Shared>,
}

impl Retrier {
    pub(super) async fn run(self) {
        let shared = &self.shared;
        while !shared.stop.is_cancelled() {
            let room = shared.room_to_read_again().min(AT_ONCE);
            if room == 0 {
                let _ = shared.stop.run_until_cancelled(sleep(RETRY_PAUSE)).await;
                continue;
            }
            let mut due = shared.with(|dispatcher| dispatcher.due(Instant::now(), room));
            if due.is_empty() {
                let next_due = shared.with(|dispatcher| dispatcher.next_due());
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = notified_until(&shared.signals.retrier, next_due) => continue,
                }
            }
            due.sort_unstable_by_key(|due| due.place);
            for due in due.chunk_by(|one, next| one.place.stream == next.place.stream) {
                if let Err(error) = self.read_again(due).await {
                    debug!(%error, "entries that are to be delivered again can't be read; they wait");
                    let places = due.iter().map(|due| due.place);
                    shared.with(|dispatcher| dispatcher.defer(places, Instant::now() + RETRY_PAUSE));
                }
            }
        }
    }

    /// Reads entries of one stream again.
    async fn read_again(&self, due: &[Due]) -> Result<(), StreamError> {
        let shared = &self.shared;
        let number = due[0].place.stream;
        let stream = &shared.streams[number];
        let found = match shared.config.kind {
            Kind::Group => {
                let ids: Vec<_> = due.iter().map(|due| (due.place.id, due.count)).collect();
                let again = async |connection: Connection| {
                    connection.redeliver(&stream.name, shared.member(), &ids).await
                };
                shared.redis.ask(again).await?
            }
            Kind::Broadcast => {
                let again = async |connection: Connection| reread(&connection, &stream.name, due).await;
                shared.redis.ask(again).await?
            }
        };
        let mut entries = Vec::with_capacity(due.len());
        let mut gone = Vec::new();
        for (Due { place, deliveries, .. }, found) in due.iter().zip(found) {
            match found {
                Redelivered::Entry(entry) => entries.push((*place, *deliveries, entry)),
                Redelivered::Lost => {
                    shared.count_lost(number, 1);
                    gone.push(*place);
                }
                Redelivered::NotOurs => gone.push(*place),
            }
        }
        shared.with(|dispatcher| {
            for place in gone {
                dispatcher.forget(place);
            }
        });
        // The first of them is offered last, for each is put before all others.
        entries.reverse();
        shared.bring(entries);
        Ok(())
    }
}

async fn reread(connection: &Connection, stream: &str, due: &[Due]) -> Result<Vec<Redelivered>, StreamError> {
    let mut found = Vec::with_capacity(due.len());
    for Due { place, .. } in due {
        let entry = connection.range(stream, place.id, place.id, 1).await?.pop();
        found.push(entry.map_or(Redelivered::Lost, Redelivered::Entry));
    }
    Ok(found)
}
