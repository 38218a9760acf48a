//! Writes an event as the field/value pairs of a stream entry.
//!
//! [`EntryEncoder`] appends the pairs to a request as they come: no value in between, no
//! allocation per event. [`encode()`] does so for an [`Event`]. Both write what
//! [`decode`](mod@super::decode) reads back as the same event, or nothing at all.

mod entry;
mod error;
mod json;
mod resp;

use std::{ops::Range, time::SystemTime};

use serde_json::Value;

pub use entry::EntryEncoder;
pub use error::InvalidEvent;
pub use resp::read_pairs;

use super::{Event, schema::Kind};

/// The longest name of a field, in bytes.
pub const MAX_FIELD_NAME_BYTES: usize = 256;
/// The longest event id, in bytes.
pub const MAX_EVENT_ID_BYTES: usize = 256;
/// How deep objects and lists may lie within each other in one field; readers go no deeper.
pub const MAX_JSON_DEPTH: usize = 127;
/// The field that lists the fields whose text looks like something else but is text.
pub const STRINGS_FIELD: &str = "_strings";

/// How big an entry may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most fields, with those that every entry has.
    pub max_fields: usize,
    /// The most bytes of all names and values together.
    pub max_bytes: usize,
}

impl Default for Limits {
    /// 128 fields, 1 MiB.
    fn default() -> Self {
        Self { max_fields: 128, max_bytes: 1024 * 1024 }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Field/value pairs.
    pub fields: usize,
    /// Bytes of all names and values, without what the protocol puts around them.
    pub bytes: usize,
    /// Where the text of `event_id` is, counted from where the entry begins in the body.
    pub event_id: Range<usize>,
}

/// The two kinds of JSON that a field can hold besides plain values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
}

impl JsonKind {
    const fn described(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "a list",
        }
    }
}

/// Appends an event to `body` as the pairs of a stream entry; on an error nothing is appended.
///
/// `source` names the publisher where the event does not. What is added, left out and refused is
/// said at [`EntryEncoder`].
pub fn encode(
    stream: &str,
    event: &Event,
    source: &str,
    limits: &Limits,
    body: &mut Vec<u8>,
) -> Result<Encoded, InvalidEvent> {
    let name = match event.get("event") {
        None | Some(Value::Null) => return Err(InvalidEvent::NoName),
        Some(Value::String(name)) => name,
        Some(other) => return Err(InvalidEvent::wrong_type("event", other, Kind::String)),
    };
    let mut entry = EntryEncoder::begin(body, stream, name, limits)?;
    for (field, value) in event.fields() {
        entry.value(field, value)?;
    }
    entry.finish(source, SystemTime::now())
}

#[cfg(test)]
mod tests;
