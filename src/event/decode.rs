//! Reads an event from the field/value pairs of a stream entry.
//!
//! Three dialects share the streams, in any mix: what [`encode`](mod@super::encode) and the Python
//! publishers write (a pair per field), what TypeScript publishers write (likewise, JSON per
//! value), and an envelope whose `payload` holds the event. The entry itself tells which it is.

mod error;
mod field;
mod reader;

use serde_json::{Map, Value};
use smallvec::SmallVec;

pub use error::DecodeError;

use super::{Event, encode::STRINGS_FIELD, excerpt, schema::Kind};
use reader::EventReader;

/// What an entry holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// An event.
    Event(Event),
    /// No event: an entry without a name, such as the `created` with which older publishers begin
    /// a stream. To be counted and skipped.
    Nameless,
}

impl Decoded {
    /// The event, if it is one.
    pub fn event(self) -> Option<Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::Nameless => None,
        }
    }
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// Reads the entry of a stream.
///
/// Known fields get the type that [`schema`](super::schema) gives them, unknown ones what
/// [`infer`](super::infer()) makes of their text; older names become the present ones. Of a field
/// that is there twice the last counts (as in every client that makes a map of the pairs), of a
/// present and an older name the present one.
///
/// ```
/// use synapse_rs::event::decode::decode;
///
/// let pairs = [("event", "error"), ("error_type", "io"), ("error_message", "disk full"), ("code", "28")];
/// let pairs = pairs.iter().map(|(field, value)| (field.as_bytes(), value.as_bytes()));
/// let event = decode("error-events", pairs).unwrap().event().unwrap();
/// assert_eq!(event.get("code"), Some(&28.into()));
/// ```
pub fn decode<'a>(
    stream: &str,
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<Decoded, DecodeError> {
    let pairs: SmallVec<[Pair<'a>; 24]> = fields.into_iter().collect();
    let marks = Marks::of(&pairs);
    let event = match (marks.event, marks.event_type) {
        (Some(name), _) => flat(stream, name, &pairs, &marks)?,
        (None, Some(name)) => envelope(stream, name, &pairs, &marks)?,
        (None, None) => return Ok(Decoded::Nameless),
    };
    Ok(Decoded::Event(event))
}

/// The pairs that say how the others are to be read.
#[derive(Default)]
struct Marks<'a> {
    event: Option<&'a [u8]>,
    event_type: Option<&'a [u8]>,
    payload: Option<&'a [u8]>,
    /// Sorted names of fields that are text whatever they look like.
    strings: SmallVec<[&'a [u8]; 8]>,
}

impl<'a> Marks<'a> {
    fn of(pairs: &[Pair<'a>]) -> Self {
        let mut marks = Self::default();
        let mut strings = None;
        for &(field, value) in pairs {
            match field {
                b"event" => marks.event = Some(value),
                b"event_type" => marks.event_type = Some(value),
                b"payload" => marks.payload = Some(value),
                _ if field == STRINGS_FIELD.as_bytes() => strings = Some(value),
                _ => {}
            }
        }
        marks.event = marks.event.filter(|name| !name.is_empty());
        marks.event_type = marks.event_type.filter(|name| !name.is_empty());
        if let Some(strings) = strings {
            marks.strings.extend(strings.split(|byte| *byte == b','));
            marks.strings.sort_unstable();
        }
        marks
    }

    fn is_string(&self, field: &[u8]) -> bool {
        !self.strings.is_empty() && self.strings.binary_search(&field).is_ok()
    }
}

/// A pair per field.
fn flat(stream: &str, name: &[u8], pairs: &[Pair<'_>], marks: &Marks<'_>) -> Result<Event, DecodeError> {
    let mut reader = EventReader::new(stream, utf8(b"event", name)?, pairs.len());
    for &(field, value) in pairs {
        if field == b"event" || field == STRINGS_FIELD.as_bytes() {
            continue;
        }
        reader.text(utf8(field, field)?, utf8(field, value)?, marks.is_string(field))?;
    }
    reader.finish(stream)
}

/// The event in `payload`; the envelope fills in what is not there.
fn envelope(
    stream: &str,
    event_type: &[u8],
    pairs: &[Pair<'_>],
    marks: &Marks<'_>,
) -> Result<Event, DecodeError> {
    let payload = match marks.payload {
        Some(payload) => payload_fields(utf8(b"payload", payload)?)?,
        None => Map::new(),
    };
    let name = match payload.get("event") {
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        None | Some(Value::Null | Value::String(_)) => utf8(b"event_type", event_type)?.to_owned(),
        Some(other) => return Err(DecodeError::wrong_type("event", excerpt::described(other), Kind::String)),
    };
    let mut reader = EventReader::new(stream, &name, pairs.len() + payload.len());
    for &(field, value) in pairs {
        let field = match field {
            b"event" | b"event_type" | b"payload" => continue,
            b"sender" => b"source",
            _ if value.is_empty() || field == STRINGS_FIELD.as_bytes() => continue,
            _ => field,
        };
        let (field, value) = (utf8(field, field)?, utf8(field, value)?);
        if payload.get(field).is_none_or(Value::is_null) {
            reader.text(field, value, marks.is_string(field.as_bytes()))?;
        }
    }
    for (field, value) in payload {
        if field != "event" && field != STRINGS_FIELD {
            reader.json(field, value)?;
        }
    }
    reader.finish(stream)
}

fn payload_fields(payload: &str) -> Result<Map<String, Value>, DecodeError> {
    if matches!(payload, "" | "null" | "None") {
        return Ok(Map::new());
    }
    field::object(payload).ok_or_else(|| {
        DecodeError::wrong_type("payload", format!("the text {}", excerpt::quoted(payload)), Kind::Object)
    })
}

fn utf8<'a>(field: &[u8], text: &'a [u8]) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(text).map_err(|_| DecodeError::NotUtf8 {
        field: excerpt::cut(&String::from_utf8_lossy(&field[..field.len().min(256)])),
        found: excerpt::quoted_bytes(text),
    })
}

#[cfg(test)]
mod tests;
