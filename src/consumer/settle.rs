//! The task that acknowledges and gives back, in batches.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{
    Kind,
    dispatch::{Dispatcher, MANY_ACKS, Place},
    position,
    shared::Shared,
};
use crate::{
    backoff::Backoff,
    stream::{Connection, EntryId, StreamError},
};

/// Acknowledgements gather for so long before they are sent, unless there are many.
const GATHER: Duration = Duration::from_millis(5);

/// How many ids one command names at most.
pub(super) const IDS_PER_COMMAND: usize = 500;

/// How long closing may take to tell Redis what is left to tell.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);

pub(super) struct Clerk {
    pub shared: Arc<Shared>,
}

impl Clerk {
    /// Settles until the subscription has nothing more to settle.
    pub(super) async fn run(self) {
        let shared = &self.shared;
        let too_late = async {
            shared.leave.cancelled().await;
            sleep(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            () = self.work() => {}
            () = too_late => warn!(
                group = shared.config.group,
                "redis does not answer while the consumer closes; what is in hand is taken over by others in time"
            ),
        }
    }

    async fn work(&self) {
        let shared = &self.shared;
        while !shared.leave.is_cancelled() {
            tokio::select! {
                () = shared.leave.cancelled() => {}
                () = shared.signals.clerk.notified() => {
                    if shared.with(|dispatcher| dispatcher.acks()) < MANY_ACKS {
                        let _ = timeout(GATHER, shared.signals.clerk.notified()).await;
                    }
                }
            }
            self.settle().await;
        }
        self.finish().await;
    }

    async fn settle(&self) {
        for (stream, places) in by_stream(self.shared.with(Dispatcher::take_acks), |place| *place) {
            let ids = places.iter().map(|place| place.id).collect();
            if self.until_done(&Telling::Ack { stream, ids }).await {
                self.shared.streams[stream].counters.acknowledged.add(places.len());
                self.shared.with(|dispatcher| dispatcher.confirmed(places));
            }
        }
        let releases = self.shared.with(Dispatcher::take_releases);
        let (at_once, in_time): (Vec<_>, Vec<_>) = releases.into_iter().partition(|release| release.at_once);
        for (releases, idle) in [(at_once, self.shared.config.min_idle), (in_time, Duration::ZERO)] {
            for (stream, releases) in by_stream(releases, |release| release.place) {
                let ids = releases.iter().map(|release| (release.place.id, release.tried)).collect();
                if self.until_done(&Telling::Release { stream, ids, idle }).await {
                    let places = releases.into_iter().map(|release| release.place);
                    self.shared.with(|dispatcher| dispatcher.confirmed(places));
                }
            }
        }
    }

    /// The last word: everything that is not settled is given back, and the group is left.
    async fn finish(&self) {
        self.settle().await;
        self.shared.with(Dispatcher::release_all);
        self.settle().await;
        match self.shared.config.kind {
            Kind::Group => {
                for stream in 0..self.shared.streams.len() {
                    let _ = self.until_done(&Telling::Leave { stream }).await;
                }
            }
            Kind::Broadcast => position::store(&self.shared).await,
        }
    }

    /// Says something until it is said; `false` if Redis does not answer while the subscription closes. What the
    /// server refuses for good counts as said: the entries stay pending, and that is logged.
    async fn until_done(&self, telling: &Telling) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.tell(telling).await {
                Ok(()) => return true,
                Err(error) => error,
            };
            if !error.is_transient() && !matches!(error, StreamError::Unauthorized { .. }) {
                warn!(group = self.shared.config.group, %error, "what became of entries can't be told");
                return true;
            }
            if self.shared.leave.is_cancelled() && backoff.attempts() > 3 {
                return false;
            }
            sleep(backoff.next_delay()).await;
        }
    }

    async fn tell(&self, telling: &Telling) -> Result<(), StreamError> {
        let shared = &self.shared;
        let config = &shared.config;
        if config.kind == Kind::Broadcast {
            return Ok(());
        }
        let name = |stream: &usize| &*shared.streams[*stream].name;
        let act = async |connection: Connection| match telling {
            Telling::Ack { stream, ids } => connection.ack(name(stream), &config.group, ids).await.map(drop),
            Telling::Release { stream, ids, idle } => {
                connection.release(name(stream), shared.member(), ids, *idle).await
            }
            Telling::Leave { stream } => {
                connection.delete_idle_consumer(name(stream), &config.group, &shared.consumer).await.map(drop)
            }
        };
        shared.redis.ask(act).await
    }
}

/// What Redis is told.
enum Telling {
    Ack {
        stream: usize,
        ids: Vec<EntryId>,
    },
    /// With each how often a handler was given it.
    Release {
        stream: usize,
        ids: Vec<(EntryId, u32)>,
        idle: Duration,
    },
    Leave {
        stream: usize,
    },
}

/// Items in order, in portions of one stream and no more than a command takes.
fn by_stream<T: Clone>(mut items: Vec<T>, place: impl Fn(&T) -> Place) -> Vec<(usize, Vec<T>)> {
    items.sort_by_key(&place);
    let of_streams = items.chunk_by(|one, next| place(one).stream == place(next).stream);
    let portions = of_streams.flat_map(|items| items.chunks(IDS_PER_COMMAND));
    portions.map(|items| (place(&items[0]).stream, items.to_vec())).collect()
}
