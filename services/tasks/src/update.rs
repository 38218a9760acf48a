//! A change of a task.

use serde_json::{Map, Value};
use synapse_chassis::{error::ApiError, identity::Identity};
use synapse_database::{AnyConnection, Change, Refusable, Sql, sqlx};

use crate::{
    create::text,
    event,
    request::{Body, MAX_REASON_BYTES, check_size},
    task::{Status, Task, no_such_task, now},
    versions::VersionView,
};

/// Why there is a version, where nobody says why.
const REASON: &str = "Task updated";
/// What has gone wrong, where nobody says what.
const FAILURE: &str = "Task failed";

/// The task as it is now, the version and the event, in one.
const WRITE: Sql = Sql {
    sqlite: "UPDATE tasks SET status = $2, priority = $3, state = $4, version = $5, updated_at = $6, updated_by = $7 \
             WHERE id = $1; \
             INSERT INTO versions VALUES ($1, $5, $4, $8, $9, $7, $6); \
             INSERT INTO outbox (task_id, event, created_at) VALUES ($1, $10, $6)",
    postgres: "WITH task AS (UPDATE tasks SET status = $2, priority = $3, state = $4, version = $5, updated_at = $6, \
                             updated_by = $7 WHERE id = $1), \
                    version AS (INSERT INTO versions VALUES ($1, $5, $4, $8, $9, $7, $6)) \
               INSERT INTO outbox (task_id, event, created_at) VALUES ($1, $10, $6)",
};

/// A change of a task.
#[derive(Debug)]
pub struct UpdateTask {
    id: String,
    user: String,
    changes: Map<String, Value>,
    reason: Option<String>,
    identity: Identity,
}

impl UpdateTask {
    /// Reads it from `{userId, changes, changeReason?}`.
    pub fn read(id: String, mut body: Body, identity: Identity) -> Result<Self, ApiError> {
        let user = body.id("userId")?;
        let changes = body.state("changes")?;
        let reason =
            body.optional_text("changeReason", MAX_REASON_BYTES)?.filter(|reason| !reason.is_empty());
        identity.must_be(&user, "tasks:all")?;
        Ok(Self { id, user, changes, reason, identity })
    }

    /// The task as it is to be, and which of its fields are others than before.
    fn changed(&self, mut task: Task) -> Result<(Task, Vec<String>), ApiError> {
        let status = self.changes.get("status").and_then(Value::as_str).and_then(Status::read);
        let status = status.unwrap_or(task.status);
        task.status.check_move(status)?;
        let mut changed = Vec::new();
        for (field, value) in &self.changes {
            let before = if value.is_null() {
                task.state.shift_remove(field)
            } else {
                task.state.insert(field.clone(), value.clone())
            };
            if before.as_ref().unwrap_or(&Value::Null) != value {
                changed.push(field.clone());
            }
        }
        check_size("changes", &task.state)?;
        task.status = status;
        task.version += 1;
        // Clocks go back; history does not.
        task.updated_at = now().max(task.updated_at);
        task.updated_by.clone_from(&self.user);
        Ok((task, changed))
    }

    /// What the event tells besides the task's id.
    fn told(&self, name: &str, version: &VersionView, changed: &[String]) -> Map<String, Value> {
        let fields = match name {
            "task-completed" => serde_json::json!({ "result": version }),
            "task-failed" => serde_json::json!({ "error": self.reason.as_deref().unwrap_or(FAILURE) }),
            "task-updated" => serde_json::json!({
                "version": version.version,
                "changes": self.changes,
                "changed": changed,
                "reason": self.reason,
            }),
            _ => serde_json::json!({ "version": version.version }),
        };
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}

impl Change for UpdateTask {
    type Output = VersionView;
    type Refusal = ApiError;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<VersionView, Refusable<ApiError>> {
        let refused = Refusable::Refused;
        let before = Task::to_change(connection, &self.id).await?;
        let before = before.ok_or_else(|| refused(no_such_task("id", &self.id)))?;
        self.identity.must_be(&before.owner, "tasks:all").map_err(|error| refused(error.into()))?;
        let status_before = before.status;
        let (task, changed) = self.changed(before).map_err(refused)?;
        let reason = self.reason.as_deref().unwrap_or(REASON);
        let version = VersionView::new(&task, reason);
        let name = event::name_of((task.status != status_before).then_some(task.status));
        let told = self.told(name, &version, &changed);
        let event = event::write(name, &task, &self.user, told).map_err(refused)?;
        sqlx::query(WRITE.on(connection))
            .bind(&task.id)
            .bind(task.status.name())
            .bind(task.state.get("priority").and_then(Value::as_str))
            .bind(text(&task.state))
            .bind(task.version)
            .bind(task.updated_at)
            .bind(&self.user)
            .bind(text(&changed))
            .bind(reason)
            .bind(event)
            .execute(connection)
            .await?;
        Ok(version)
    }
}
