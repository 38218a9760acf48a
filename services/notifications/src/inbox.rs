//! The inbox over HTTP: a user's own notifications.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use http::{HeaderMap, Uri};
use serde::Serialize;
use serde_json::value::RawValue;
use synapse_chassis::{error::ApiError, identity::Identity, request::Query};
use synapse_realtime::hub::Room;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    SCOPE,
    notification::now_ms,
    platform::Platform,
    store::{self, Listed},
};

/// How many are listed if nothing is said, and at most.
const LIMITS: (usize, usize) = (50, 500);

/// A notification in the inbox.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// Its type, for example `task-completed`.
    pub r#type: String,
    /// What it says.
    pub message: String,
    /// What goes along for programs.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
    /// When it happened, RFC 3339.
    pub timestamp: String,
    /// Whether its user has read it.
    pub read: bool,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// Some of a user's notifications.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The notifications, newest first.
    pub notifications: Vec<Shown>,
    /// Where to go on: give it as `cursor`. `null` if there is nothing more.
    pub next_cursor: Option<String>,
}

/// How many were marked.
#[derive(Debug, Serialize, ToSchema)]
pub struct Marked {
    /// How many had not been read.
    pub marked: u64,
}

impl From<&Listed> for Shown {
    fn from(listed: &Listed) -> Self {
        let it = &listed.notification;
        let created_at = jiff::Timestamp::from_millisecond(it.created_ms).unwrap_or_default();
        Self {
            id: it.id,
            r#type: it.kind.clone(),
            message: it.message.clone(),
            data: RawValue::from_string(it.data.clone()).unwrap_or_default(),
            timestamp: it.timestamp.clone(),
            read: listed.is_read,
            created_at: format!("{created_at:.3}"),
        }
    }
}

/// Lists a user's notifications, newest first. A page ends at 1 MiB too.
#[utoipa::path(
    get, path = "/notifications", operation_id = "list_notifications", tag = "inbox",
    params(
        ("user_id" = Option<String>, Query, description = "whose; the token's user if not given", min_length = 1, max_length = 256),
        ("unread" = Option<bool>, Query, description = "only those that were not read yet"),
        ("limit" = Option<u32>, Query, description = "how many at most, 50 if not given", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
    ),
    responses((status = 200, description = "a page of them", body = Page)),
)]
pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Page>, ApiError> {
    let identity = platform.require(&headers).await?;
    let query = Query::read(uri.query(), &["user_id", "unread", "limit", "cursor"])?;
    let limit = query.limit(LIMITS.0, LIMITS.1)?;
    let wanted = store::Query {
        user: user_of(&query, &identity)?,
        unread: flag(&query, "unread")?,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        before: cursor_of(&query)?,
    };
    let (found, has_more) = platform.store.list(wanted).await?;
    let next_cursor = found.last().filter(|_| has_more).map(|last| last.sequence.to_string());
    Ok(Json(Page { notifications: found.iter().map(Shown::from).collect(), next_cursor }))
}

/// Notes that a notification was read.
#[utoipa::path(
    post, path = "/notifications/{id}/read", operation_id = "read_notification", tag = "inbox",
    params(("id" = String, Path, description = "the notification's id: a UUID")),
    responses((status = 200, description = "the notification", body = Shown)),
)]
pub(crate) async fn read(
    State(platform): State<Arc<Platform>>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Shown>, ApiError> {
    let identity = platform.require(&headers).await?;
    Query::read(uri.query(), &[])?;
    let Path(id) = id.map_err(|error| ApiError::bad_field("id", error.body_text()))?;
    let id = id.parse().map_err(|_| ApiError::bad_field("id", "expected a UUID"))?;
    let listed = platform.store.mark_read(id, identity, now_ms()).await?;
    Ok(Json(Shown::from(&listed)))
}

/// Notes that all of a user's notifications were read.
#[utoipa::path(
    post, path = "/notifications/read-all", operation_id = "read_all_notifications", tag = "inbox",
    params(("user_id" = Option<String>, Query, description = "whose; the token's user if not given", min_length = 1, max_length = 256)),
    responses((status = 200, description = "how many had not been", body = Marked)),
)]
pub(crate) async fn read_all(
    State(platform): State<Arc<Platform>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Marked>, ApiError> {
    let identity = platform.require(&headers).await?;
    let query = Query::read(uri.query(), &["user_id"])?;
    let user = user_of(&query, &identity)?;
    Ok(Json(Marked { marked: platform.store.mark_all_read(user, now_ms()).await? }))
}

/// Whose notifications are asked for, by somebody who may.
fn user_of(query: &Query<'_>, identity: &Identity) -> Result<String, ApiError> {
    let user = query.one("user_id")?.map(str::to_owned).or_else(|| identity.user.clone());
    let user = user.ok_or_else(|| ApiError::bad_field("user_id", "say whose notifications"))?;
    check_user("user_id", &user)?;
    identity.must_be(&user, SCOPE)?;
    Ok(user)
}

/// Refuses what no user can be called.
pub(crate) fn check_user(field: &str, user: &str) -> Result<(), ApiError> {
    Room::user(user).map_err(|error| ApiError::bad_field(field, error))?;
    if user.contains('\0') {
        return Err(ApiError::bad_field(field, "has a NUL character in it; take it out"));
    }
    Ok(())
}

fn flag(query: &Query<'_>, name: &'static str) -> Result<bool, ApiError> {
    match query.one(name)? {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1" | "") => Ok(true),
        Some(_) => Err(ApiError::bad_field(name, "expected true or false")),
    }
}

fn cursor_of(query: &Query<'_>) -> Result<Option<i64>, ApiError> {
    let read = |text: &str| text.parse().ok().filter(|place: &i64| *place >= 0);
    match query.one("cursor")? {
        None => Ok(None),
        Some(text) => read(text)
            .map(Some)
            .ok_or_else(|| ApiError::bad_field("cursor", "expected nextCursor of the page before")),
    }
}
