//! An event while it is read.

use serde_json::{Map, Value};

use super::{DecodeError, field};
use crate::event::{
    Event, infer,
    schema::{self, EventSchema},
};

/// Takes the fields of an event as they come and gives them their types.
pub(super) struct EventReader {
    schema: &'static EventSchema,
    fields: Map<String, Value>,
    /// The known fields there are, a bit each.
    present: u64,
    /// Those of them that came by their present name.
    canonical: u64,
    /// Where the next known field is looked for first.
    next: usize,
}

impl EventReader {
    /// An event of this name, which may be an older one, with room for so many fields.
    pub(super) fn new(stream: &str, name: &str, capacity: usize) -> Self {
        let name = schema::canonical_name(stream, name);
        let mut fields = Map::with_capacity(capacity);
        fields.insert("event".to_owned(), Value::from(name));
        Self { schema: schema::of(stream, name), fields, present: 0, canonical: 0, next: 0 }
    }

    /// A field's text; `is_string` if it was listed as text, which concerns unknown fields only.
    pub(super) fn text(&mut self, name: &str, text: &str, is_string: bool) -> Result<(), DecodeError> {
        if let Some(index) = self.known(name) {
            let known = &self.schema.fields[index];
            let value = field::from_text(known, text)
                .map_err(|mismatch| DecodeError::wrong_type(name, mismatch.found, known.kind))?;
            self.put(index, name, value);
        } else {
            let inferred = if is_string { None } else { infer(text) };
            self.fields.insert(name.to_owned(), inferred.unwrap_or_else(|| Value::from(text)));
        }
        Ok(())
    }

    /// A field of a JSON object; `null` takes nothing away.
    pub(super) fn json(&mut self, name: String, value: Value) -> Result<(), DecodeError> {
        if value.is_null() && (self.fields.contains_key(&name) || self.known(&name).is_some()) {
            return Ok(());
        }
        if let Some(index) = self.known(&name) {
            let known = &self.schema.fields[index];
            let value = field::from_json(known, value)
                .map_err(|mismatch| DecodeError::wrong_type(&name, mismatch.found, known.kind))?;
            self.put(index, &name, value);
        } else {
            self.fields.insert(name, value);
        }
        Ok(())
    }

    /// The event, once all its fields were given.
    pub(super) fn finish(mut self, stream: &str) -> Result<Event, DecodeError> {
        if let Some(field) = self.schema.missing(self.present) {
            let event = self.fields.get("event").and_then(Value::as_str).unwrap_or_default();
            return Err(DecodeError::Missing {
                stream: stream.to_owned(),
                event: event.to_owned(),
                field: field.name,
                expected: field.kind,
            });
        }
        for (field, value) in self.schema.defaults(self.present) {
            self.fields.insert(field.name.to_owned(), Value::Bool(value));
        }
        Ok(Event::from(self.fields))
    }

    fn known(&mut self, name: &str) -> Option<usize> {
        let index = self.schema.find(name.as_bytes(), self.next)?;
        self.next = index + 1;
        Some(index)
    }

    /// Sets a known field that came by `name`, or takes away what came before by that name.
    fn put(&mut self, index: usize, name: &str, value: Option<Value>) {
        let bit = 1 << index;
        let field = self.schema.fields[index].name;
        let is_canonical = field == name;
        let was_canonical = self.canonical & bit != 0;
        if was_canonical && !is_canonical {
            return;
        }
        if let Some(value) = value {
            self.fields.insert(field.to_owned(), value);
            self.present |= bit;
            self.canonical |= if is_canonical { bit } else { 0 };
        } else if self.present & bit != 0 && was_canonical == is_canonical {
            self.fields.shift_remove(field);
            self.present &= !bit;
            self.canonical &= !bit;
        }
    }
}
