//! `GET /streams`, `GET /streams/{stream}/info`.

use std::sync::Arc;

use axum::{Json, extract::State};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Uri;
use serde::Serialize;
use synapse_chassis::{
    error::ApiError,
    request::{Query, cut},
};
use synapse_rs::{
    EntryId,
    stream::{Connection, GroupInfo, StreamError, StreamInfo},
};
use utoipa::ToSchema;

use crate::{hub::Hub, messages::Message, request::Names};

/// Streams that are listed at most.
pub const MAX_LISTED: usize = 1_000;
/// Streams that are looked at together.
const TOGETHER: usize = 16;

/// All streams.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listing {
    /// The streams, by name; dead letters (`…:dlq`) are streams as well.
    pub streams: Vec<Overview>,
    /// How many streams there are.
    pub count: usize,
    /// Whether there are more than are listed.
    pub truncated: bool,
}

/// A stream and its groups.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    /// Its name.
    #[schema(example = "inference-events")]
    pub name: String,
    /// How many entries it has.
    pub length: u64,
    /// The first entry's id, if it has any.
    #[schema(example = "1795424694440-0")]
    pub first_id: Option<String>,
    /// The id of the last entry ever appended, if there was one.
    #[schema(example = "1795424694440-0")]
    pub last_id: Option<String>,
    /// Bytes of Redis's memory, sampled; `null` where Redis does not tell.
    pub bytes: Option<u64>,
    /// Its consumer groups.
    pub groups: Vec<Group>,
}

/// A consumer group.
#[derive(Debug, Serialize, ToSchema)]
pub struct Group {
    /// Its name.
    #[schema(example = "analytics-service")]
    pub name: String,
    /// How many consumers it knows, idle ones included.
    pub consumers: u64,
    /// Entries it has not been given; `null` where Redis can't know.
    pub lag: Option<u64>,
    /// Entries it was given and has not acknowledged.
    pub pending: u64,
    /// How long ago the first of these was appended, in milliseconds.
    pub oldest_pending_ms: Option<u64>,
    /// The last entry it was given.
    pub last_delivered_id: String,
}

/// A stream in detail.
#[derive(Debug, Serialize, ToSchema)]
pub struct Detail {
    /// Its name, as older clients read it.
    pub stream: String,
    /// What the list says of it.
    #[serde(flatten)]
    pub overview: Overview,
    /// How many entries were ever appended; `null` before Redis 7.
    pub entries_added: Option<u64>,
    /// The first entry.
    pub first_entry: Option<Message>,
    /// The last entry.
    pub last_entry: Option<Message>,
    /// How many dead letters it has.
    pub dead_letters: u64,
}

impl Overview {
    /// Of what Redis tells.
    pub fn of(name: String, info: &StreamInfo, groups: Vec<GroupInfo>) -> Self {
        Self {
            name,
            length: info.length,
            first_id: info.first_id.map(|id| id.to_string()),
            last_id: (info.last_generated_id > EntryId::MIN).then(|| info.last_generated_id.to_string()),
            bytes: info.bytes,
            groups: groups.into_iter().map(Group::from).collect(),
        }
    }
}

impl From<GroupInfo> for Group {
    fn from(group: GroupInfo) -> Self {
        let oldest_ms = |age: std::time::Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: group.name,
            consumers: group.consumers,
            lag: group.lag,
            pending: group.pending,
            oldest_pending_ms: group.oldest_pending.map(oldest_ms),
            last_delivered_id: group.last_delivered_id.to_string(),
        }
    }
}

/// All streams: length, first and last id, bytes, and the groups with their lag.
#[utoipa::path(
    get, path = "/streams", operation_id = "list_streams", tag = "streams",
    responses((status = 200, description = "the streams", body = Listing)),
)]
pub async fn list(State(hub): State<Arc<Hub>>, uri: Uri) -> Result<Json<Listing>, ApiError> {
    Query::read(uri.query(), &[])?;
    hub.ask(|connection| async move {
        let mut names = connection.streams().await?;
        let count = names.len();
        names.truncate(MAX_LISTED);
        let looked_at = stream::iter(names).map(|name| look(&connection, name)).buffered(TOGETHER);
        // Those deleted since they were listed are left out.
        let streams = looked_at.try_filter_map(async |found| Ok(found)).try_collect().await?;
        Ok(Json(Listing { streams, count, truncated: count > MAX_LISTED }))
    })
    .await
}

/// A stream in detail.
#[utoipa::path(
    get, path = "/streams/{stream}/info", operation_id = "stream_info", tag = "streams",
    params(("stream" = String, Path, description = "its name", min_length = 1, max_length = 512)),
    responses((status = 200, description = "the stream", body = Detail)),
)]
pub async fn info(State(hub): State<Arc<Hub>>, uri: Uri, names: Names) -> Result<Json<Detail>, ApiError> {
    Query::read(uri.query(), &[])?;
    let stream = names.stream.as_str();
    let detail = hub.ask(|connection| async move { detail(&connection, stream).await }).await?;
    detail.map(Json).ok_or_else(|| no_such_stream(stream))
}

/// What is answered where a stream is not.
pub fn no_such_stream(stream: &str) -> ApiError {
    let stream = cut(stream);
    ApiError::not_found(
        "stream_not_found",
        format!("there is no stream {stream:?}; GET /streams lists those there are"),
    )
}

async fn look(connection: &Connection, name: String) -> Result<Option<Overview>, StreamError> {
    let Some(info) = connection.info(&name).await? else { return Ok(None) };
    let groups = connection.groups(&name).await?;
    Ok(Some(Overview::of(name, &info, groups)))
}

async fn detail(connection: &Connection, stream: &str) -> Result<Option<Detail>, StreamError> {
    let Some(info) = connection.info(stream).await? else { return Ok(None) };
    let groups = connection.groups(stream).await?;
    let first = connection.range(stream, EntryId::MIN, EntryId::MAX, 1).await?.pop();
    let last = connection.rev_range(stream, EntryId::MAX, EntryId::MIN, 1).await?.pop();
    Ok(Some(Detail {
        stream: stream.to_owned(),
        entries_added: info.entries_added,
        first_entry: first.map(|entry| Message::of(stream, &entry)),
        last_entry: last.map(|entry| Message::of(stream, &entry)),
        dead_letters: connection.length(&synapse_rs::dead_letters::stream_of(stream)).await?,
        overview: Overview::of(stream.to_owned(), &info, groups),
    }))
}
