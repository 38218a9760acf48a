//! What clients may write, and within which bounds; each refusal names the field.

use std::fmt::Display;

use serde_json::{Map, Value};
use synapse_chassis::{error::ApiError, integers::too_large};

use crate::task::Status;

/// The longest id of a task or a user, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// The longest title, in characters.
pub const MAX_TITLE: usize = 500;
/// The longest priority or date, in characters.
pub const MAX_WORD: usize = 50;
/// The longest description, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 64 << 10;
/// The longest reason of a change, in bytes.
pub const MAX_REASON_BYTES: usize = 4 << 10;
/// All fields of a task together, in bytes of JSON.
pub const MAX_STATE_BYTES: usize = 256 << 10;
/// How many fields a task has at most.
const MAX_FIELDS: usize = 128;
/// The longest name of a field, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// How deep objects and lists may lie in one another.
const MAX_DEPTH: usize = 32;

/// The fields of a body.
#[derive(Debug)]
pub struct Body(Map<String, Value>);

impl Body {
    /// Reads a body.
    pub fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        match synapse_chassis::request::parse(bytes)? {
            Value::Object(fields) => match too_large(bytes) {
                None => Ok(Self(fields)),
                Some(found) => Err(ApiError::bad_field(found.field.clone(), found)),
            },
            _ => Err(ApiError::bad_request("invalid_request", "the body is not an object with named fields")),
        }
    }

    /// The id of a task or a user.
    pub fn id(&mut self, field: &str) -> Result<String, ApiError> {
        self.optional_id(field)?.ok_or_else(|| missing(field, format!("a text of 1 to {MAX_ID_BYTES} bytes")))
    }

    /// The one who asks, `userId`.
    pub fn user(&mut self) -> Result<String, ApiError> {
        let user = self.id("userId")?;
        // On the streams it means nobody, and what belongs to nobody is shown to everybody.
        if user == "anonymous" {
            return Err(ApiError::bad_field("userId", "is anonymous, which is nobody; expected a user's id"));
        }
        Ok(user)
    }

    /// The same, where it may be left out.
    pub fn optional_id(&mut self, field: &str) -> Result<Option<String>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(id)) => check_id(field, id).map(Some),
            Some(other) => Err(wrong_type(field, &other, "a text")),
        }
    }

    /// What `userId` says, whatever it is worth.
    pub fn claimed_user(&self) -> Option<&str> {
        self.0.get("userId").and_then(Value::as_str)
    }

    /// A text of up to so many bytes, where it may be left out.
    pub fn optional_text(&mut self, field: &str, max_bytes: usize) -> Result<Option<String>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => {
                check_text(field, &text)?;
                check_bytes(field, text.len(), max_bytes)?;
                Ok(Some(text))
            }
            Some(other) => Err(wrong_type(field, &other, "a text")),
        }
    }

    /// The fields of a task; a null among them stays.
    pub fn state(&mut self, field: &str) -> Result<Map<String, Value>, ApiError> {
        match self.take(field) {
            None => Err(missing(field, "an object")),
            Some(Value::Object(mut state)) => {
                check_state(field, &mut state)?;
                Ok(state)
            }
            Some(other) => Err(wrong_type(field, &other, "an object")),
        }
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.0.remove(field).filter(|value| !value.is_null())
    }
}

/// An id as it may be.
pub fn check_id(field: &str, id: String) -> Result<String, ApiError> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        let reason = format!("has {} bytes, expected 1 to {MAX_ID_BYTES}", id.len());
        return Err(ApiError::bad_field(field, reason));
    }
    if id.chars().any(char::is_control) {
        return Err(ApiError::bad_field(field, "has a control character in it; take it out"));
    }
    Ok(id)
}

/// Checks what a client gave as a task's fields, and gives the status its proper name.
fn check_state(field: &str, state: &mut Map<String, Value>) -> Result<(), ApiError> {
    if let Some(status) = state.get_mut("status") {
        let at = format!("{field}.status");
        let known = match &status {
            Value::String(text) => Status::read(text).ok_or_else(|| {
                ApiError::bad_field(&at, format!("is {}, expected one of {}", shown(text), Status::NAMES))
            })?,
            other => return Err(wrong_type(&at, other, "a text")),
        };
        *status = known.name().into();
    }
    for (name, value) in &*state {
        let at = format!("{field}.{}", synapse_chassis::request::cut(name));
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
            let reason =
                format!("is a name of {} bytes, expected 1 to {MAX_NAME_BYTES} without a NUL", name.len());
            return Err(ApiError::bad_field(at, reason));
        }
        match (name.as_str(), value) {
            ("title" | "priority" | "dueDate" | "description", Value::Null) => {}
            ("title", Value::String(text)) => check_characters(&at, text, MAX_TITLE)?,
            ("priority" | "dueDate", Value::String(text)) => check_characters(&at, text, MAX_WORD)?,
            ("description", Value::String(text)) => check_bytes(&at, text.len(), MAX_DESCRIPTION_BYTES)?,
            ("title" | "priority" | "dueDate" | "description", other) => {
                return Err(wrong_type(&at, other, "a text"));
            }
            _ => {}
        }
        check_value(&at, value, MAX_DEPTH)?;
    }
    check_size(field, state)
}

/// Refuses a task that has become too large.
pub fn check_size(field: &str, state: &Map<String, Value>) -> Result<(), ApiError> {
    if state.len() > MAX_FIELDS {
        return Err(ApiError::bad_field(
            field,
            format!("has {} fields, expected {MAX_FIELDS} at most", state.len()),
        ));
    }
    let bytes = serde_json::to_vec(state).map_or(usize::MAX, |json| json.len());
    check_bytes(field, bytes, MAX_STATE_BYTES)
}

/// Refuses what no database takes: NUL characters, and what is nested too deep.
fn check_value(field: &str, value: &Value, depth: usize) -> Result<(), ApiError> {
    if depth == 0 {
        return Err(ApiError::bad_field(field, format!("is nested deeper than {MAX_DEPTH}")));
    }
    match value {
        Value::String(text) => check_text(field, text),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(field, item, depth - 1)),
        Value::Object(members) => members.iter().try_for_each(|(name, member)| {
            check_text(field, name)?;
            check_value(field, member, depth - 1)
        }),
        _ => Ok(()),
    }
}

fn check_text(field: &str, text: &str) -> Result<(), ApiError> {
    if text.contains('\0') {
        return Err(ApiError::bad_field(field, "has a NUL character in it; take it out"));
    }
    Ok(())
}

fn check_characters(field: &str, text: &str, max: usize) -> Result<(), ApiError> {
    match text.chars().count() {
        count if count > max => {
            Err(ApiError::bad_field(field, format!("has {count} characters, expected {max} at most")))
        }
        _ => Ok(()),
    }
}

fn check_bytes(field: &str, bytes: usize, max: usize) -> Result<(), ApiError> {
    if bytes > max {
        return Err(ApiError::bad_field(field, format!("has {bytes} bytes, expected {max} at most")));
    }
    Ok(())
}

fn missing(field: &str, expected: impl Display) -> ApiError {
    ApiError::bad_field(field, format!("is missing, expected {expected}"))
}

fn wrong_type(field: &str, value: &Value, expected: &str) -> ApiError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    ApiError::bad_field(field, format!("is {found}, expected {expected}"))
}

fn shown(text: &str) -> String {
    format!("{:?}", synapse_chassis::request::cut(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(value: Value) -> Result<Map<String, Value>, ApiError> {
        Body(Map::from_iter([("taskData".to_owned(), value)])).state("taskData")
    }

    #[test]
    fn a_refusal_names_the_field() {
        let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
        for (value, field) in [
            (json!("x"), "taskData"),
            (json!({ "title": 7 }), "taskData.title"),
            (json!({ "title": "x".repeat(501) }), "taskData.title"),
            (json!({ "title": "a\0b" }), "taskData.title"),
            (json!({ "description": "x".repeat(1 << 20) }), "taskData.description"),
            (json!({ "status": "done" }), "taskData.status"),
            (json!({ "status": null }), "taskData.status"),
            (json!({ "priority": ["high"] }), "taskData.priority"),
            (json!({ "tags": ["a", { "b\0": 1 }] }), "taskData.tags"),
            (json!({ "deep": deep }), "taskData.deep"),
            (json!({ "": 1 }), "taskData."),
            (json!({ "notes": "x".repeat(300 << 10) }), "taskData"),
            (Value::Object((0..129).map(|n| (n.to_string(), json!(n))).collect()), "taskData"),
        ] {
            let error = state(value).unwrap_err();
            assert_eq!((error.status.as_u16(), error.field.as_deref()), (400, Some(field)), "{error}");
            assert!(error.message.starts_with(field), "{error}");
        }
    }

    #[test]
    fn older_names_of_a_status_become_its_own() {
        assert_eq!(state(json!({ "status": "running" })).unwrap()["status"], "in_progress");
        assert_eq!(state(json!({ "status": "error" })).unwrap()["status"], "failed");
    }

    #[test]
    fn ids_are_short_texts() {
        let id = |value: Value| Body(Map::from_iter([("userId".to_owned(), value)])).id("userId");
        assert_eq!(id(json!("u-1")).unwrap(), "u-1");
        for value in [json!(null), json!(""), json!(7), json!("x".repeat(257)), json!("a\nb"), json!("a\0")] {
            assert_eq!(id(value).unwrap_err().field.as_deref(), Some("userId"));
        }
    }
}
