//! `GET /streams/{stream}/messages`.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::Uri;
use serde::Serialize;
use serde_json::{Map, Value};
use synapse_chassis::{error::ApiError, request::Query};
use synapse_rs::{
    EntryId, Filter,
    event::decode::{Decoded, decode},
    stream::{Connection, Entry, StreamError, pages::Pages},
};
use utoipa::ToSchema;

use crate::{
    hub::Hub,
    request::{Names, moment},
    streams::no_such_stream,
};

/// Entries that are given at most.
pub const MAX_COUNT: usize = 1_000;
/// Entries that are looked at for one answer.
const MAX_LOOKED_AT: usize = 20_000;
/// Bytes of entries that are looked at for one answer, but for one that is larger.
const MAX_BYTES: usize = 16 << 20;

/// Entries of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct Messages {
    /// The stream.
    pub stream: String,
    /// The entries: from `after` on oldest first; without it newest first.
    pub messages: Vec<Message>,
    /// How many.
    pub count: usize,
    /// Where to go on: give it as `after` if `after` was given, else as `before`. `null` if there is nothing more.
    pub next: Option<String>,
}

/// An entry.
#[derive(Debug, Serialize, ToSchema)]
pub struct Message {
    /// Its id.
    #[schema(example = "1795424694440-0")]
    pub id: String,
    /// The event; of an entry that is none, or can't be read, its fields as text.
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
    /// Why it can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Message {
    /// Of an entry of the stream.
    pub fn of(stream: &str, entry: &Entry) -> Self {
        let (data, error) = match decode(stream, entry.fields()) {
            Ok(Decoded::Event(event)) => (event.into_fields(), None),
            Ok(Decoded::Nameless) => (raw(entry.fields()), None),
            Err(error) => (raw(entry.fields()), Some(error.to_string())),
        };
        Self { id: entry.id.to_string(), data, error }
    }
}

/// Fields as they stand there, with bytes that are not text replaced.
pub fn raw<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Map<String, Value> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields.map(|(field, value)| (text(field), Value::from(text(value)))).collect()
}

/// What is asked for.
struct Asked {
    count: usize,
    after: Option<EntryId>,
    before: Option<EntryId>,
    filter: Filter,
}

/// Entries of a stream, decoded. Without `after` the newest; `before` and `after` themselves are left out.
#[utoipa::path(
    get, path = "/streams/{stream}/messages", operation_id = "stream_messages", tag = "streams",
    params(
        ("stream" = String, Path, description = "its name", min_length = 1, max_length = 512),
        ("count" = Option<u32>, Query, description = "how many at most, 100 if not given", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "an entry id, or a time (RFC 3339): oldest first from there"),
        ("before" = Option<String>, Query, description = "an entry id, or a time: newest first from there, unless `after` is given"),
        ("where" = Option<Vec<String>>, Query, description = "`field=value`, repeated, or a JSON object: all keys must match"),
    ),
    responses((status = 200, description = "the entries; there may be fewer than `count` before the last page", body = Messages)),
)]
pub async fn messages(
    State(hub): State<Arc<Hub>>,
    uri: Uri,
    names: Names,
) -> Result<Json<Messages>, ApiError> {
    let query = Query::read(uri.query(), &["count", "after", "before", "where"])?;
    let at = |name| query.one(name)?.map(|text| moment(name, text)).transpose();
    let asked = Asked {
        count: query.count(100, MAX_COUNT)?,
        after: query.one("after")?.map(after).transpose()?,
        before: at("before")?,
        filter: query.filter()?,
    };
    let (stream, asked) = (names.stream.as_str(), &asked);
    let found = hub.ask(|connection| async move { find(&connection, stream, asked).await }).await?;
    found.map(Json).ok_or_else(|| no_such_stream(stream))
}

/// An id itself is left out; what was appended at a time is what comes after it.
fn after(text: &str) -> Result<EntryId, ApiError> {
    let id = moment("after", text)?;
    Ok(if text.parse::<EntryId>().is_ok() { id } else { id.previous() })
}

async fn find(connection: &Connection, stream: &str, asked: &Asked) -> Result<Option<Messages>, StreamError> {
    let low = asked.after.map_or(EntryId::MIN, EntryId::next);
    let high = asked.before.map_or(EntryId::MAX, EntryId::previous);
    // Nothing lies before the first id and after the last.
    let is_empty = asked.before == Some(EntryId::MIN) || asked.after == Some(EntryId::MAX);
    let mut pages = match asked.after {
        Some(_) => Pages::new(stream, low, high),
        None => Pages::newest_first(stream, high, low),
    };
    let mut found = Messages { stream: stream.to_owned(), messages: Vec::new(), count: 0, next: None };
    let (mut looked_at, mut bytes, mut last) = (0, 0, None);
    while !is_empty && pages.position().is_some() && looked_at < MAX_LOOKED_AT && bytes < MAX_BYTES {
        let left = asked.count - found.messages.len();
        if left == 0 {
            break;
        }
        let most = if asked.filter.is_empty() { left } else { MAX_COUNT };
        for entry in pages.at_most(connection, most, MAX_BYTES - bytes).await? {
            let is_too_large = looked_at > 0 && bytes + entry.size_bytes() > MAX_BYTES;
            if found.messages.len() == asked.count || is_too_large {
                found.next = last;
                found.count = found.messages.len();
                return Ok(Some(found));
            }
            looked_at += 1;
            bytes += entry.size_bytes();
            last = Some(entry.id.to_string());
            if is_wanted(stream, &entry, &asked.filter) {
                found.messages.push(Message::of(stream, &entry));
            }
        }
    }
    if looked_at == 0 && connection.extent(stream).await?.is_none() {
        return Ok(None);
    }
    found.next = pages.position().and(last);
    found.count = found.messages.len();
    Ok(Some(found))
}

fn is_wanted(stream: &str, entry: &Entry, filter: &Filter) -> bool {
    filter.is_empty()
        || matches!(decode(stream, entry.fields()), Ok(Decoded::Event(event)) if filter.matches(&event))
}
