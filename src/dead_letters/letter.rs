//! One dead letter.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Visitor};

use crate::{
    Event,
    event::decode::{DecodeError, Decoded, decode},
    stream::{
        Entry, EntryId,
        dead_letter::{ALL_FIELDS, LETTER_FIELDS, OWN_FIELD_PREFIX},
    },
};

/// The field that says of which entry an event is the repetition.
pub(crate) const REPLAY_OF: &str = "replay_of";

/// A dead letter: what happened to an event, and its own fields as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its id among the dead letters.
    pub id: EntryId,
    /// The stream the event was on.
    pub stream: String,
    /// The group that could not handle it; empty if the letter does not say.
    pub group: String,
    /// The event's id on that stream.
    pub original_id: String,
    /// One word, for example `rejected`.
    pub reason: String,
    /// What happened, in words.
    pub error: String,
    /// How often it was delivered.
    pub deliveries: Option<u64>,
    /// When it was moved, RFC 3339.
    pub moved_at: String,
    /// The event's fields as they were on the stream.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl Letter {
    /// Reads an entry of the dead letters of `stream`.
    pub fn of(stream: &str, entry: &Entry) -> Self {
        let mut letter = Self {
            id: entry.id,
            stream: String::new(),
            group: String::new(),
            original_id: String::new(),
            reason: String::new(),
            error: String::new(),
            deliveries: None,
            moved_at: String::new(),
            fields: Vec::with_capacity(entry.fields().len()),
        };
        for (field, value) in entry.fields() {
            letter.take(field, value);
        }
        if letter.stream.is_empty() {
            stream.clone_into(&mut letter.stream);
        }
        letter
    }

    fn take(&mut self, field: &[u8], value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match std::str::from_utf8(field).unwrap_or_default() {
            "dlq_original_stream" => self.stream = text(),
            "dlq_original_group" => self.group = text(),
            "dlq_original_id" => self.original_id = text(),
            "dlq_reason" => self.reason = text(),
            "dlq_error" => self.error = text(),
            "dlq_retry_count" => self.deliveries = text().parse().ok(),
            "dlq_moved_at" => self.moved_at = text(),
            ALL_FIELDS => match all_fields(value) {
                Some(fields) => self.fields.extend(fields),
                None => self.fields.push(pair(field, value)),
            },
            name => {
                let own = name.strip_prefix(OWN_FIELD_PREFIX).filter(|own| is_prefixed(own));
                self.fields.push(pair(own.map_or(field, str::as_bytes), value));
            }
        }
    }

    /// The fields with which the event goes back to its stream: its own, and of which entry it is the repetition.
    pub fn returned(&self) -> Vec<(Bytes, Bytes)> {
        with_origin(self.fields.clone(), &self.original_id)
    }

    /// The event, or why it can't be read; `None` if there is none.
    pub fn event(&self) -> Result<Option<Event>, DecodeError> {
        let fields = self.fields.iter().map(|(field, value)| (field.as_ref(), value.as_ref()));
        decode(&self.stream, fields).map(Decoded::event)
    }
}

/// Adds `replay_of` to an event that has none of its own.
pub(crate) fn with_origin(mut fields: Vec<(Bytes, Bytes)>, id: &str) -> Vec<(Bytes, Bytes)> {
    let has_origin = fields.iter().any(|(field, value)| field == REPLAY_OF.as_bytes() && !value.is_empty());
    if !has_origin && !id.is_empty() {
        fields.retain(|(field, _)| field != REPLAY_OF.as_bytes());
        fields.push(pair(REPLAY_OF.as_bytes(), id.as_bytes()));
    }
    fields
}

fn pair(field: &[u8], value: &[u8]) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(field), Bytes::copy_from_slice(value))
}

/// Whether an event's own field of this name has a prefix among the dead letters.
fn is_prefixed(own: &str) -> bool {
    LETTER_FIELDS.contains(&own) || own == ALL_FIELDS || own.starts_with(OWN_FIELD_PREFIX)
}

/// Names and values in turn; texts may hold bytes that are not UTF-8.
fn all_fields(json: &[u8]) -> Option<Vec<(Bytes, Bytes)>> {
    let texts: Vec<Text> = serde_json::from_slice(json).ok()?;
    let (pairs, rest) = texts.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[field, value]| (field.0.clone(), value.0.clone())).collect())
}

/// A JSON string as bytes.
struct Text(Bytes);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsBytes;
        impl Visitor<'_> for AsBytes {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(Bytes::copy_from_slice(bytes)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Bytes::copy_from_slice(text.as_bytes())))
            }
        }
        deserializer.deserialize_bytes(AsBytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&[u8], &[u8])]) -> Entry {
        Entry::new(EntryId::new(7, 0), fields.iter().map(|(field, value)| pair(field, value)).collect())
    }

    fn names(fields: &[(Bytes, Bytes)]) -> Vec<String> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        fields.iter().map(|(field, value)| format!("{}={}", text(field), text(value))).collect()
    }

    #[test]
    fn an_event_gets_its_own_fields_back_and_keeps_those_that_only_look_like_ours() {
        let letter = Letter::of(
            "s",
            &entry(&[
                (b"event", b"x"),
                (b"dlq_mine", b"1"),
                (b"dlq_field_mine", b"2"),
                (b"dlq_field_dlq_reason", b"its own"),
                (b"dlq_field_dlq_field_dlq_error", b"3"),
                (b"dlq_field_dlq_original_fields", b"[]"),
                (b"dlq_original_id", b"5-0"),
                (b"dlq_reason", b"rejected"),
            ]),
        );
        let own = [
            "event=x",
            "dlq_mine=1",
            "dlq_field_mine=2",
            "dlq_reason=its own",
            "dlq_field_dlq_error=3",
            "dlq_original_fields=[]",
        ];
        assert_eq!(names(&letter.fields), own);
        assert_eq!((letter.stream.as_str(), letter.reason.as_str()), ("s", "rejected"));
        assert_eq!(names(&letter.returned())[6], "replay_of=5-0");
    }

    #[test]
    fn the_first_origin_is_kept_over_replays() {
        let again = entry(&[(b"event", b"x"), (b"replay_of", b"1-0"), (b"dlq_original_id", b"5-0")]);
        assert_eq!(names(&Letter::of("s", &again).returned()), ["event=x", "replay_of=1-0"]);
        let empty = entry(&[(b"replay_of", b""), (b"dlq_original_id", b"5-0")]);
        assert_eq!(names(&Letter::of("s", &empty).returned()), ["replay_of=5-0"]);
    }

    #[test]
    fn packed_fields_are_unpacked_whatever_bytes_they_hold() {
        let packed = entry(&[(ALL_FIELDS.as_bytes(), b"[\"a\",\"\xff\\u0000\\/\",\"b\",\"\"]")]);
        let letter = Letter::of("s", &packed);
        assert_eq!(letter.fields, [pair(b"a", b"\xff\0/"), pair(b"b", b"")]);
        let own = entry(&[(ALL_FIELDS.as_bytes(), b"not ours")]);
        assert_eq!(names(&Letter::of("s", &own).fields), ["dlq_original_fields=not ours"]);
    }
}
