//! An event, its fields and their types.
//!
//! An event is an ordered set of named values, one of which, `event`, is its name.
//! [`encode`](mod@encode) writes it as the flat field/value pairs of a stream entry,
//! [`decode`](mod@decode) reads such pairs back from any of the three dialects on the streams,
//! [`schema`] knows the types of the known fields, [`infer()`] guesses those of the others.

pub mod decode;
pub mod encode;
pub(crate) mod excerpt;
mod id;
mod infer;
mod python_literal;
pub mod schema;
pub mod timestamp;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use decode::{DecodeError, Decoded, decode};
pub use encode::{InvalidEvent, encode};
pub use infer::infer;

/// One thing that happened: a name and named values, in the order they were written.
///
/// The name is the field `event`; the other fields every entry has are `timestamp` (RFC 3339, UTC,
/// `Z`, microseconds), `source` and `event_id`. Known fields have the type that [`schema`] gives
/// them; the others are whatever JSON value they hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Event {
    fields: Map<String, Value>,
}

impl Event {
    /// An event of this name with no other field.
    pub fn new(name: impl Into<String>) -> Self {
        let mut fields = Map::new();
        fields.insert("event".to_owned(), Value::String(name.into()));
        Self { fields }
    }

    /// Sets a field and gives the event back, for building one in an expression.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(field, value);
        self
    }

    /// Sets a field.
    pub fn set(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        self.fields.insert(field.into(), value.into());
    }

    /// The event's name, for example `inference-complete`; empty if it has none.
    pub fn name(&self) -> &str {
        self.str("event").unwrap_or_default()
    }

    /// A field's value.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field)
    }

    /// A field's value if it is a string.
    pub fn str(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// The user the event belongs to, if to one.
    pub fn user_id(&self) -> Option<&str> {
        self.str("user_id")
    }

    /// The organisation the event belongs to, if to one.
    pub fn organization_id(&self) -> Option<&str> {
        self.str("organization_id")
    }

    /// The id that is the same on every retry of the event's publication.
    pub fn event_id(&self) -> Option<&str> {
        self.str("event_id")
    }

    /// Whether an inference failed: `success` is false, or the event says so by its name.
    pub fn inference_failed(&self) -> bool {
        self.name() == "inference-failed" || self.get("success") == Some(&Value::Bool(false))
    }

    /// All fields, in order.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// All fields, in order, to change.
    pub fn fields_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.fields
    }

    /// Gives up the fields.
    pub fn into_fields(self) -> Map<String, Value> {
        self.fields
    }
}

impl From<Map<String, Value>> for Event {
    fn from(fields: Map<String, Value>) -> Self {
        Self { fields }
    }
}
