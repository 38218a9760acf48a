//! Why an entry is not a valid event.

use crate::event::{excerpt, schema::Kind};

/// Why an entry is not a valid event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A name or a value is not text.
    #[error("field {field} is not UTF-8: {found}")]
    NotUtf8 {
        /// The field, with what is not UTF-8 in its name replaced.
        field: String,
        /// The bytes, likewise, cut short.
        found: String,
    },
    /// A known field can't be read as its type.
    #[error("field {field} is {found}, expected {expected}")]
    WrongType {
        /// The field.
        field: String,
        /// The value and what it is, cut short.
        found: String,
        /// The field's type.
        expected: Kind,
    },
    /// A required field is not there.
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
}

impl DecodeError {
    /// The field at fault.
    pub fn field(&self) -> &str {
        match self {
            Self::NotUtf8 { field, .. } | Self::WrongType { field, .. } => field,
            Self::Missing { field, .. } => field,
        }
    }

    #[cold]
    pub(super) fn wrong_type(field: &str, found: String, expected: Kind) -> Self {
        Self::WrongType { field: excerpt::cut(field), found, expected }
    }
}
