//! `POST /replay`, `GET /replay/{id}`, `DELETE /replay/{id}`.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use synapse_chassis::{
    error::ApiError,
    request::{Query, cut, parse_object},
};
use synapse_rs::{EntryId, Filter, replay, stream::DEAD_LETTER_SUFFIX};
use utoipa::ToSchema;

use crate::{
    hub::Hub,
    jobs::{self, Record, Work},
    request::{check_limit, check_name, check_writable, moment},
    streams::no_such_stream,
};

/// How long a request waits for its replay to end before it is answered with 202.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A range of a stream, to be copied onto a stream.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// The stream to copy from.
    #[schema(example = "inference-events")]
    pub stream: String,
    /// The stream to copy onto; the same if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onto: Option<String>,
    /// The first entry: an id, or a time (RFC 3339).
    #[schema(example = "2026-11-23T09:00:00Z")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last entry: an id, or a time; never one that was appended after the replay began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Which events, all if not given.
    #[serde(rename = "where", default, skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Object)]
    pub condition: Value,
    /// How many at most.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How many each second at most.
    #[schema(value_type = Option<u32>, minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<NonZeroU32>,
}

impl ReplayRequest {
    fn read(self, maxlen: u64) -> Result<replay::Request, ApiError> {
        let onto = self.onto.unwrap_or_else(|| self.stream.clone());
        check_name("stream", &self.stream)?;
        check_name("stream", &onto)?;
        check_no_letters(&self.stream)?;
        check_writable(&onto)?;
        check_limit(self.limit)?;
        let from = self.from.as_deref().map(|from| moment("from", from)).transpose()?;
        let to = self.to.as_deref().map(last_at).transpose()?;
        let (from, to) = (from.unwrap_or(EntryId::MIN), to.unwrap_or(EntryId::MAX));
        if from > to {
            return Err(ApiError::bad_request("invalid_request", format!("from {from} is behind to {to}")));
        }
        Ok(replay::Request {
            from,
            to,
            filter: Filter::from_json(&self.condition)
                .map_err(|error| ApiError::bad_request("invalid_where", error.to_string()))?,
            limit: self.limit,
            events_per_second: self.events_per_second,
            maxlen,
            ..replay::Request::new(self.stream, onto)
        })
    }
}

/// What is among dead letters has fields of theirs.
fn check_no_letters(stream: &str) -> Result<(), ApiError> {
    let Some(own) = stream.strip_suffix(DEAD_LETTER_SUFFIX) else { return Ok(()) };
    let message = format!(
        "{:?} holds dead letters; POST /dlq/{{stream}}/{{group}}/replay puts those of {:?} back",
        cut(stream),
        cut(own)
    );
    Err(ApiError::bad_request("invalid_stream", message))
}

/// All entries of a time belong to it.
fn last_at(text: &str) -> Result<EntryId, ApiError> {
    let id = moment("to", text)?;
    Ok(if text.contains('-') && text.parse::<EntryId>().is_ok() { id } else { EntryId::new(id.ms, u64::MAX) })
}

/// Copies a range of a stream onto a stream, each entry with `replay_of`. What takes long goes on after the answer.
#[utoipa::path(
    post, path = "/replay", operation_id = "start_replay", tag = "replay",
    request_body(content = ReplayRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "it has ended", body = Record),
        (status = 202, description = "it goes on; its `Location` tells how far it is", body = Record),
        (status = 404, description = "no such stream"),
        (status = 409, description = "one of the keys is no stream"),
        (status = 429, description = "too many replays at once"),
    ),
)]
pub async fn start(State(hub): State<Arc<Hub>>, request: Request) -> Result<Response, ApiError> {
    Query::read(request.uri().query(), &[])?;
    let request: ReplayRequest = parse_object(&hub.bodies.json(request).await?.bytes)?;
    let asked = serde_json::to_value(&request).unwrap_or_default();
    let request = request.read(hub.settings.retention.hard_limit)?;
    let place = hub.jobs.place()?;
    let asking = &request;
    let begun = hub.ask(|connection| async move {
        let source = connection.extent(&asking.from_stream).await?;
        connection.extent(&asking.to_stream).await?;
        match source {
            Some(_) => replay::Replay::begin(&connection, asking.clone()).await.map(Some),
            None => Ok(None),
        }
    });
    let begun = begun.await?.ok_or_else(|| no_such_stream(&request.from_stream))?;
    Ok(answer(hub.jobs.start(place, Work::Replay(Box::new(begun)), asked, PATIENCE).await))
}

/// How far a replay is.
#[utoipa::path(
    get, path = "/replay/{id}", operation_id = "find_replay", tag = "replay",
    params(("id" = String, Path, description = "the replay's id")),
    responses((status = 200, description = "what is known of it, for a day", body = Record), (status = 404, description = "nothing is known of it")),
)]
pub async fn find(
    State(hub): State<Arc<Hub>>,
    uri: http::Uri,
    id: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Json<Record>, ApiError> {
    Query::read(uri.query(), &[])?;
    let id = &replay_id(id)?;
    let jobs = &hub.jobs;
    let found = hub.ask(|connection| async move { jobs.find(&connection, id).await }).await?;
    found.map(Json).ok_or_else(|| no_such_replay(id))
}

/// Stops a replay; what it has copied stays.
#[utoipa::path(
    delete, path = "/replay/{id}", operation_id = "cancel_replay", tag = "replay",
    params(("id" = String, Path, description = "the replay's id")),
    responses(
        (status = 200, description = "it has ended", body = Record),
        (status = 202, description = "it will end soon", body = Record),
        (status = 404, description = "nothing is known of it"),
    ),
)]
pub async fn cancel(
    State(hub): State<Arc<Hub>>,
    uri: http::Uri,
    id: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Response, ApiError> {
    Query::read(uri.query(), &[])?;
    let id = &replay_id(id)?;
    let jobs = &hub.jobs;
    let found = hub.ask(|connection| async move { jobs.cancel(&connection, id).await }).await?;
    found.map(answer).ok_or_else(|| no_such_replay(id))
}

/// 200 with what has ended, 202 with what goes on.
pub fn answer(record: Record) -> Response {
    let location = HeaderValue::from_str(&format!("/replay/{}", record.id));
    let is_running = record.state == jobs::State::Running;
    let status = if is_running { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut response = (status, Json(record)).into_response();
    if let (true, Ok(location)) = (is_running, location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn replay_id(id: Result<Path<String>, axum::extract::rejection::PathRejection>) -> Result<String, ApiError> {
    let Path(id) = id.map_err(|error| ApiError::bad_request("invalid_path", error.body_text()))?;
    // Nothing else is an id of ours, and none of it ends up in a key.
    id.parse::<uuid::Uuid>().map(|id| id.to_string()).map_err(|_| no_such_replay(&id))
}

fn no_such_replay(id: &str) -> ApiError {
    ApiError::not_found(
        "replay_not_found",
        format!("there is no replay {:?}, or it ended more than a day ago", cut(id)),
    )
}
