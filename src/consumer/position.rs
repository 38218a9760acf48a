//! Where a consumer without a group has got to, kept in Redis under a name.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tracing::debug;

use super::{ConsumeError, shared::Shared};
use crate::{
    stream::{Connection, EntryId, StreamError},
    tail::After,
};

/// How often the position is stored.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// From where on each stream is read.
pub(super) async fn load(shared: &Shared) -> Result<Vec<(String, EntryId)>, ConsumeError> {
    let act = async |connection: Connection| {
        let stored = match shared.config.group.as_str() {
            "" => Vec::new(),
            name => connection.positions(name).await?,
        };
        let mut positions = Vec::with_capacity(shared.streams.len());
        for stream in &shared.streams {
            let stored = stored.iter().find(|(name, _)| **name == *stream.name).map(|(_, id)| *id);
            let position = match (stored, start(&shared.config.start)) {
                (Some(id), _) | (None, After::Entry(id)) => id,
                (None, After::Now) => connection.last_id(&stream.name).await?,
            };
            positions.push((stream.name.to_string(), position));
        }
        Ok(positions)
    };
    let positions = shared.redis.ask(act).await?;
    shared.with(|dispatcher| {
        for (number, (_, position)) in positions.iter().enumerate() {
            dispatcher.joined(number, *position);
        }
    });
    Ok(positions)
}

fn start(text: &str) -> After {
    match text.parse() {
        Ok(id) => After::Entry(id),
        Err(_) => After::Now,
    }
}

/// Stores the position if it has a name.
pub(super) async fn store(shared: &Shared) {
    let name = shared.config.group.as_str();
    if name.is_empty() {
        return;
    }
    let positions = shared.positions(true);
    let store = async |connection: Connection| connection.store_positions(name, &positions).await;
    let stored: Result<(), StreamError> = shared.redis.ask(store).await;
    if let Err(error) = stored {
        debug!(name, %error, "the position could not be stored for the moment");
    }
}

/// Stores the position from time to time.
pub(super) async fn keep(shared: Arc<Shared>) {
    while shared.stop.run_until_cancelled(sleep(STORE_EVERY)).await.is_some() {
        store(&shared).await;
    }
}
