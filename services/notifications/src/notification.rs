//! A notification: what one user is told about one event.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use synapse_realtime::hub::{MAX_ROOM_BYTES, Room};
use synapse_rs::{EntryId, Event, consumer::Delivery, event::timestamp::Timestamp};
use uuid::Uuid;

use crate::rules;

/// The longest message, in characters.
pub const MAX_MESSAGE_CHARACTERS: usize = 500;
/// The longest type, in characters.
const MAX_TYPE_CHARACTERS: usize = 200;
/// The longest id of an event that is kept as it is, in bytes.
const MAX_EVENT_ID_BYTES: usize = 256;
/// The most that goes along for programs, as JSON in bytes; beyond it only its size is told.
pub const MAX_DATA_BYTES: usize = 32 << 10;
/// What ids of notifications are derived in.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_9c1e_52f4_4c6b_9a57_83a1_0d2b_7e40);

/// What one user is told about one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The same for this user and event, wherever and however often it is made.
    pub id: Uuid,
    /// Whom it is for.
    pub user: String,
    /// The event; `<stream>/<entry id>` for one without an id.
    pub event_id: String,
    /// Its type.
    pub kind: String,
    /// What stands above the message in a push.
    pub title: String,
    /// What it says.
    pub message: String,
    /// What goes along for programs: JSON.
    pub data: String,
    /// The event's timestamp.
    pub timestamp: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// Whether it is shown at once; otherwise it is for the inbox only.
    pub is_live: bool,
}

/// Why an event that should make a notification can't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NobodysId {
    /// It is too long.
    #[error("its user_id has {0} bytes, {MAX_ROOM_BYTES} at most can be told anything")]
    TooLong(usize),
    /// It has a character in it that no user's has.
    #[error("its user_id has a NUL character in it")]
    Nul,
}

impl Notification {
    /// What an event becomes, if anything.
    ///
    /// An event older than `max_age`, by its own timestamp or else by its entry's id, is for the inbox only.
    pub fn of(delivery: &Delivery, now: SystemTime, max_age: Duration) -> Result<Option<Self>, NobodysId> {
        let event = &delivery.event;
        let (Some(makes), Some(user)) = (rules::makes(&delivery.stream, event), event.user_id()) else {
            return Ok(None);
        };
        if user.is_empty() {
            return Ok(None);
        }
        if let Err(error) = Room::user(user) {
            return Err(NobodysId::TooLong(error.0));
        }
        if user.contains('\0') {
            return Err(NobodysId::Nul);
        }
        let user = user.to_owned();
        let first_id = first_id(delivery);
        let event_id = match event.event_id() {
            Some(id) if (1..=MAX_EVENT_ID_BYTES).contains(&id.len()) => clean(id.to_owned()),
            _ => format!("{}/{first_id}", delivery.stream),
        };
        let (timestamp, happened_ms) = moment(event, first_id);
        Ok(Some(Self {
            // With its length in front no two users and events make the same text.
            id: Uuid::new_v5(&NAMESPACE, format!("{}:{user}{event_id}", user.len()).as_bytes()),
            kind: cut(makes.kind.unwrap_or(event.name()), MAX_TYPE_CHARACTERS),
            title: makes.title.to_owned(),
            message: cut(&makes.message.of(event), MAX_MESSAGE_CHARACTERS),
            data: bounded(&makes.data.of(event)),
            is_live: u128::try_from(millis(now) - happened_ms).unwrap_or(0) <= max_age.as_millis(),
            created_ms: millis(now),
            user,
            event_id,
            timestamp,
        }))
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        let texts =
            [&self.user, &self.event_id, &self.kind, &self.title, &self.message, &self.data, &self.timestamp];
        size_of::<Self>() + texts.iter().map(|text| text.len()).sum::<usize>()
    }

    /// As clients get it.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "type": self.kind,
            "message": self.message,
            "data": data_of(&self.data),
            "timestamp": self.timestamp,
        })
    }

    /// As an event of the stream by which all replicas hear of it.
    pub fn to_event(&self) -> Event {
        Event::new("notification")
            .with("timestamp", self.timestamp.as_str())
            .with("event_id", self.id.to_string())
            .with("user_id", self.user.as_str())
            .with("notification_id", self.id.to_string())
            .with("type", self.kind.as_str())
            .with("message", self.message.as_str())
            .with("data", data_of(&self.data))
    }
}

/// Whom an event of that stream is for, which notification it is, and that as clients get it.
pub fn announced(event: &Event) -> Option<(&str, Uuid, Value)> {
    let id = event.str("notification_id")?.parse().ok()?;
    let field = |name| event.get(name).cloned().unwrap_or_default();
    let shown = json!({
        "id": id,
        "type": field("type"),
        "message": field("message"),
        "data": field("data"),
        "timestamp": field("timestamp"),
    });
    Some((event.user_id()?, id, shown))
}

/// What goes along, read back.
pub fn data_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Milliseconds since 1970.
pub fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Now, likewise.
pub fn now_ms() -> i64 {
    millis(SystemTime::now())
}

/// The entry that first carried the event: a dead letter that was put back tells its own.
fn first_id(delivery: &Delivery) -> EntryId {
    let replayed = delivery.event.str("replay_of").and_then(|id| id.parse().ok());
    replayed.unwrap_or(delivery.id)
}

/// When it happened, as text and in milliseconds since 1970.
fn moment(event: &Event, id: EntryId) -> (String, i64) {
    let own = event.str("timestamp").and_then(|text| Some((text, text.parse::<jiff::Timestamp>().ok()?)));
    if let Some((text, moment)) = own {
        return (text.to_owned(), moment.as_millisecond());
    }
    // Beyond the years that a timestamp can name no clock of a server's has been.
    let ms = id.ms.min(253_402_300_799_000);
    let text = Timestamp::of(UNIX_EPOCH + Duration::from_millis(ms)).as_str().to_owned();
    (text, ms.cast_signed())
}

fn cut(text: &str, most: usize) -> String {
    clean(text.chars().take(most).collect())
}

/// Without the one character that PostgreSQL does not keep.
fn clean(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

fn bounded(data: &Value) -> String {
    let text = data.to_string();
    if text.len() <= MAX_DATA_BYTES {
        return text;
    }
    crate::metrics::data_omitted();
    json!({ "omitted_bytes": text.len() }).to_string()
}

#[cfg(test)]
mod tests;
