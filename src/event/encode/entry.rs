//! The encoder: one event, field by field, into a request.

mod pairs;
mod text;

use std::{ops::Range, time::SystemTime};

use serde_json::Value;
use smallvec::SmallVec;

use self::pairs::Place;
use super::{Encoded, InvalidEvent, JsonKind, Limits, json};
use crate::event::{
    excerpt, id,
    schema::{self, EventSchema, Kind},
    timestamp::Timestamp,
};

/// Appends one event, field by field, to a request.
///
/// What is appended are RESP bulk strings: `$5\r\nevent\r\n$18\r\ninference-complete\r\n…`; the
/// caller writes the head of the command. Until [`finish`](Self::finish) has succeeded nothing
/// counts: dropped before, the encoder takes back all it appended.
///
/// ```
/// use std::time::SystemTime;
/// use synapse_rs::event::encode::{EntryEncoder, Limits, read_pairs};
///
/// let (mut body, limits) = (Vec::new(), Limits::default());
/// let mut entry = EntryEncoder::begin(&mut body, "model-events", "model-loaded", &limits).unwrap();
/// entry.str("model_name", "llama3:8b").unwrap();
/// entry.u64("load_time_ms", 812).unwrap();
/// let encoded = entry.finish("cyrex", SystemTime::now()).unwrap();
/// assert_eq!(encoded.fields, 6); // with event, timestamp, source, event_id
/// let pairs = read_pairs(&body).unwrap();
/// assert_eq!(pairs[2], (&b"load_time_ms"[..], &b"812.0"[..]));
/// ```
#[derive(Debug)]
pub struct EntryEncoder<'a> {
    body: &'a mut Vec<u8>,
    limits: &'a Limits,
    stream: &'a str,
    event: &'a str,
    schema: &'static EventSchema,
    /// Where the entry begins in the body.
    start: usize,
    fields: usize,
    bytes: usize,
    /// The known fields written, a bit each.
    seen: u64,
    /// Where the next known field is looked for first.
    next: usize,
    event_id: Range<usize>,
    /// Where in the body the names for `_strings` are.
    strings: SmallVec<[Range<usize>; 4]>,
    finished: bool,
}

impl<'a> EntryEncoder<'a> {
    /// Begins an entry at the end of `body` with its name.
    ///
    /// Older names are written as the present ones, see [`schema::canonical_name`].
    pub fn begin(
        body: &'a mut Vec<u8>,
        stream: &'a str,
        name: &'a str,
        limits: &'a Limits,
    ) -> Result<Self, InvalidEvent> {
        if name.is_empty() {
            return Err(InvalidEvent::NoName);
        }
        let event = schema::canonical_name(stream, name);
        let mut entry = Self {
            start: body.len(),
            body,
            limits,
            stream,
            event,
            schema: schema::of(stream, event),
            fields: 0,
            bytes: 0,
            seen: 0,
            next: 0,
            event_id: 0..0,
            strings: SmallVec::new(),
            finished: false,
        };
        entry.push("event", event.as_bytes())?;
        Ok(entry)
    }

    /// A text.
    ///
    /// In an optional known field `""` (and `anonymous` for `user_id`) is left out. The field
    /// `event` is taken if it says the name again.
    #[inline]
    pub fn str(&mut self, field: &str, text: &str) -> Result<(), InvalidEvent> {
        match self.place(field)? {
            Place::Known(_, known) if known.is_absent(text.as_bytes()) => Ok(()),
            Place::Known(index, known) => self.known_str(index, known, text),
            Place::Unknown => self.unknown_str(field, text),
        }
    }

    /// A text for a known field that was not given.
    pub fn str_if_absent(&mut self, field: &str, text: &str) -> Result<(), InvalidEvent> {
        if self.has(field) { Ok(()) } else { self.str(field, text) }
    }

    /// An integer; a number with a fraction where one is expected.
    #[inline]
    pub fn u64(&mut self, field: &str, number: u64) -> Result<(), InvalidEvent> {
        self.integer(field, itoa::Buffer::new().format(number), number as f64)
    }

    /// An integer that may be negative.
    #[inline]
    pub fn i64(&mut self, field: &str, number: i64) -> Result<(), InvalidEvent> {
        self.integer(field, itoa::Buffer::new().format(number), number as f64)
    }

    /// A number in its shortest form that keeps `.0` or an exponent: `45.0`, `1e+16`.
    #[inline]
    pub fn f64(&mut self, field: &str, number: f64) -> Result<(), InvalidEvent> {
        let place = self.place(field)?;
        if !number.is_finite() {
            return Err(InvalidEvent::NotFinite { field: excerpt::cut(field), found: number.to_string() });
        }
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(number).as_bytes();
        match place {
            Place::Known(index, known) if known.kind == Kind::F64 => self.push_known(index, known, text),
            Place::Known(_, known) => Err(InvalidEvent::wrong_type(field, &Value::from(number), known.kind)),
            Place::Unknown => self.push(field, text).map(drop),
        }
    }

    /// `true` or `false`.
    #[inline]
    pub fn bool(&mut self, field: &str, value: bool) -> Result<(), InvalidEvent> {
        let text: &[u8] = if value { b"true" } else { b"false" };
        match self.place(field)? {
            Place::Known(index, known) if known.kind == Kind::Bool => self.push_known(index, known, text),
            Place::Known(_, known) => Err(InvalidEvent::wrong_type(field, &Value::from(value), known.kind)),
            Place::Unknown => self.push(field, text).map(drop),
        }
    }

    /// No value: the field is left out. A required one is missed by [`finish`](Self::finish).
    pub fn null(&mut self, field: &str) -> Result<(), InvalidEvent> {
        self.place(field).map(drop)
    }

    /// An object or a list, already as JSON text.
    pub fn json_text(&mut self, field: &str, text: &str, kind: JsonKind) -> Result<(), InvalidEvent> {
        json::validate(field, text, kind)?;
        self.json_with(field, kind, |body| {
            body.extend_from_slice(text.as_bytes());
            Ok(())
        })
    }

    /// An object or a list whose JSON `write` appends to the body (and does nothing else to it):
    /// for values that are walked rather than held.
    ///
    /// The JSON must be valid, with numbers that are u64, i64 or finite f64; only its ends and its
    /// depth are checked.
    pub fn json_with<E: From<InvalidEvent>>(
        &mut self,
        field: &str,
        kind: JsonKind,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut known_index = None;
        let name = match self.place(field)? {
            Place::Known(index, known) if known.kind == Kind::Object && kind == JsonKind::Object => {
                known_index = Some(index);
                known.name
            }
            Place::Known(_, known) => {
                let found = kind.described().to_owned();
                return Err(InvalidEvent::WrongType {
                    field: excerpt::cut(field),
                    found,
                    expected: known.kind,
                }
                .into());
            }
            Place::Unknown => field,
        };
        let before = self.body.len();
        let written = self.push_json(name, kind, write);
        if written.is_err() {
            self.body.truncate(before);
        } else if let Some(index) = known_index {
            self.mark(index);
        }
        written
    }

    /// A value of any type; `null` is left out.
    pub fn value(&mut self, field: &str, value: &Value) -> Result<(), InvalidEvent> {
        let kind = match value {
            Value::Null => return self.null(field),
            Value::Bool(value) => return self.bool(field, *value),
            Value::String(text) => return self.str(field, text),
            Value::Number(number) => {
                return match (number.as_u64(), number.as_i64()) {
                    (Some(number), _) => self.u64(field, number),
                    (None, Some(number)) => self.i64(field, number),
                    (None, None) => self.f64(field, number.as_f64().unwrap_or(f64::NAN)),
                };
            }
            Value::Array(_) => JsonKind::Array,
            Value::Object(_) => JsonKind::Object,
        };
        self.json_with(field, kind, |body| json::write(field, value, body))
    }

    /// Ends the entry: adds what it has by default, `timestamp`, `source` and `event_id` where they
    /// were not given, and `_strings` where it is needed.
    ///
    /// `source` names the publisher, `now` is the time of publication.
    pub fn finish(mut self, source: &str, now: SystemTime) -> Result<Encoded, InvalidEvent> {
        if let Some(field) = self.schema.missing(self.seen) {
            return Err(self.missing(field.name, field.kind));
        }
        for (field, value) in self.schema.defaults(self.seen) {
            self.bool(field.name, value)?;
        }
        if !self.has("timestamp") {
            self.push("timestamp", Timestamp::of(now).as_str().as_bytes())?;
        }
        if !self.has("source") {
            if source.is_empty() {
                return Err(self.missing("source", Kind::String));
            }
            self.push("source", source.as_bytes())?;
        }
        if !self.has("event_id") {
            self.event_id = self.push("event_id", &id::new(now))?.value;
        }
        self.push_strings()?;
        self.finished = true;
        let event_id = self.event_id.start - self.start..self.event_id.end - self.start;
        Ok(Encoded { fields: self.fields, bytes: self.bytes, event_id })
    }

    #[cold]
    fn missing(&self, field: &'static str, expected: Kind) -> InvalidEvent {
        InvalidEvent::Missing {
            stream: self.stream.to_owned(),
            event: self.event.to_owned(),
            field,
            expected,
        }
    }

    fn has(&self, field: &str) -> bool {
        self.schema.find(field.as_bytes(), self.next).is_some_and(|index| self.seen & (1 << index) != 0)
    }

    fn integer(&mut self, field: &str, digits: &str, as_float: f64) -> Result<(), InvalidEvent> {
        match self.place(field)? {
            Place::Known(index, known) if known.kind == Kind::F64 => {
                self.push_known(index, known, zmij::Buffer::new().format_finite(as_float).as_bytes())
            }
            Place::Known(index, known) if known.kind == Kind::U64 && !digits.starts_with('-') => {
                self.push_known(index, known, digits.as_bytes())
            }
            Place::Known(_, known) => Err(InvalidEvent::WrongType {
                field: excerpt::cut(field),
                found: format!("the number {digits}"),
                expected: known.kind,
            }),
            Place::Unknown => self.push(field, digits.as_bytes()).map(drop),
        }
    }
}

impl Drop for EntryEncoder<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.body.truncate(self.start);
        }
    }
}
