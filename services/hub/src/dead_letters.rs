//! `GET /dlq`, `GET /dlq/{stream}/{group}`, `POST /dlq/{stream}/{group}/replay`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};
use http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use synapse_chassis::{
    error::ApiError,
    request::{Query, cut},
};
use synapse_rs::{
    EntryId,
    dead_letters::{self as letters, Heap, Letter, MAX_IDS, Selection, Sorting, Task},
    stream::{Connection, StreamError},
};
use utoipa::ToSchema;

use crate::{
    hub::Hub,
    jobs::{Record, Work},
    messages::raw,
    replay::answer,
    request::{Names, check_limit, check_text, moment},
    streams::no_such_stream,
};

/// Letters of an answer at most.
pub const MAX_COUNT: usize = 1_000;
/// How long a request waits for its replay to end before it is answered with 202.
const PATIENCE: Duration = Duration::from_secs(5);

/// All dead letters, counted.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetters {
    /// By stream and group.
    pub dead_letters: Vec<Pile>,
    /// All of them.
    pub total: u64,
}

/// The dead letters of a group.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pile {
    /// The stream the events were on.
    pub stream: String,
    /// The group that could not handle them; empty if they do not say, or there are too many to look at.
    pub group: String,
    /// How many there are.
    pub count: u64,
    /// The id of the first; its milliseconds are when it was moved here.
    pub oldest: String,
    /// The id of the last.
    pub newest: String,
    /// How many there are for each reason.
    pub reasons: BTreeMap<String, u64>,
    /// Whether all of the stream were looked at; else there are more.
    pub complete: bool,
}

impl From<Heap> for Pile {
    fn from(heap: Heap) -> Self {
        Self {
            stream: heap.stream,
            group: heap.group,
            count: heap.count,
            oldest: heap.oldest.to_string(),
            newest: heap.newest.to_string(),
            reasons: heap.reasons,
            complete: heap.complete,
        }
    }
}

/// Some dead letters of a group.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page {
    /// The stream.
    pub stream: String,
    /// The group.
    pub group: String,
    /// The letters, oldest first.
    pub letters: Vec<Shown>,
    /// Where to go on: give it as `after`. `null` if there is nothing more.
    pub next: Option<String>,
}

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shown {
    /// Its id among the dead letters.
    pub id: String,
    /// The event's id on the stream.
    pub original_id: String,
    /// One word, for example `rejected`.
    pub reason: String,
    /// What happened, in words.
    pub error: String,
    /// How often it was delivered; `null` if the letter does not say.
    pub deliveries: Option<u64>,
    /// When it was moved here, RFC 3339.
    pub moved_at: String,
    /// The event; if it can't be read, its fields as text.
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
}

impl From<Letter> for Shown {
    fn from(letter: Letter) -> Self {
        let data = match letter.event() {
            Ok(Some(event)) => event.into_fields(),
            _ => raw(letter.fields.iter().map(|(field, value)| (field.as_ref(), value.as_ref()))),
        };
        Self {
            id: letter.id.to_string(),
            original_id: letter.original_id,
            reason: letter.reason,
            error: letter.error,
            deliveries: letter.deliveries,
            moved_at: letter.moved_at,
            data,
        }
    }
}

/// Which dead letters of a group are put back; all if nothing is said.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayLetters {
    /// Those with this reason only.
    pub reason: Option<String>,
    /// Those with these ids among the dead letters only.
    #[schema(min_items = 1, max_items = 10000)]
    pub ids: Option<Vec<String>>,
    /// The first so many only.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub limit: Option<u64>,
}

/// The dead letters of all streams, counted by stream, group and reason.
#[utoipa::path(
    get, path = "/dlq", operation_id = "list_dead_letters", tag = "dead letters",
    responses((status = 200, description = "how many there are", body = DeadLetters)),
)]
pub async fn list(State(hub): State<Arc<Hub>>, uri: Uri) -> Result<Json<DeadLetters>, ApiError> {
    Query::read(uri.query(), &[])?;
    let heaps = hub.ask(|connection| async move { letters::list(&connection).await }).await?;
    let total = heaps.iter().map(|heap| heap.count).sum();
    Ok(Json(DeadLetters { dead_letters: heaps.into_iter().map(Pile::from).collect(), total }))
}

/// The dead letters of a group of a stream.
#[utoipa::path(
    get, path = "/dlq/{stream}/{group}", operation_id = "show_dead_letters", tag = "dead letters",
    params(
        ("stream" = String, Path, description = "the stream the events were on", min_length = 1, max_length = 512),
        ("group" = String, Path, description = "the group that could not handle them", min_length = 1, max_length = 512),
        ("count" = Option<u32>, Query, description = "how many at most, 100 if not given", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "those after this id, `next` of the page before"),
        ("reason" = Option<String>, Query, description = "those with this reason only"),
    ),
    responses((status = 200, description = "the letters; there may be fewer than `count` before the last page", body = Page)),
)]
pub async fn show(State(hub): State<Arc<Hub>>, uri: Uri, names: Names) -> Result<Json<Page>, ApiError> {
    let query = Query::read(uri.query(), &["count", "after", "reason"])?;
    let count = query.count(100, MAX_COUNT)?;
    let after = query.one("after")?.map(|after| moment("after", after)).transpose()?.unwrap_or(EntryId::MIN);
    let reason = query.one("reason")?.map(str::to_owned);
    check_text("reason", reason.as_deref().unwrap_or_default())?;
    let selection = &Selection { reason, ..Selection::of_group(&names.group) };
    let names = &names;
    let page = hub.ask(|connection| async move {
        let page = letters::page(&connection, &names.stream, selection, after, count).await?;
        let known = if page.letters.is_empty() { know(&connection, names).await? } else { Known::Both };
        Ok((page, known))
    });
    let (page, known) = page.await?;
    known.or_not_found(names)?;
    Ok(Json(Page {
        stream: names.stream.clone(),
        group: names.group.clone(),
        letters: page.letters.into_iter().map(Shown::from).collect(),
        next: page.next.map(|id| id.to_string()),
    }))
}

/// Puts dead letters of a group back onto their stream, each with `replay_of`. What takes long goes on after the answer.
#[utoipa::path(
    post, path = "/dlq/{stream}/{group}/replay", operation_id = "replay_dead_letters", tag = "dead letters",
    params(
        ("stream" = String, Path, description = "the stream the events were on", min_length = 1, max_length = 512),
        ("group" = String, Path, description = "the group that could not handle them", min_length = 1, max_length = 512),
    ),
    request_body(content = Option<ReplayLetters>, content_type = "application/json"),
    responses(
        (status = 200, description = "it has ended", body = Record),
        (status = 202, description = "it goes on; its `Location` tells how far it is", body = Record),
        (status = 429, description = "too many replays at once"),
    ),
)]
pub async fn replay(
    State(hub): State<Arc<Hub>>,
    names: Names,
    request: Request,
) -> Result<Response, ApiError> {
    Query::read(request.uri().query(), &[])?;
    let asked: Option<ReplayLetters> = hub.bodies.optional_json(request).await?;
    let asked = asked.unwrap_or_default();
    let selection = &selection(&names, &asked)?;
    let description = json!({
        "stream": names.stream, "group": names.group, "reason": asked.reason, "limit": asked.limit,
        "ids": asked.ids.as_ref().map(Vec::len),
    });
    let place = hub.jobs.place()?;
    let asking = &names;
    let begun = hub.ask(|connection| async move {
        let known = know(&connection, asking).await?;
        let begun = Sorting::begin(&connection, &asking.stream, selection.clone(), Task::Replay).await?;
        Ok((begun, known))
    });
    let (begun, known) = begun.await?;
    known.or_not_found(&names)?;
    let work = Work::DeadLetters(Box::new(begun.with_maxlen(hub.settings.retention.hard_limit)));
    Ok(answer(hub.jobs.start(place, work, description, PATIENCE).await))
}

fn selection(names: &Names, asked: &ReplayLetters) -> Result<Selection, ApiError> {
    check_limit(asked.limit)?;
    check_text("reason", asked.reason.as_deref().unwrap_or_default())?;
    let ids = match &asked.ids {
        Some(ids) if !(1..=MAX_IDS).contains(&ids.len()) => {
            let message = format!("{} ids, expected 1 to {MAX_IDS}", ids.len());
            return Err(ApiError::bad_request("invalid_request", message));
        }
        Some(ids) => {
            let read = |id: &String| {
                id.parse().map_err(|error| ApiError::bad_request("invalid_id", format!("ids: {error}")))
            };
            Some(ids.iter().map(read).collect::<Result<Vec<EntryId>, _>>()?)
        }
        None => None,
    };
    Ok(Selection {
        reason: asked.reason.clone(),
        ids,
        limit: asked.limit,
        ..Selection::of_group(&names.group)
    })
}

/// What there is of a stream and group without dead letters.
enum Known {
    Nothing,
    Stream,
    Both,
}

impl Known {
    fn or_not_found(&self, names: &Names) -> Result<(), ApiError> {
        match self {
            Self::Both => Ok(()),
            Self::Nothing => Err(no_such_stream(&names.stream)),
            Self::Stream => Err(ApiError::not_found(
                "group_not_found",
                format!(
                    "{:?} has neither a group nor dead letters of a group {:?}",
                    cut(&names.stream),
                    cut(&names.group)
                ),
            )),
        }
    }
}

/// A group is known by itself, or by letters it left.
async fn know(connection: &Connection, names: &Names) -> Result<Known, StreamError> {
    if letters::knows(connection, &names.stream, &names.group).await? {
        return Ok(Known::Both);
    }
    let dead = letters::stream_of(&names.stream);
    let is_there =
        connection.extent(&names.stream).await?.is_some() || connection.extent(&dead).await?.is_some();
    Ok(if is_there { Known::Stream } else { Known::Nothing })
}
