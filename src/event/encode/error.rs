//! Why an event can't be written.

use serde_json::Value;

use crate::event::{excerpt, schema::Kind};

/// Why an event can't be written. Nothing of it has been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEvent {
    /// There is no `event`, or it is empty.
    #[error("field event: the event has no name; set it to a string such as \"inference-complete\"")]
    NoName,
    /// A required field is not there, or null.
    #[error("field {field} is missing: {event} on {stream} needs it, expected {expected}")]
    Missing {
        /// The stream.
        stream: String,
        /// The event's name.
        event: String,
        /// The field.
        field: &'static str,
        /// Its type.
        expected: Kind,
    },
    /// A known field's value is not of its type.
    #[error("field {field} is {found}, expected {expected}")]
    WrongType {
        /// The field.
        field: String,
        /// The value and what it is, cut short.
        found: String,
        /// The field's type.
        expected: Kind,
    },
    /// NaN or an infinity, which JSON and the readers of the streams don't know.
    #[error("field {field} is {found}, expected a finite number; leave the field out if there is none")]
    NotFinite {
        /// The field.
        field: String,
        /// The number.
        found: String,
    },
    /// A field has no name, or one that is too long.
    #[error("field name {name:?} has {bytes} bytes, expected 1 to {limit}")]
    FieldName {
        /// The name, cut short.
        name: String,
        /// Its length.
        bytes: usize,
        /// The greatest length.
        limit: usize,
    },
    /// A field that the codec itself writes.
    #[error("field {field} is reserved for the codec; give the field another name")]
    Reserved {
        /// The field.
        field: &'static str,
    },
    /// A known field is given twice, mostly by its name and its older name.
    #[error("field {field} is given twice (its older name counts as well); give it once")]
    Repeated {
        /// The field's present name.
        field: &'static str,
    },
    /// A text that would be read back as another type has a name that can't be listed in `_strings`.
    #[error(
        "field {field:?} is text that would be read back as {read_as}, and its name has a comma, so that _strings can't list it; rename the field"
    )]
    Comma {
        /// The field.
        field: String,
        /// What readers would make of the text.
        read_as: &'static str,
    },
    /// A supplied event id is too long.
    #[error("field event_id has {bytes} bytes, expected 1 to {limit}")]
    EventId {
        /// Its length.
        bytes: usize,
        /// The greatest length.
        limit: usize,
    },
    /// Objects and arrays within each other, deeper than readers go.
    #[error("field {field} is nested more than {limit} levels deep; flatten it")]
    TooDeep {
        /// The field.
        field: String,
        /// The greatest depth.
        limit: usize,
    },
    /// The text given as JSON is not.
    #[error("field {field} is not the JSON of {expected}: {reason}")]
    MalformedJson {
        /// The field.
        field: String,
        /// What was announced.
        expected: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// A value that can't be written at all, such as a socket or a lock.
    #[error(
        "field {field} is {found}, which can't be written; use text, a number, a boolean, a list or an object"
    )]
    Unsupported {
        /// The field.
        field: String,
        /// What it is.
        found: String,
    },
    /// More fields than an entry may have.
    #[error("the event has more than {limit} fields, reached at {field:?}; put them into one object")]
    TooManyFields {
        /// The first field too many.
        field: String,
        /// The greatest number of fields, those that every entry has included.
        limit: usize,
    },
    /// More bytes than an entry may have.
    #[error(
        "the event has {bytes} bytes or more with field {field:?}, the limit is {limit}; store the data elsewhere and publish where it is"
    )]
    TooLarge {
        /// The field that is too much.
        field: String,
        /// Bytes of names and values up to and with this field.
        bytes: usize,
        /// The greatest number of bytes.
        limit: usize,
    },
}

impl InvalidEvent {
    #[cold]
    pub(super) fn wrong_type(field: &str, value: &Value, expected: Kind) -> Self {
        Self::WrongType { field: excerpt::cut(field), found: excerpt::described(value), expected }
    }

    /// The field at fault, if it is one.
    pub fn field(&self) -> &str {
        match self {
            Self::NoName => "event",
            Self::EventId { .. } => "event_id",
            Self::Missing { field, .. } | Self::Reserved { field } | Self::Repeated { field } => field,
            Self::FieldName { name: field, .. }
            | Self::WrongType { field, .. }
            | Self::NotFinite { field, .. }
            | Self::Comma { field, .. }
            | Self::TooDeep { field, .. }
            | Self::MalformedJson { field, .. }
            | Self::Unsupported { field, .. }
            | Self::TooManyFields { field, .. }
            | Self::TooLarge { field, .. } => field,
        }
    }
}
