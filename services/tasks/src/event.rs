//! What a change tells the others, on `platform-events`.

use serde_json::{Map, Value, json};
use synapse_chassis::error::ApiError;
use synapse_rs::{
    Event,
    event::encode::{Limits, encode},
};
use uuid::Uuid;

use crate::task::{Status, Task};

/// The stream of these events.
pub const STREAM: &str = "platform-events";
/// Who publishes them; the name that older services publish under.
pub const SOURCE: &str = "task-orchestrator";

/// The name of the event of a change to this status; `None`: the status is as before.
pub fn name_of(moved_to: Option<Status>) -> &'static str {
    match moved_to {
        Some(Status::InProgress) => "task-started",
        Some(Status::Completed) => "task-completed",
        Some(Status::Failed) => "task-failed",
        Some(Status::Pending | Status::Cancelled) | None => "task-updated",
    }
}

/// An event as it is kept until it is published, a JSON object. It goes to the task's owner; `data` has `task_id`
/// besides.
///
/// What can't be written to a stream is refused now, not when it is too late.
pub fn write(
    name: &str,
    task: &Task,
    changed_by: &str,
    data: Map<String, Value>,
) -> Result<String, ApiError> {
    let mut whole = Map::from_iter([("task_id".to_owned(), Value::from(task.id.as_str()))]);
    whole.extend(data.into_iter().filter(|(field, _)| field != "task_id"));
    if changed_by != task.owner {
        whole.insert("changed_by".to_owned(), changed_by.into());
    }
    let mut fields = json!({
        "event": name,
        "event_id": Uuid::now_v7().to_string(),
        "timestamp": format!("{:.6}", jiff::Timestamp::now()),
        "source": SOURCE,
        "service": SOURCE,
        "action": name,
        "user_id": task.owner,
        "data": whole,
    });
    if let Some(organization) = &task.organization {
        fields["organization_id"] = organization.as_str().into();
    }
    let text = fields.to_string();
    let Value::Object(fields) = fields else { unreachable!("made as an object") };
    encode(STREAM, &Event::from(fields), SOURCE, &Limits::default(), &mut Vec::new()).map_err(|error| {
        ApiError::bad_field("taskData", format!("makes an event that can't be published: {error}"))
    })?;
    Ok(text)
}
