//! Positions of readers without a group, kept under a name.

use std::sync::Arc;

use super::{Connection, EntryId, StreamError, reply};

/// What the keys of positions begin with; each is a hash of stream names and ids.
const PREFIX: &str = "synapse:positions:";

impl Connection {
    /// The positions kept under a name, by stream; none if there are none.
    pub async fn positions(&self, name: &str) -> Result<Vec<(String, EntryId)>, StreamError> {
        let what = format!("HGETALL {PREFIX}{name}");
        let mut command = redis::cmd("HGETALL");
        command.arg(format!("{PREFIX}{name}"));
        let pairs = reply::pairs(self.query(&command, &what).await?, &what)?;
        pairs.into_iter().map(|(stream, id)| Ok((stream, reply::entry_id(&id, &what)?))).collect()
    }

    /// Keeps positions under a name.
    pub async fn store_positions(
        &self,
        name: &str,
        positions: &[(Arc<str>, EntryId)],
    ) -> Result<(), StreamError> {
        let mut command = redis::cmd("HSET");
        command.arg(format!("{PREFIX}{name}"));
        for (stream, id) in positions {
            command.arg(&**stream).arg(id.to_string());
        }
        self.query(&command, &format!("HSET {PREFIX}{name}")).await.map(drop)
    }
}
