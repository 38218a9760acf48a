//! `POST /events/{stream}`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, json};
use synapse_chassis::{
    error::ApiError,
    integers,
    request::{Query, parse},
};
use synapse_rs::{
    Event,
    event::encode::{InvalidEvent, Limits, encode},
    publisher::{DeliveryError, PublishError, Receipt},
};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    hub::Hub,
    metrics,
    request::{Names, check_writable},
};

/// What became of the events.
#[derive(Debug, Serialize, ToSchema)]
pub struct Published {
    /// The stream they are on.
    pub stream: String,
    /// How many.
    pub count: usize,
    /// Their ids on the stream, in the order of the request.
    #[schema(example = json!(["1795424694440-0"]))]
    pub ids: Vec<String>,
    /// Their event ids, in the same order: the request's own, or new ones.
    pub event_ids: Vec<String>,
}

/// Why not all events are on the stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotPublished {
    /// What is wrong.
    #[schema(value_type = Object, example = json!({"code": "redis_unavailable", "message": "…"}))]
    pub error: Value,
    /// For each event its id on the stream, or `null` if it has none (yet).
    pub ids: Vec<Option<String>>,
    /// Their event ids: with these the same events can be sent again.
    pub event_ids: Vec<String>,
    /// So many of them, the first ones, were accepted: those of them without an id may still arrive, unless they were
    /// refused (409).
    pub accepted: usize,
}

/// One event, or a list of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Events {
    /// One.
    One(NamedEvent),
    /// Many; if one is not valid, none is published.
    Many(Vec<NamedEvent>),
}

/// An event: named values. `GET /schemas` has the fields of the known ones.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"event": "user-login", "service": "auth", "action": "login", "user_id": "42"}))]
pub struct NamedEvent {
    /// Its name.
    #[schema(min_length = 1)]
    pub event: String,
    /// All other fields.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub fields: Map<String, Value>,
}

/// Publishes one event or a list of them, and answers when Redis has them.
///
/// If one event is not valid none is published, and the error names the event and the field. An event without `event_id`
/// is given one. On 503 and 409 the answer says which events have ids.
#[utoipa::path(
    post, path = "/events/{stream}", operation_id = "publish_events", tag = "events",
    params(("stream" = String, Path, description = "the stream to publish to", min_length = 1, max_length = 512)),
    request_body(content = Events, description = "an event, an object with its name in `event`, or a list of events", content_type = "application/json"),
    responses(
        (status = 202, description = "redis has them", body = Published),
        (status = 409, description = "redis refuses them: the key is no stream", body = NotPublished),
        (status = 413, description = "too many bytes"),
        (status = 415, description = "not JSON"),
        (status = 503, description = "redis did not take all of them in time", body = NotPublished),
    ),
)]
pub async fn publish(
    State(hub): State<Arc<Hub>>,
    names: Names,
    request: Request,
) -> Result<Response, ApiError> {
    Query::read(request.uri().query(), &[])?;
    check_writable(&names.stream)?;
    let _publishing = hub.publishing.token();
    let body = hub.bodies.json(request).await?;
    let mut events = match read(&body.bytes, hub.settings.max_events)? {
        Ok(events) => events,
        Err(invalid) => return Ok(invalid),
    };
    if let Some(found) = integers::too_large(&body.bytes) {
        let message = format!("{} {found}", found.field);
        return Ok(invalid(found.index, &found.field, &message));
    }
    let event_ids: Vec<_> = events.iter_mut().map(event_id).collect();
    if let Some(invalid) = first_invalid(&names.stream, &events) {
        return Ok(invalid);
    }
    Ok(send(&hub, names.stream, &events, event_ids).await)
}

/// The events of a body; the inner error says which of them is no object.
fn read(body: &[u8], most: usize) -> Result<Result<Vec<Event>, Response>, ApiError> {
    let values = match parse(body)? {
        Value::Array(values) => values,
        one @ Value::Object(_) => vec![one],
        _ => {
            return Err(ApiError::bad_request(
                "invalid_request",
                "expected an event (an object) or a list of events",
            ));
        }
    };
    if values.is_empty() || values.len() > most {
        let message = format!("the list has {} events, expected 1 to {most}", values.len());
        return Err(ApiError::bad_request("invalid_count", message));
    }
    let mut events = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let Value::Object(fields) = value else {
            return Ok(Err(invalid(index, "", "expected an event: an object with its name in event")));
        };
        events.push(Event::from(fields));
    }
    Ok(Ok(events))
}

/// The event's own id, or a new one for an event that has none.
fn event_id(event: &mut Event) -> String {
    match event.get("event_id") {
        None | Some(Value::Null) => new_event_id(event),
        Some(Value::String(id)) if id.is_empty() => new_event_id(event),
        Some(id) => id.as_str().unwrap_or_default().to_owned(),
    }
}

fn new_event_id(event: &mut Event) -> String {
    let id = Uuid::now_v7().to_string();
    event.set("event_id", id.as_str());
    id
}

/// All or nothing: every event is tried before any is accepted.
fn first_invalid(stream: &str, events: &[Event]) -> Option<Response> {
    let (limits, mut scratch) = (Limits::default(), Vec::new());
    events.iter().enumerate().find_map(|(index, event)| {
        scratch.clear();
        let error: InvalidEvent = encode(stream, event, "synapse-hub", &limits, &mut scratch).err()?;
        Some(invalid(index, error.field(), &error.to_string()))
    })
}

fn invalid(index: usize, field: &str, message: &str) -> Response {
    metrics::refused("invalid_event");
    let error = json!({
        "code": "invalid_event", "message": format!("event {index}: {message}"), "index": index, "field": field,
    });
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

/// Hands the events to the publisher, waiting for room, and waits for their ids.
async fn send(hub: &Hub, stream: String, events: &[Event], event_ids: Vec<String>) -> Response {
    let deadline = Instant::now() + hub.settings.publish_timeout;
    let mut receipts = Vec::with_capacity(events.len());
    let mut problem = None;
    for event in events {
        match accept(hub, &stream, event, deadline).await {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => {
                problem = Some(error);
                break;
            }
        }
    }
    // Up to the last that is on the stream or may still get there.
    let mut accepted = 0;
    let mut ids = vec![None; events.len()];
    for (index, receipt) in receipts.into_iter().enumerate() {
        match timeout_at(deadline, receipt).await {
            Ok(Ok(entry)) => {
                ids[index] = Some(entry.to_string());
                accepted = index + 1;
            }
            Ok(Err(error)) => problem = Some(undelivered(&error)),
            Err(_) => {
                problem = Some(unanswered(hub));
                accepted = index + 1;
            }
        }
    }
    match problem {
        None => {
            metrics::published(accepted);
            let ids = ids.into_iter().flatten().collect();
            (StatusCode::ACCEPTED, Json(Published { stream, count: accepted, ids, event_ids }))
                .into_response()
        }
        Some(problem) => {
            metrics::refused(problem.code);
            let error = json!({ "code": problem.code, "message": problem.message });
            let body = NotPublished { error, ids, event_ids, accepted };
            let mut response = (problem.status, Json(body)).into_response();
            if problem.status == StatusCode::SERVICE_UNAVAILABLE {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            response
        }
    }
}

async fn accept(hub: &Hub, stream: &str, event: &Event, deadline: Instant) -> Result<Receipt, ApiError> {
    loop {
        let full = match hub.publisher.send(stream, event) {
            Ok(receipt) => return Ok(receipt),
            Err(PublishError::QueueFull(full)) => full,
            Err(PublishError::InvalidStream { reason, .. }) => {
                return Err(ApiError::bad_request("invalid_stream", reason));
            }
            Err(PublishError::Closed) => {
                return Err(ApiError::unavailable(
                    "leaving",
                    "this hub is leaving; send the rest to another",
                ));
            }
            Err(error @ PublishError::InvalidEvent(_)) => {
                return Err(ApiError::bad_request("invalid_event", error.to_string()));
            }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || !hub.publisher.room(full, Some(left)).await {
            let message =
                format!("{} events wait for redis, and there is no room for more; try again", full.events);
            return Err(ApiError::unavailable("queue_full", message));
        }
    }
}

fn undelivered(error: &DeliveryError) -> ApiError {
    match error {
        DeliveryError::Refused { stream, reason } if reason.starts_with("WRONGTYPE") => ApiError::new(
            StatusCode::CONFLICT,
            "wrong_type",
            format!("the key {stream:?} is there, but is no stream; rename it or use another name"),
        ),
        DeliveryError::Refused { reason, .. } => {
            tracing::error!(reason, "redis refused an event");
            ApiError::new(
                StatusCode::CONFLICT,
                "refused",
                "redis refused the event; the log of the hub says why",
            )
        }
        DeliveryError::Trimmed { .. } => ApiError::new(StatusCode::CONFLICT, "trimmed", error.to_string()),
        DeliveryError::Abandoned { .. }
        | DeliveryError::Spooled { .. }
        | DeliveryError::Unreadable { .. } => {
            ApiError::unavailable("leaving", "this hub left before redis had the event")
        }
    }
}

fn unanswered(hub: &Hub) -> ApiError {
    let message = format!(
        "redis has not taken all events within {:?}; those accepted are sent when it does. To send them again, keep their event_id",
        hub.settings.publish_timeout
    );
    ApiError::unavailable("redis_unavailable", message)
}
