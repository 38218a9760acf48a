//! Tasks by owner and status, newest first, page by page.

use futures_util::{Stream, StreamExt as _};
use serde::Serialize;
use synapse_chassis::{
    error::ApiError,
    identity::{Identity, Refusal},
    request::{Query, cut},
};
use synapse_database::{
    AnyConnection, Row as _,
    sqlx::{self, any::AnyRow},
};
use utoipa::ToSchema;

use crate::{
    request::check_id,
    task::{Status, TaskView, columns},
};

/// How many tasks a page has if nobody says how many.
const DEFAULT_LIMIT: usize = 50;
/// The most that a page has.
const MAX_LIMIT: usize = 500;
/// What a page's tasks or versions have together, in bytes of JSON; the last may go beyond.
const MAX_PAGE_BYTES: usize = 2 << 20;
/// The parameters there are.
pub const PARAMETERS: [&str; 5] = ["userId", "status", "priority", "limit", "cursor"];

/// Which tasks are asked for.
#[derive(Debug, PartialEq)]
pub struct Wanted {
    owner: Option<String>,
    status: Option<Status>,
    priority: Option<String>,
    limit: usize,
    after: Option<(i64, String)>,
}

/// Tasks, and where those after them are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// Newest first.
    pub tasks: Vec<TaskView>,
    /// `cursor` of the next page; null on the last.
    pub next_cursor: Option<String>,
}

impl Wanted {
    /// Reads a query; who may not see all tasks is shown their own.
    pub fn read(query: Option<&str>, identity: &Identity) -> Result<Self, ApiError> {
        let query = Query::read(query, &PARAMETERS)?;
        let owner = query.one("userId")?.map(|id| check_id("userId", id.to_owned())).transpose()?;
        let owner = match owner {
            Some(owner) => {
                identity.must_be(&owner, "tasks:all").map_err(|error| ApiError::from(error).at("userId"))?;
                Some(owner)
            }
            None if identity.has_scope("tasks:all") => None,
            None if identity.user.is_none() => return Err(Refusal::ScopeMissing("tasks:all").into()),
            None => identity.user.clone(),
        };
        let status = query.one("status")?.map(|text| {
            Status::read(text).ok_or_else(|| {
                ApiError::bad_field(
                    "status",
                    format!("is {:?}, expected one of {}", cut(text), Status::NAMES),
                )
            })
        });
        Ok(Self {
            owner,
            status: status.transpose()?,
            priority: query.one("priority")?.map(|text| check_id("priority", text.to_owned())).transpose()?,
            limit: query.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
            after: query.one("cursor")?.map(read_cursor).transpose()?,
        })
    }

    /// Finds them.
    pub async fn find(&self, connection: &mut AnyConnection) -> Result<Page, sqlx::Error> {
        const PAGE: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM tasks WHERE (CAST($1 AS TEXT) IS NULL OR owner = $1) \
                            AND (CAST($2 AS TEXT) IS NULL OR status = $2) AND (CAST($3 AS TEXT) IS NULL OR priority = $3) \
                            AND (created_at < $4 OR (created_at = $4 AND id < $5)) \
                            ORDER BY created_at DESC, id DESC LIMIT $6"
        );
        const PAGE_OF_ONE: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM tasks WHERE owner = $1 \
                                   AND (CAST($2 AS TEXT) IS NULL OR status = $2) AND (CAST($3 AS TEXT) IS NULL OR priority = $3) \
                                   AND (created_at < $4 OR (created_at = $4 AND id < $5)) \
                                   ORDER BY created_at DESC, id DESC LIMIT $6"
        );
        let (before, id) = self.after.clone().unwrap_or((i64::MAX, String::new()));
        // One more tells whether there is a next page.
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1);
        let rows = sqlx::query(if self.owner.is_some() { PAGE_OF_ONE } else { PAGE })
            .bind(&self.owner)
            .bind(self.status.map(Status::name))
            .bind(&self.priority)
            .bind(before)
            .bind(id)
            .bind(limit)
            .fetch(connection);
        let (mut tasks, is_whole) = page_of(rows, TaskView::from_row).await?;
        let is_last = is_whole && tasks.len() <= self.limit;
        tasks.truncate(self.limit);
        let next_cursor = tasks.last().filter(|_| !is_last).map(TaskView::cursor);
        Ok(Page { tasks, next_cursor })
    }
}

/// Reads rows until they are large enough for a page; whether that was all of them.
pub(crate) async fn page_of<T>(
    mut rows: impl Stream<Item = Result<AnyRow, sqlx::Error>> + Unpin,
    read: impl Fn(&AnyRow) -> Result<T, sqlx::Error>,
) -> Result<(Vec<T>, bool), sqlx::Error> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().await {
        if bytes >= MAX_PAGE_BYTES {
            return Ok((page, false));
        }
        let row = row?;
        bytes += row.try_get::<&str, _>("state")?.len();
        page.push(read(&row)?);
    }
    Ok((page, true))
}

fn read_cursor(text: &str) -> Result<(i64, String), ApiError> {
    let read = text.split_once('-').and_then(|(ms, id)| Some((ms.parse().ok()?, id.to_owned())));
    let unknown = || ApiError::bad_field("cursor", "is not one that was given out; begin without");
    let (ms, id) = read.ok_or_else(unknown)?;
    Ok((ms, check_id("cursor", id)?))
}
