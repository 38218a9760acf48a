//! The known events of each stream and the types of their fields.
//!
//! One static table, [`ALL`], from which both [`encode`](mod@super::encode) and
//! [`decode`](mod@super::decode) read, and which is listed as documentation. A field that the table
//! does not name is unknown: its type is whatever [`infer`](super::infer()) makes of its text.

mod table;

use std::fmt;

pub use table::ALL;

use crate::stream;

/// The type of a known field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text, whatever it looks like: a version `1.0` is not a number.
    String,
    /// An integer from 0 to 2⁶⁴ − 1.
    U64,
    /// A finite number.
    F64,
    /// `true` or `false`.
    Bool,
    /// A JSON object.
    Object,
    /// RFC 3339, UTC, `Z`, microseconds: `2026-05-01T10:00:00.123456Z`.
    Timestamp,
}

impl Kind {
    /// What is expected of a value of this type, for messages.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::U64 => "an integer from 0 to 18446744073709551615",
            Self::F64 => "a finite number",
            Self::Bool => "true or false",
            Self::Object => "an object",
            Self::Timestamp => "an RFC 3339 timestamp such as 2026-05-01T10:00:00.123456Z",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected())
    }
}

/// A known field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSchema {
    /// Its name in the event.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether an event without it is invalid. In all other fields `''` means absent.
    pub required: bool,
    /// The name that older publishers write; read and written as [`name`](Self::name).
    pub older: Option<&'static str>,
    /// The value of a boolean that is not there.
    pub default: Option<bool>,
    /// What it says, with its unit.
    pub about: &'static str,
}

impl FieldSchema {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, required: false, older: None, default: None, about }
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn formerly(mut self, older: &'static str) -> Self {
        self.older = Some(older);
        self
    }

    const fn or(mut self, default: bool) -> Self {
        self.default = Some(default);
        self
    }

    /// Whether this text in the field means that the field is absent.
    #[inline]
    pub(super) fn is_absent(&self, text: &[u8]) -> bool {
        !self.required && (text.is_empty() || (self.name == "user_id" && text == b"anonymous"))
    }
}

/// The fields of one event on one stream.
#[derive(Debug)]
pub struct EventSchema {
    /// The stream; `None` for any stream without an event of its own in the table.
    pub stream: Option<&'static str>,
    /// The event's name; `None` for every other name on the stream.
    pub event: Option<&'static str>,
    /// What happened.
    pub about: &'static str,
    /// The known fields, at most 64, those every event has included.
    pub fields: &'static [FieldSchema],
    /// One bit for each required field, by its place in `fields`; without `event`, which is known
    /// before the schema is.
    pub(super) required: u64,
}

impl EventSchema {
    const fn new(
        stream: Option<&'static str>,
        event: Option<&'static str>,
        about: &'static str,
        fields: &'static [FieldSchema],
    ) -> Self {
        assert!(fields.len() <= 64, "the fields of an event are tracked in the bits of a u64");
        let mut required = 0;
        let mut index = 0;
        while index < fields.len() {
            if fields[index].required && !matches!(fields[index].name.as_bytes(), b"event") {
                required |= 1 << index;
            }
            index += 1;
        }
        Self { stream, event, about, fields, required }
    }

    /// The field of this name, older names included.
    pub fn field(&self, name: &str) -> Option<&'static FieldSchema> {
        self.find(name.as_bytes(), 0).map(|index| &self.fields[index])
    }

    /// The place of a field by its name or older name; the search begins at `from`, for fields
    /// mostly come in the order of the table.
    #[inline]
    pub(super) fn find(&self, name: &[u8], from: usize) -> Option<usize> {
        let (before, after) = self.fields.split_at(from.min(self.fields.len()));
        let is_named = |field: &FieldSchema| {
            field.name.as_bytes() == name || field.older.is_some_and(|older| older.as_bytes() == name)
        };
        after
            .iter()
            .position(is_named)
            .map(|index| index + before.len())
            .or_else(|| before.iter().position(is_named))
    }

    /// Required fields that `seen` has no bit of, in order.
    pub(super) fn missing(&self, seen: u64) -> Option<&'static FieldSchema> {
        let missing = self.required & !seen;
        (missing != 0).then(|| &self.fields[missing.trailing_zeros() as usize])
    }

    /// Fields with a default that `seen` has no bit of.
    pub(super) fn defaults(&self, seen: u64) -> impl Iterator<Item = (&'static FieldSchema, bool)> {
        let unseen = move |(index, _): &(usize, _)| seen & (1 << index) == 0;
        let fields: &'static [FieldSchema] = self.fields;
        fields.iter().enumerate().filter(unseen).filter_map(|(_, field)| Some((field, field.default?)))
    }
}

/// The schema of an event on a stream.
///
/// The name is the canonical one ([`canonical_name`]). The dead letters of a stream
/// (`<stream>:dlq`) have the schema of that stream, and `agi-events` that of `agi-decisions`.
pub fn of(stream: &str, event: &str) -> &'static EventSchema {
    let stream = stream.strip_suffix(stream::DEAD_LETTER_SUFFIX).unwrap_or(stream);
    let stream = if stream == stream::AGI_EVENTS { stream::AGI_DECISIONS } else { stream };
    let matches = |schema: &&EventSchema| {
        schema.stream.is_none_or(|own| own == stream) && schema.event.is_none_or(|own| own == event)
    };
    ALL.iter().find(matches).unwrap_or(&ALL[ALL.len() - 1])
}

/// The name of an event under which it is known: older training events (`training.completed`,
/// `progress`) become `training-complete`, `training-progress`; any other name stays as it is.
pub fn canonical_name<'a>(stream: &str, event: &'a str) -> &'a str {
    let stream = stream.strip_suffix(stream::DEAD_LETTER_SUFFIX).unwrap_or(stream);
    if stream != stream::TRAINING_EVENTS {
        return event;
    }
    match event.strip_prefix("training.").unwrap_or(event) {
        "started" => "training-started",
        "progress" => "training-progress",
        "checkpoint" => "training-checkpoint",
        "complete" | "completed" => "training-complete",
        "failed" => "training-failed",
        _ => event,
    }
}

#[cfg(test)]
mod tests;
