//! What a Socket.IO client finds again that comes back: connection state recovery of the stock client.
//!
//! The stock client is given a `pid` and takes the last argument of each event, if it is a text, for an offset; when it comes
//! back it gives both. The offset is a position in the streams, so any replica brings it on from there. What else it had
//! — its id, the rooms it had joined, what it had subscribed to — lies in Redis under the `pid` for
//! [`KEPT`] after it was last here, and belongs to the user who had it.
//!
//! A connection that broke may live on for a while, without its client, beside the one that took its place. So a memory has a
//! holder, the connection that was let in last; no other writes it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use synapse_realtime::hub::Room;
use synapse_rs::{
    Filter, RedisSettings,
    shutdown::Shutdown,
    stream::{SharedConnection, StreamError},
};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    filters::Filters, metrics, requests::names, streams::StreamSet, subscriptions::Subscriptions, who::Word,
};

/// What the keys begin with.
const PREFIX: &str = "synapse:gateway:pid:";
/// How long it is kept.
const KEPT: Duration = Duration::from_mins(5);
/// The length of a holder's name.
const HOLDER_BYTES: usize = 32;
/// How much may be kept of one client, in bytes.
const MAX_BYTES: usize = 16 << 10;
/// The longest `pid` that is looked up, in characters.
const MAX_PID: usize = 64;
/// How many may wait to be written; with more, some clients find nothing again.
const QUEUE: usize = 16_384;
/// How many are written at once.
const AT_ONCE: usize = 32;

/// What a client has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// What it knows itself by.
    pub(crate) sid: String,
    /// Whose it is.
    pub(crate) user: Option<String>,
    /// And of which organisation.
    pub(crate) organisation: Option<String>,
    /// Who it said to be, where that is believed: it may have become another since.
    pub(crate) said: Word,
    /// The rooms that it has joined by name.
    pub(crate) rooms: Vec<String>,
    /// What it asks for.
    pub(crate) wishes: Wishes,
}

/// What a client asks for, as it can be written: each stream in one of them at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wishes(Vec<Wish>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wish {
    streams: Vec<String>,
    #[serde(rename = "where", default)]
    condition: Value,
}

impl Wishes {
    /// Every stream.
    pub(crate) fn everything() -> Self {
        let mut wishes = Self::default();
        wishes.subscribe(StreamSet::ALL, Value::Null);
        wishes
    }

    /// Asks for these streams with this condition, whatever was asked of them before.
    pub(crate) fn subscribe(&mut self, streams: StreamSet, condition: Value) {
        self.unsubscribe(streams);
        if !streams.is_empty() {
            let streams = names(streams).into_iter().map(str::to_owned).collect();
            self.0.push(Wish { streams, condition });
        }
    }

    /// Asks for these streams no more.
    pub(crate) fn unsubscribe(&mut self, streams: StreamSet) {
        let gone = names(streams);
        for wish in &mut self.0 {
            wish.streams.retain(|name| !gone.contains(&name.as_str()));
        }
        self.0.retain(|wish| !wish.streams.is_empty());
    }

    /// The same as it is looked at for each event; `None` if it can't be read.
    pub(crate) fn subscriptions(&self, filters: &Filters) -> Option<Subscriptions> {
        let mut subscriptions = Subscriptions::default();
        for wish in &self.0 {
            let mut streams = StreamSet::default();
            for name in &wish.streams {
                streams = streams.with(StreamSet::named(name)?);
            }
            let condition = match &wish.condition {
                Value::Null => None,
                condition => Some(Filter::from_json(condition).ok()?),
            };
            subscriptions.subscribe(streams, filters.share(condition));
        }
        Some(subscriptions)
    }
}

impl Memory {
    /// The rooms, as far as they are some.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = Room> {
        self.rooms.iter().filter_map(|name| Room::named(name).ok())
    }
}

/// What clients have, in Redis.
#[derive(Debug)]
pub(crate) struct Memories {
    connection: SharedConnection,
    /// From one writing on.
    kept: Duration,
    to_write: mpsc::Sender<Change>,
}

/// What a client finds its memory by, and what it is held by.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) pid: String,
    holder: String,
}

/// What is to be done with a memory.
#[derive(Clone, Debug)]
enum Change {
    /// A new holder has it.
    Take(Hold, Arc<str>),
    /// It has changed, or lives on.
    Keep(Hold, Arc<str>),
    /// There is none any more.
    Forget(Hold),
}

/// What is to be written.
pub(crate) struct ToWrite(mpsc::Receiver<Change>);

impl Hold {
    /// By a new connection.
    pub(crate) fn of(pid: String) -> Self {
        Self { pid, holder: Uuid::new_v4().simple().to_string() }
    }

    fn key(&self) -> String {
        format!("{PREFIX}{}", self.pid)
    }
}

impl Memories {
    /// Nothing is connected yet. It is written anew with each ping.
    pub(crate) fn new(redis: RedisSettings, ping_interval: Duration) -> (Self, ToWrite) {
        let (to_write, receiver) = mpsc::channel(QUEUE);
        let kept = KEPT.saturating_add(ping_interval);
        (Self { connection: SharedConnection::new(redis), kept, to_write }, ToWrite(receiver))
    }

    /// A new `pid`: nobody can guess it.
    pub(crate) fn new_pid() -> String {
        Uuid::new_v4().to_string()
    }

    /// What a client has that comes back with this `pid`, if it is kept.
    pub(crate) async fn find(&self, pid: &str) -> Result<Option<Memory>, StreamError> {
        let is_ours = pid.len() <= MAX_PID && pid.parse::<Uuid>().is_ok();
        if !is_ours {
            return Ok(None);
        }
        let key = Arc::<str>::from(format!("{PREFIX}{pid}"));
        let text = self.connection.ask(|connection| {
            let key = key.clone();
            async move { connection.record(&key).await }
        });
        Ok(text.await?.and_then(|text| serde_json::from_str(text.get(HOLDER_BYTES..)?).ok()))
    }

    /// Has it kept, soon, by a new holder: no other writes it any more.
    pub(crate) fn take(&self, hold: &Hold, memory: &Memory) {
        self.write_soon(hold, memory, Change::Take);
    }

    /// Has it kept, soon, unless it has another holder.
    pub(crate) fn keep(&self, hold: &Hold, memory: &Memory) {
        self.write_soon(hold, memory, Change::Keep);
    }

    /// Has it forgotten, soon.
    pub(crate) fn forget(&self, hold: &Hold) {
        if self.to_write.try_send(Change::Forget(hold.clone())).is_err() {
            metrics::memory_failed("too_many");
        }
    }

    fn write_soon(&self, hold: &Hold, memory: &Memory, change: fn(Hold, Arc<str>) -> Change) {
        let Ok(text) = serde_json::to_string(memory) else { return };
        if text.len() > MAX_BYTES {
            // An older one would bring back less than the client was promised.
            metrics::memory_failed("too_large");
            self.forget(hold);
        } else if self.to_write.try_send(change(hold.clone(), text.into())).is_err() {
            metrics::memory_failed("too_many");
        }
    }

    /// Writes what is to be kept, until `shutdown`.
    pub(crate) async fn write(&self, mut to_write: ToWrite, shutdown: Shutdown) {
        // Not only when all clients come back at once. If it fails now, the first question tries again.
        let _ = shutdown.run_until_cancelled(self.connection.get()).await;
        let mut batch = Vec::new();
        while shutdown.run_until_cancelled(to_write.0.recv_many(&mut batch, AT_ONCE)).await.unwrap_or(0) > 0 {
            join_all(batch.drain(..).map(|change| self.write_one(change))).await;
        }
    }

    async fn write_one(&self, change: Change) {
        let written = self.connection.ask(|connection| {
            let change = change.clone();
            async move {
                match change {
                    Change::Take(hold, text) => {
                        let text = format!("{}{text}", hold.holder);
                        connection.keep_record(&hold.key(), &text, self.kept).await
                    }
                    Change::Keep(hold, text) => connection
                        .keep_own_record(&hold.key(), &hold.holder, &text, self.kept)
                        .await
                        .map(drop),
                    Change::Forget(hold) => connection.forget_own_record(&hold.key(), &hold.holder).await,
                }
            }
        });
        if let Err(error) = written.await {
            metrics::memory_failed("redis");
            tracing::debug!(%error, "what a client has is not kept for its return");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(name: &str) -> StreamSet {
        StreamSet::named(name).unwrap()
    }

    #[test]
    fn what_is_asked_for_is_written_and_read() {
        let filters = Filters::default();
        let mut wishes = Wishes::everything();
        wishes.subscribe(named("model-events"), json!({"model_name": "m"}));
        wishes.unsubscribe(named("agi-decisions"));
        wishes.subscribe(named("inference-events"), json!({"model_name": "n"}));
        wishes.subscribe(named("inference-events"), Value::Null);
        let read: Wishes = serde_json::from_str(&serde_json::to_string(&wishes).unwrap()).unwrap();
        assert_eq!((&read, read.0.len()), (&wishes, 3));
        let subscriptions = read.subscriptions(&filters).unwrap();
        assert_eq!(subscriptions.streams(), StreamSet::ALL.without(named("agi-decisions")));
        assert!(subscriptions.wants_all_of(named("inference-events")));
        assert!(!subscriptions.wants_all_of(named("model-events")));
        assert!(
            Wishes(vec![Wish { streams: vec!["x".into()], condition: Value::Null }])
                .subscriptions(&filters)
                .is_none()
        );
    }
}
