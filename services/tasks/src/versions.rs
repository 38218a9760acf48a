//! What a task was before.

use serde::Serialize;
use serde_json::{Map, Value};
use synapse_chassis::{
    error::ApiError,
    request::{Query, cut},
};
use synapse_database::{AnyConnection, Row as _, sqlx};
use utoipa::ToSchema;

use crate::{
    list::page_of,
    task::{Task, state, time},
};

/// How many versions are given if nobody says how many, and at most.
pub const DEFAULT_LIMIT: usize = 50;
/// The most that are given at once.
pub const MAX_LIMIT: usize = 500;

/// Somebody, by id.
#[derive(Debug, Serialize, ToSchema)]
pub struct Person {
    /// The user's id.
    pub id: String,
}

/// A version as the change that made it is answered with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// The task's id.
    pub id: String,
    /// The same.
    pub task_id: String,
    /// Its number, from 1.
    pub version: i64,
    /// The task's title since.
    pub title: Value,
    /// Its description.
    pub description: Value,
    /// Its status.
    pub status: Value,
    /// Its priority.
    pub priority: Value,
    /// Why.
    pub changes_summary: String,
    /// Who made the change.
    pub changed_by: String,
    /// The same.
    pub changed_by_user: Person,
    /// The whole task since.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// When.
    pub created_at: String,
}

impl VersionView {
    /// The version that a task has now.
    pub fn new(task: &Task, reason: &str) -> Self {
        Self {
            id: task.id.clone(),
            task_id: task.id.clone(),
            version: task.version,
            title: task.field("title"),
            description: task.field("description"),
            status: task.field("status"),
            priority: task.field("priority"),
            changes_summary: reason.to_owned(),
            changed_by: task.updated_by.clone(),
            changed_by_user: Person { id: task.updated_by.clone() },
            metadata: task.state.clone(),
            created_at: time(task.updated_at),
        }
    }
}

/// A version in the history of its task.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryItem {
    /// Its number, from 1.
    pub version: i64,
    /// What older clients look at.
    pub changes: Summary,
    /// The fields that this version has otherwise than the one before.
    pub changed: Vec<String>,
    /// `create` or `update`.
    pub change_type: &'static str,
    /// Who made the change.
    pub changed_by: Person,
    /// Why.
    pub change_reason: String,
    /// When.
    pub created_at: String,
    /// The whole task since.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

/// The fields of a task that every client knows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Summary {
    /// Its title.
    pub title: Value,
    /// Its description.
    pub description: Value,
    /// Its status.
    pub status: Value,
    /// Its priority.
    pub priority: Value,
}

/// Before which version.
pub fn before_of(query: &Query<'_>) -> Result<i64, ApiError> {
    let Some(text) = query.one("before")? else { return Ok(i64::MAX) };
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        ApiError::bad_field("before", format!("is {:?}, expected a version's number", cut(text)))
    })
}

/// The last versions of a task before this one, newest first; fewer than `limit` where they are large.
pub async fn find(
    connection: &mut AnyConnection,
    task_id: &str,
    before: i64,
    limit: usize,
) -> Result<Vec<HistoryItem>, sqlx::Error> {
    const NEWEST: &str = "SELECT version, state, changed, reason, changed_by, created_at FROM versions \
                          WHERE task_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(NEWEST).bind(task_id).bind(before).bind(limit).fetch(connection);
    Ok(page_of(rows, item).await?.0)
}

fn item(row: &sqlx::any::AnyRow) -> Result<HistoryItem, sqlx::Error> {
    let state = state(&row.try_get::<String, _>("state")?)?;
    let changed: String = row.try_get("changed")?;
    let field = |name: &str| state.get(name).cloned().unwrap_or_default();
    let version = row.try_get("version")?;
    Ok(HistoryItem {
        version,
        changes: Summary {
            title: field("title"),
            description: field("description"),
            status: field("status"),
            priority: field("priority"),
        },
        changed: serde_json::from_str(&changed).map_err(|error| sqlx::Error::Decode(error.into()))?,
        change_type: if version == 1 { "create" } else { "update" },
        changed_by: Person { id: row.try_get("changed_by")? },
        change_reason: row.try_get("reason")?,
        created_at: time(row.try_get("created_at")?),
        metadata: state,
    })
}
