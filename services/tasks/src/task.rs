//! What a task is, and which status may follow which.

use serde::Serialize;
use serde_json::{Map, Value};
use synapse_chassis::error::ApiError;
use synapse_database::{AnyConnection, Row as _, Sql, sqlx};
use utoipa::ToSchema;

/// What has become of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody works on it.
    Pending,
    /// Somebody works on it.
    InProgress,
    /// It is done.
    Completed,
    /// It could not be done; it may be tried again.
    Failed,
    /// Nobody will do it.
    Cancelled,
}

impl Status {
    /// All of them, as they are written.
    pub const NAMES: &'static str =
        "pending, in_progress (or running), completed, failed (or error), cancelled";

    /// Reads one, also by the names that older clients use.
    pub fn read(text: &str) -> Option<Self> {
        Some(match text {
            "pending" => Self::Pending,
            "in_progress" | "running" => Self::InProgress,
            "completed" => Self::Completed,
            "failed" | "error" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// What may follow.
    pub fn next(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::InProgress, Self::Completed, Self::Failed, Self::Cancelled],
            Self::InProgress => &[Self::Pending, Self::Completed, Self::Failed, Self::Cancelled],
            Self::Failed => &[Self::Pending, Self::InProgress],
            Self::Completed | Self::Cancelled => &[],
        }
    }

    /// Refuses what may not follow; the same again is no move.
    pub fn check_move(self, to: Self) -> Result<(), ApiError> {
        if to == self || self.next().contains(&to) {
            return Ok(());
        }
        let (own, wanted) = (self.name(), to.name());
        let message = match self.next() {
            [] => format!("the task is {own}, which is final; it can't become {wanted}"),
            next => {
                let next: Vec<_> = next.iter().map(|status| status.name()).collect();
                format!("the task is {own} and can't become {wanted}; it can become {}", next.join(" or "))
            }
        };
        Err(ApiError::new(http::StatusCode::CONFLICT, "invalid_transition", message).at("changes.status"))
    }
}

/// A task as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// The organisation it belongs to.
    pub organization: Option<String>,
    /// What has become of it.
    pub status: Status,
    /// As its clients gave it: title, description, status, priority and whatever else.
    pub state: Map<String, Value>,
    /// The number of its last version, from 1.
    pub version: i64,
    /// When it was made; milliseconds since 1970.
    pub created_at: i64,
    /// When it was changed last.
    pub updated_at: i64,
    /// By whom.
    pub updated_by: String,
}

/// A task as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// The same, as it is called where it was made.
    pub task_id: String,
    /// Whose it is.
    pub user_id: String,
    /// The organisation it belongs to.
    pub organization_id: Option<String>,
    /// Its title.
    pub title: Value,
    /// Its description.
    pub description: Value,
    /// What has become of it.
    pub status: Status,
    /// How urgent it is.
    pub priority: Value,
    /// The number of its last version, from 1.
    pub version: i64,
    /// All of it, as its clients gave it.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: String,
    /// When it was changed last.
    pub updated_at: String,
    /// By whom.
    pub updated_by: String,
}

impl Task {
    /// A field of its state, or null.
    pub fn field(&self, name: &str) -> Value {
        self.state.get(name).cloned().unwrap_or_default()
    }

    /// As it is shown.
    pub fn view(self) -> TaskView {
        TaskView {
            title: self.field("title"),
            description: self.field("description"),
            priority: self.field("priority"),
            task_id: self.id.clone(),
            id: self.id,
            user_id: self.owner,
            organization_id: self.organization,
            status: self.status,
            version: self.version,
            metadata: self.state,
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
            updated_by: self.updated_by,
        }
    }

    /// Reads a row that has [`COLUMNS`].
    pub fn from_row(row: &sqlx::any::AnyRow) -> Result<Self, sqlx::Error> {
        let status: String = row.try_get("status")?;
        Ok(Self {
            id: row.try_get("id")?,
            owner: row.try_get("owner")?,
            organization: row.try_get("organization")?,
            status: Status::read(&status)
                .ok_or_else(|| sqlx::Error::Decode(format!("no status: {status}").into()))?,
            state: state(&row.try_get::<String, _>("state")?)?,
            version: row.try_get("version")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            updated_by: row.try_get("updated_by")?,
        })
    }

    /// The task of this id; nobody else changes it until the end of the transaction.
    pub async fn to_change(connection: &mut AnyConnection, id: &str) -> Result<Option<Self>, sqlx::Error> {
        const FOR_CHANGE: Sql = Sql {
            sqlite: "SELECT * FROM tasks WHERE id = $1",
            postgres: "SELECT * FROM tasks WHERE id = $1 FOR UPDATE",
        };
        let found = sqlx::query(FOR_CHANGE.on(connection)).bind(id).fetch_optional(connection).await?;
        found.as_ref().map(Self::from_row).transpose()
    }

    /// The task of this id.
    pub async fn find(connection: &mut AnyConnection, id: &str) -> Result<Option<Self>, sqlx::Error> {
        let found =
            sqlx::query("SELECT * FROM tasks WHERE id = $1").bind(id).fetch_optional(connection).await?;
        found.as_ref().map(Self::from_row).transpose()
    }
}

/// A state as it is kept.
pub(crate) fn state(text: &str) -> Result<Map<String, Value>, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// A moment as clients see it: RFC 3339, UTC, milliseconds.
pub fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// Now, in milliseconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// There is no such task.
pub fn no_such_task(field: &str, id: &str) -> ApiError {
    ApiError::not_found("task_not_found", format!("{field}: there is no task {id:?}")).at(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Status; 5] =
        [Status::Pending, Status::InProgress, Status::Completed, Status::Failed, Status::Cancelled];

    #[test]
    fn the_moves_are_those_of_the_contract() {
        for from in ALL {
            for to in ALL {
                let allowed = match from {
                    _ if from == to => true,
                    Status::Pending | Status::InProgress => true,
                    Status::Failed => matches!(to, Status::Pending | Status::InProgress),
                    Status::Completed | Status::Cancelled => false,
                };
                assert_eq!(from.check_move(to).is_ok(), allowed, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn a_refused_move_says_which_there_are() {
        let message = Status::Failed.check_move(Status::Completed).unwrap_err().message;
        assert!(message.contains("pending or in_progress"), "{message}");
        let message = Status::Completed.check_move(Status::Pending).unwrap_err().message;
        assert!(message.contains("completed, which is final"), "{message}");
    }

    #[test]
    fn a_status_is_read_as_it_is_written_and_by_its_older_names() {
        for status in ALL {
            assert_eq!(Status::read(status.name()), Some(status));
        }
        assert_eq!(Status::read("running"), Some(Status::InProgress));
        assert_eq!(Status::read("error"), Some(Status::Failed));
        assert_eq!(Status::read("Pending"), None);
    }
}
