//! A new task.

use http::StatusCode;
use serde_json::Value;
use synapse_chassis::{error::ApiError, identity::Identity};
use synapse_database::{AnyConnection, Change, Refusable, Sql, error::is_duplicate, sqlx};
use uuid::Uuid;

use crate::{
    event,
    request::Body,
    task::{Status, Task, now},
    versions::VersionView,
};

/// Why there is a first version.
const REASON: &str = "Initial version";

/// A task, its first version and its event, in one.
const INSERT: Sql = Sql {
    sqlite: "INSERT INTO tasks VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7, $2); \
             INSERT INTO versions VALUES ($1, 1, $6, $8, $9, $2, $7); \
             INSERT INTO outbox (task_id, event, created_at) VALUES ($1, $10, $7)",
    postgres: "WITH task AS (INSERT INTO tasks VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7, $2)), \
                    version AS (INSERT INTO versions VALUES ($1, 1, $6, $8, $9, $2, $7)) \
               INSERT INTO outbox (task_id, event, created_at) VALUES ($1, $10, $7)",
};

/// A new task.
#[derive(Debug)]
pub struct CreateTask {
    task: Task,
    event: String,
}

impl CreateTask {
    /// Reads it from `{taskId?, userId, taskData}`.
    pub fn read(mut body: Body, identity: &Identity) -> Result<Self, ApiError> {
        let id = body.optional_id("taskId")?;
        let owner = body.id("userId")?;
        let mut state = body.state("taskData")?;
        identity.must_be(&owner, "tasks:all")?;
        let status = match state.get("status").and_then(Value::as_str) {
            Some(text) => Status::read(text).unwrap_or(Status::Pending),
            None => Status::Pending,
        };
        state.insert("status".to_owned(), status.name().into());
        let created_at = now();
        let is_own = identity.user.as_deref() == Some(&owner);
        let task = Task {
            id: id.unwrap_or_else(|| Uuid::now_v7().to_string()),
            updated_by: owner.clone(),
            owner,
            organization: identity.organisation.clone().filter(|_| is_own),
            status,
            version: 1,
            created_at,
            updated_at: created_at,
            state,
        };
        let event = event::write("task-created", &task, &task.owner, task.state.clone())?;
        Ok(Self { task, event })
    }
}

impl Change for CreateTask {
    type Output = VersionView;
    type Refusal = ApiError;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<VersionView, Refusable<ApiError>> {
        let task = &self.task;
        let fields: Vec<_> = task.state.keys().collect();
        let inserted = sqlx::query(INSERT.on(connection))
            .bind(&task.id)
            .bind(&task.owner)
            .bind(&task.organization)
            .bind(task.status.name())
            .bind(task.state.get("priority").and_then(Value::as_str))
            .bind(text(&task.state))
            .bind(task.created_at)
            .bind(text(&fields))
            .bind(REASON)
            .bind(&self.event)
            .execute(connection)
            .await;
        match inserted {
            Ok(_) => Ok(VersionView::new(task, REASON)),
            // The first statement says so, before anything is written.
            Err(error) if is_duplicate(&error) => {
                let message = format!("taskId: there is a task {:?} already; change it by PUT", task.id);
                let taken = ApiError::new(StatusCode::CONFLICT, "task_exists", message);
                Err(Refusable::Refused(taken.at("taskId")))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A value as it is kept.
pub(crate) fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
