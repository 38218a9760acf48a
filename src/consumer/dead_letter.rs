//! The task that moves entries to the dead letters.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::{error, warn};

use super::{
    Kind,
    dispatch::{Burial, Dispatcher},
    shared::{RETRY_PAUSE, Shared, notified_until},
};
use crate::{
    backoff::Backoff,
    stream::{
        Connection, StreamError,
        dead_letter::{Buried, DeadLetter},
    },
};

/// A letter that the server refuses is tried again so much later: somebody has to mend something first.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Undertaker {
    pub shared: Arc<Shared>,
}

/// Why the next letter can't be moved now.
enum Obstacle {
    /// No letter can be.
    All,
    /// This one can't be, for a reason that does not pass by itself.
    ThisOne,
}

impl Undertaker {
    /// Moves what goes to the dead letters; on its end tries what is left once more. What could not be moved stays
    /// pending, in hand and renewed.
    pub(super) async fn run(self) {
        let mut letters: VecDeque<Burial> = VecDeque::new();
        let mut refused: VecDeque<(Instant, Burial)> = VecDeque::new();
        let mut backoff = Backoff::default();
        let mut next_try = None;
        loop {
            letters.extend(self.shared.with(Dispatcher::take_burials));
            let is_last = self.shared.drained.is_cancelled();
            while refused.front().is_some_and(|(at, _)| is_last || *at <= Instant::now()) {
                letters.extend(refused.pop_front().map(|(_, letter)| letter));
            }
            while next_try.is_none_or(|at| at <= Instant::now())
                && let Some(letter) = letters.pop_front()
            {
                next_try = None;
                match self.bury(&letter).await {
                    Ok(()) => backoff.reset(),
                    Err(Obstacle::ThisOne) => refused.push_back((Instant::now() + REFUSED_PAUSE, letter)),
                    Err(Obstacle::All) => {
                        letters.push_front(letter);
                        next_try = Some(Instant::now() + backoff.next_delay().max(RETRY_PAUSE));
                    }
                }
            }
            if is_last {
                return;
            }
            let wake_at = if letters.is_empty() { None } else { next_try };
            let wake_at = [wake_at, refused.front().map(|(at, _)| *at)].into_iter().flatten().min();
            tokio::select! {
                () = self.shared.drained.cancelled() => next_try = None,
                () = notified_until(&self.shared.signals.undertaker, wake_at) => {}
            }
        }
    }

    async fn bury(&self, burial: &Burial) -> Result<(), Obstacle> {
        let stream = &self.shared.streams[burial.place.stream];
        let letter = DeadLetter {
            stream: &stream.name,
            group: &self.shared.config.group,
            is_pending: matches!(self.shared.config.kind, Kind::Group),
            id: burial.place.id,
            reason: burial.reason,
            error: &burial.error,
            deliveries: burial.deliveries.into(),
        };
        let (id, group) = (letter.id, letter.group);
        let outcome =
            self.shared.redis.ask(async |connection: Connection| connection.bury(&letter).await).await;
        match outcome {
            Ok(Buried::Moved { dropped }) => {
                stream.counters.dead_letters.add(1);
                warn!(stream = %stream.name, group, %id, reason = letter.reason, error = letter.error, "an entry went to the dead letters");
                if dropped > 0 {
                    stream.counters.dropped_dead_letters.add(usize::try_from(dropped).unwrap_or(usize::MAX));
                    error!(stream = %stream.name, dropped, "the dead letters are full: the oldest were dropped; replay or purge them");
                }
            }
            Ok(Buried::NotPending) => {}
            Err(error) if error.is_transient() || matches!(error, StreamError::Unauthorized { .. }) => {
                tracing::debug!(stream = %stream.name, %id, %error, "a dead letter waits");
                return Err(Obstacle::All);
            }
            Err(error) => {
                warn!(stream = %stream.name, %id, %error, "an entry can't go to the dead letters; it stays pending and is tried again");
                return Err(Obstacle::ThisOne);
            }
        }
        self.shared.with(|dispatcher| dispatcher.confirmed([burial.place]));
        Ok(())
    }
}
