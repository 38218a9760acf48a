//! Which task waits for which.

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use synapse_chassis::{error::ApiError, identity::Identity};
use synapse_database::{AnyConnection, Change, Refusable, Row as _, sqlx, take_turns};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    request::{Body, MAX_WORD},
    task::{Task, no_such_task, now, time},
};

/// On how many tasks one may depend.
const MAX_DEPENDENCIES: i64 = 1_000;
/// How one task may depend on another.
const KINDS: [&str; 3] = ["blocks", "related", "subtask"];

/// A dependency.
#[derive(Debug)]
pub struct AddDependency {
    task_id: String,
    depends_on: String,
    kind: String,
    user: String,
    identity: Identity,
}

/// A dependency as it is answered with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DependencyView {
    /// Its own id.
    pub id: String,
    /// The task that depends.
    pub task_id: String,
    /// The one that it depends on.
    pub depends_on_task_id: String,
    /// How: `blocks`, `related` or `subtask`.
    pub dependency_type: String,
    /// Since when.
    pub created_at: String,
    /// The task that it depends on.
    pub depends_on_task: TaskSummary,
}

/// A task that another depends on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dependency {
    /// The task.
    pub task: TaskSummary,
    /// How: `blocks`, `related` or `subtask`.
    pub r#type: String,
    /// Since when.
    #[serde(rename = "createdAt")]
    pub created_at: String,
}

/// What is shown of a task that another depends on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSummary {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: Value,
    /// What has become of it.
    pub status: Value,
    /// How urgent it is.
    pub priority: Value,
    /// When it is to be done.
    pub due_date: Value,
}

impl TaskSummary {
    fn of(task: &Task) -> Self {
        Self {
            id: task.id.clone(),
            title: task.field("title"),
            status: task.field("status"),
            priority: task.field("priority"),
            due_date: task.field("dueDate"),
        }
    }
}

impl AddDependency {
    /// Reads it from `{taskId, dependsOn, dependencyType?, userId}`.
    pub fn read(mut body: Body, identity: Identity) -> Result<Self, ApiError> {
        let (task_id, depends_on) = (body.id("taskId")?, body.id("dependsOn")?);
        let user = body.id("userId")?;
        let kind = match body.optional_text("dependencyType", 4 * MAX_WORD)?.as_deref() {
            // As older clients call it.
            None | Some("precedes") => "blocks".to_owned(),
            Some(kind) if KINDS.contains(&kind) => kind.to_owned(),
            Some(kind) => {
                let expected = KINDS.join(", ");
                let reason = format!(
                    "is {:?}, expected one of {expected}, precedes",
                    synapse_chassis::request::cut(kind)
                );
                return Err(ApiError::bad_field("dependencyType", reason));
            }
        };
        identity.must_be(&user, "tasks:all")?;
        Ok(Self { task_id, depends_on, kind, user, identity })
    }

    /// A task of the request, if the one who asks may see it.
    async fn task(
        &self,
        connection: &mut AnyConnection,
        field: &str,
        id: &str,
    ) -> Result<Task, Refusable<ApiError>> {
        let found = Task::find(connection, id).await?;
        let task = found.ok_or_else(|| Refusable::Refused(no_such_task(field, id)))?;
        let allowed = self.identity.must_be(&task.owner, "tasks:all");
        allowed.map_err(|error| Refusable::Refused(ApiError::from(error).at(field)))?;
        Ok(task)
    }

    fn view(&self, id: String, kind: String, created_at: i64, on: &Task) -> DependencyView {
        DependencyView {
            id,
            task_id: self.task_id.clone(),
            depends_on_task_id: self.depends_on.clone(),
            dependency_type: kind,
            created_at: time(created_at),
            depends_on_task: TaskSummary::of(on),
        }
    }

    async fn check_cycle(&self, connection: &mut AnyConnection) -> Result<(), Refusable<ApiError>> {
        // `UNION` keeps each task once, so that it ends.
        const REACHES: &str = "WITH RECURSIVE reached (id) AS (SELECT CAST($1 AS TEXT) UNION SELECT d.depends_on \
                               FROM dependencies d JOIN reached r ON d.task_id = r.id) \
                               SELECT 1 AS found FROM reached WHERE id = $2";
        let reaches = sqlx::query(REACHES)
            .bind(&self.depends_on)
            .bind(&self.task_id)
            .fetch_optional(connection)
            .await?;
        if reaches.is_none() {
            return Ok(());
        }
        let message = format!(
            "Circular dependency detected: {:?} depends on {:?} already, or is the same",
            self.depends_on, self.task_id
        );
        let cycle = ApiError::new(StatusCode::CONFLICT, "dependency_cycle", message);
        Err(Refusable::Refused(cycle.at("dependsOn")))
    }

    async fn check_count(&self, connection: &mut AnyConnection) -> Result<(), Refusable<ApiError>> {
        let count: i64 = sqlx::query("SELECT COUNT(*) AS count FROM dependencies WHERE task_id = $1")
            .bind(&self.task_id)
            .fetch_one(connection)
            .await?
            .try_get("count")?;
        if count < MAX_DEPENDENCIES {
            return Ok(());
        }
        let message = format!("taskId: it depends on {count} tasks already, and may not on more");
        let too_many = ApiError::new(StatusCode::CONFLICT, "too_many_dependencies", message);
        Err(Refusable::Refused(too_many.at("taskId")))
    }
}

impl Change for AddDependency {
    type Output = DependencyView;
    type Refusal = ApiError;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<DependencyView, Refusable<ApiError>> {
        // Two at once could each look before the other is there, and close a circle together.
        const EXISTING: &str =
            "SELECT id, kind, created_at FROM dependencies WHERE task_id = $1 AND depends_on = $2";
        take_turns(connection, "synapse_tasks.dependencies").await?;
        self.task(connection, "taskId", &self.task_id).await?;
        let on = self.task(connection, "dependsOn", &self.depends_on).await?;
        let existing = sqlx::query(EXISTING)
            .bind(&self.task_id)
            .bind(&self.depends_on)
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = existing {
            return Ok(self.view(row.try_get("id")?, row.try_get("kind")?, row.try_get("created_at")?, &on));
        }
        self.check_cycle(connection).await?;
        self.check_count(connection).await?;
        let (id, created_at) = (Uuid::now_v7().to_string(), now());
        sqlx::query("INSERT INTO dependencies VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(&self.task_id)
            .bind(&self.depends_on)
            .bind(&id)
            .bind(&self.kind)
            .bind(&self.user)
            .bind(created_at)
            .execute(connection)
            .await?;
        Ok(self.view(id, self.kind.clone(), created_at, &on))
    }
}

/// What a task depends on, oldest first.
pub async fn find(connection: &mut AnyConnection, task_id: &str) -> Result<Vec<Dependency>, sqlx::Error> {
    const ALL: &str = "SELECT d.kind, d.created_at AS since, t.* FROM dependencies d JOIN tasks t ON t.id = d.depends_on \
                       WHERE d.task_id = $1 ORDER BY d.created_at, d.depends_on";
    let rows = sqlx::query(ALL).bind(task_id).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(Dependency {
                task: TaskSummary::of(&Task::from_row(row)?),
                r#type: row.try_get("kind")?,
                created_at: time(row.try_get("since")?),
            })
        })
        .collect()
}
