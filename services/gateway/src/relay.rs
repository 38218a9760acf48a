//! What clients are told beside the events of the streams, on whichever replica they are.
//!
//! It goes onto a stream of its own, which every replica reads from where it ends: whoever is connected gets it, and it is
//! not kept for those who come later. Notifications come the same way, by the stream that tells the replicas of
//! synapse-notifications.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use synapse_realtime::{
    hub::Room,
    limits::RateLimit,
    recent::Recent,
    socketio::{
        application::Failure,
        packet::{self, Arguments, MAIN_NAMESPACE, Subject},
    },
};
use synapse_rs::{
    Event, Publisher, RedisSettings,
    backoff::Backoff,
    publisher::{DeliveryError, PublishError, PublisherConfig},
    shutdown::Shutdown,
    stream::{EntryId, SharedConnection, trim::Amount},
    tail::{After, News, Tail},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{client::Client, feed::Feed, frames::Protocol, metrics};

/// The stream by which replicas tell each other.
pub(crate) const STREAM: &str = "synapse:gateway";
/// The stream by which synapse-notifications tells its replicas.
const NOTIFICATIONS: &str = "synapse:notifications";
/// How many entries the stream keeps: more than are on their way to a replica at any time.
const KEPT: u64 = 10_000;
/// What of it is older is of no use to anybody, …
const LIVES: Duration = Duration::from_secs(30);
/// … and removed as often.
const TRIMMED_EVERY: Duration = Duration::from_secs(10);
/// Entries removed at once, at most.
const TRIMMED_AT_ONCE: u64 = 100_000;
/// What members of rooms may tell by one replica, in bytes a second: it fills Redis, and the outboxes of the others.
const PRESENCE_BYTES_PER_SECOND: u32 = 1 << 20;
/// Of the outbox of who reads slowly presence fills so much, one part in these, and no more: it is no reason to be sent away.
const PRESENCE_OF_OUTBOX: usize = 4;
/// How many notifications are remembered, as one may be announced twice: more than their stream keeps.
const REMEMBERED: usize = 20_000;
/// How long it may take to reach Redis.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what is on its way may take when the service leaves.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// What a user's progress in a game is told by.
const GAMIFICATION: &str = "gamification:event";
/// What members of a room tell of themselves by.
const PRESENCE: &str = "presence:update";
const NOTIFICATION: &str = "notification";

/// Tells all replicas, and passes on what they tell.
#[derive(Debug)]
pub(crate) struct Relay {
    publisher: Publisher,
    redis: RedisSettings,
    feed: Arc<Feed>,
    /// This replica.
    origin: String,
    notifications: Mutex<Recent>,
    presence: Mutex<RateLimit>,
    /// For what is not reading.
    connection: SharedConnection,
    is_following: watch::Sender<bool>,
}

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    /// It was not taken.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Redis refused it.
    #[error("{0}")]
    Delivery(DeliveryError),
    /// Redis does not answer; it may be told later.
    #[error("Redis has not taken it within {PATIENCE:?}; users get it when Redis is back")]
    TooLate,
}

impl Relay {
    /// Nothing is connected yet.
    pub(crate) fn new(redis: RedisSettings, feed: Arc<Feed>) -> Self {
        let config = PublisherConfig {
            source: "synapse-gateway".to_owned(),
            maxlen: KEPT,
            queue_events: KEPT,
            ..PublisherConfig::default()
        };
        Self {
            publisher: Publisher::start(redis.clone(), config),
            presence: Mutex::new(RateLimit::new(PRESENCE_BYTES_PER_SECOND, Instant::now())),
            connection: SharedConnection::new(redis.clone()),
            redis,
            feed,
            origin: Uuid::new_v4().to_string(),
            notifications: Mutex::new(Recent::new(REMEMBERED)),
            is_following: watch::Sender::new(false),
        }
    }

    // === telling ===

    /// Tells a user, wherever it is connected; comes back when Redis has it.
    pub(crate) async fn tell_gamification(&self, user: &Room, data: Value) -> Result<(), RelayError> {
        let event = Event::new(GAMIFICATION).with("room", user.to_string()).with("data", data);
        let receipt = self.publisher.send(STREAM, &event)?;
        match timeout(PATIENCE, receipt).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(RelayError::Delivery(error)),
            Err(_) => Err(RelayError::TooLate),
        }
    }

    /// Tells the others in a room: here at once, elsewhere soon.
    pub(crate) fn tell_presence(
        &self,
        room: &Room,
        said: Arguments<'_>,
        size: usize,
        from: &Arc<Client>,
    ) -> Result<(), Failure> {
        if !self.presence.lock().allow_many(u32::try_from(size).unwrap_or(u32::MAX), Instant::now()) {
            metrics::relayed("refused", 1);
            return Err(Failure::new(
                "too_much",
                "more presence is told than rooms can take; tell less, or later",
            ));
        }
        self.say_presence(room, said, |client| !Arc::ptr_eq(client, from));
        let bytes = said.attachments.iter().map(|bytes| Value::from(STANDARD.encode(bytes)));
        let event = Event::new(PRESENCE)
            .with("room", room.to_string())
            .with("data", said.values)
            .with("bytes", bytes.collect::<Vec<_>>())
            .with("origin", self.origin.as_str());
        if let Err(error) = self.publisher.publish(STREAM, &event) {
            metrics::relayed("failed", 1);
            tracing::debug!(%error, "other replicas are not told of a presence");
        }
        Ok(())
    }

    /// Removes again and again what was told long ago.
    pub(crate) async fn keep_short(&self) {
        loop {
            sleep(TRIMMED_EVERY).await;
            let trimmed = self.connection.ask(|connection| async move {
                let last = connection.last_id(STREAM).await?;
                let lives = u64::try_from(LIVES.as_millis()).unwrap_or(u64::MAX);
                let from = EntryId::new(last.ms.saturating_sub(lives), 0);
                connection.trim_before(STREAM, from, Amount::Nodes(TRIMMED_AT_ONCE), &[]).await
            });
            if let Err(error) = trimmed.await {
                tracing::debug!(%error, "what replicas told each other is not removed");
            }
        }
    }

    /// Has Redis take what is on its way; nothing is told after.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.publisher.close(LAST_PATIENCE).await {
            tracing::debug!(%error, "other replicas are not told all");
        }
    }

    // === passing on ===

    /// Becomes true when nothing that is told is missed any more.
    pub(crate) fn is_following(&self) -> watch::Receiver<bool> {
        self.is_following.subscribe()
    }

    /// Passes on what replicas tell, until `shutdown`.
    pub(crate) async fn follow(&self, shutdown: Shutdown) {
        let Some(mut tail) = shutdown.run_until_cancelled(self.open()).await else { return };
        self.is_following.send_replace(true);
        while let Some(news) = shutdown.run_until_cancelled(tail.next()).await {
            match news {
                News::Entries(entries) => {
                    for entry in entries {
                        if let Ok(Some(event)) = &entry.event {
                            self.pass_on(&entry.stream, event);
                        }
                    }
                }
                News::Interrupted(error) => tracing::debug!(%error, "other replicas can't be heard"),
                News::Resumed(_) => tracing::info!("other replicas are heard again"),
            }
        }
    }

    async fn open(&self) -> Tail {
        let streams = [STREAM.to_owned(), NOTIFICATIONS.to_owned()];
        let mut backoff = Backoff::default();
        loop {
            match Tail::open(self.redis.clone(), &streams, After::Now).await {
                Ok(tail) => return tail,
                Err(error) => tracing::debug!(%error, "other replicas can't be heard yet"),
            }
            sleep(backoff.next_delay()).await;
        }
    }

    fn pass_on(&self, stream: &str, event: &Event) {
        if stream == NOTIFICATIONS {
            self.pass_on_notification(event);
            return;
        }
        let Some(room) = event.str("room").and_then(|room| Room::named(room).ok()) else { return };
        let data = event.get("data").unwrap_or(&Value::Null);
        match event.name() {
            GAMIFICATION => self.say(&room, GAMIFICATION, data),
            // Ours has been told already.
            PRESENCE if event.str("origin") != Some(&self.origin) => {
                let values = data.as_array().map_or(&[][..], Vec::as_slice);
                let bytes = event.get("bytes").and_then(Value::as_array).into_iter().flatten();
                let attachments: Option<Vec<_>> =
                    bytes.map(|text| STANDARD.decode(text.as_str()?).ok().map(Bytes::from)).collect();
                let Some(attachments) = attachments else { return };
                self.say_presence(&room, Arguments { values, attachments: &attachments }, |_| true);
            }
            _ => {}
        }
    }

    fn pass_on_notification(&self, event: &Event) {
        let Some(id) = event.str("notification_id").and_then(|id| id.parse().ok()) else { return };
        let Some(room) = event.user_id().and_then(|user| Room::user(user).ok()) else { return };
        if !self.notifications.lock().insert(id) {
            metrics::relayed("skipped", 1);
            return;
        }
        let field = |name| event.get(name).unwrap_or(&Value::Null);
        let shown = json!({
            "id": id,
            "type": field("type"),
            "message": field("message"),
            "data": field("data"),
            "timestamp": field("timestamp"),
        });
        self.say(&room, NOTIFICATION, &shown);
    }

    fn say(&self, room: &Room, name: &str, data: &Value) {
        let count = self.feed.say(room, |protocol| protocol.message(name, data), |_| true);
        metrics::relayed("sent", count);
    }

    /// Presence is a matter of Socket.IO.
    fn say_presence(&self, room: &Room, said: Arguments<'_>, is_meant: impl Fn(&Arc<Client>) -> bool) {
        let frames = |protocol| {
            let mut values = Cow::Borrowed(said.values);
            if protocol == Protocol::SocketIoWithOffsets && values.last().is_some_and(Value::is_string) {
                // A text at the end would be taken for a position by who may come back.
                values.to_mut().push(Value::Null);
            }
            let said = Arguments { values: &values, ..said };
            packet::frames(MAIN_NAMESPACE, Subject::Event(PRESENCE), said)
        };
        let kept_up = |client: &Client| {
            let keeps_up = client.link.waiting_bytes() < client.link.limit() / PRESENCE_OF_OUTBOX;
            if !keeps_up {
                metrics::relayed("skipped", 1);
            }
            keeps_up
        };
        let is_meant =
            |client: &Arc<Client>| client.protocol.is_socketio() && is_meant(client) && kept_up(client);
        let count = self.feed.say(room, frames, is_meant);
        metrics::relayed("sent", count);
    }
}
