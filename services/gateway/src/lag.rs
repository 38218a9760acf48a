//! How far behind the replicas are, for operators: as the group `realtime-gateway` of each stream, and as metrics.
//!
//! Nobody reads by that group; it stands where the slowest live replica does, unless an older gateway consumes by it.

use std::time::Duration;

use synapse_rs::{
    EntryId, RedisSettings,
    retention::GATEWAY_GROUP,
    shutdown::Shutdown,
    stream::{SharedConnection, onlookers::Place},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

use crate::{metrics, position::Position, streams::COUNT, streams::Stream};

/// How often it is told where this replica stands.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// How long a replica that is gone holds the group back.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// How long leaving may take.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// How far was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// The last entry of each stream.
    pub(crate) at: Position,
    /// How many entries had been appended to each stream up to there, if the server counts them.
    pub(crate) added: [Option<u64>; COUNT],
}

/// Tells where the reader stands, until `shutdown`.
pub(crate) async fn tell(redis: RedisSettings, standing: watch::Receiver<Standing>, shutdown: Shutdown) {
    let connection = SharedConnection::new(redis);
    let replica = Uuid::new_v4().to_string();
    let mut beat = interval(TELL_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_told = true;
    while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
        let Standing { at, added } = *standing.borrow();
        let places: Vec<_> = Stream::all()
            // What nobody writes under the older name of a stream is not made.
            .filter(|stream| stream.key() == stream.name() || at[*stream] > EntryId::MIN)
            .map(|stream| Place { stream: stream.key(), id: at[stream], entries_read: added[stream.index()] })
            .collect();
        let told = connection.ask(async |connection| {
            connection.tell_places(GATEWAY_GROUP, &replica, FORGOTTEN_AFTER, &places).await
        });
        match shutdown.run_until_cancelled(told).await {
            Some(Ok(_)) => is_told = true,
            Some(Err(error)) => {
                metrics::lag_untold();
                if std::mem::replace(&mut is_told, false) {
                    tracing::debug!(%error, group = GATEWAY_GROUP, "where this replica stands can't be told");
                }
            }
            None => break,
        }
    }
    let leaving = connection.ask(async |connection| connection.forget_places(GATEWAY_GROUP, &replica).await);
    // It is forgotten anyway, later.
    let _ = timeout(LAST_PATIENCE, leaving).await;
}
