//! The pairs of an entry: where a field belongs, what is too much, and how it stands in the request.

use std::ops::Range;

use super::{
    super::{InvalidEvent, JsonKind, MAX_FIELD_NAME_BYTES, STRINGS_FIELD, json, resp},
    EntryEncoder,
};
use crate::event::{excerpt, schema::FieldSchema};

/// Where a field belongs.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Known(usize, &'static FieldSchema),
    Unknown,
}

/// Where in the body the texts of a pair are.
pub(super) struct Pair {
    pub name: Range<usize>,
    pub value: Range<usize>,
}

impl EntryEncoder<'_> {
    pub(super) fn push_json<E: From<InvalidEvent>>(
        &mut self,
        field: &str,
        kind: JsonKind,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.admit(field, 0)?;
        resp::push_bulk(self.body, field.as_bytes());
        let text = resp::push_bulk_with(self.body, write)?;
        self.admit(field, text.len())?;
        let len = text.len();
        json::check(field, &self.body[text], kind)?;
        self.count(field, len);
        Ok(())
    }

    pub(super) fn push_strings(&mut self) -> Result<(), InvalidEvent> {
        let Some(commas) = self.strings.len().checked_sub(1) else { return Ok(()) };
        let len = self.strings.iter().map(Range::len).sum::<usize>() + commas;
        self.admit(STRINGS_FIELD, len)?;
        resp::push_bulk(self.body, STRINGS_FIELD.as_bytes());
        resp::push_head(self.body, len);
        for (index, name) in std::mem::take(&mut self.strings).into_iter().enumerate() {
            if index > 0 {
                self.body.push(b',');
            }
            self.body.extend_from_within(name);
        }
        self.body.extend_from_slice(b"\r\n");
        self.count(STRINGS_FIELD, len);
        Ok(())
    }

    /// Where a field belongs; refused if it can't be written.
    #[inline]
    pub(super) fn place(&mut self, field: &str) -> Result<Place, InvalidEvent> {
        if let Some(index) = self.schema.find(field.as_bytes(), self.next) {
            self.next = index + 1;
            let known = &self.schema.fields[index];
            return match self.seen & (1 << index) {
                0 => Ok(Place::Known(index, known)),
                _ => Err(InvalidEvent::Repeated { field: known.name }),
            };
        }
        if field.is_empty() || field.len() > MAX_FIELD_NAME_BYTES {
            return Err(InvalidEvent::FieldName {
                name: excerpt::cut(field),
                bytes: field.len(),
                limit: MAX_FIELD_NAME_BYTES,
            });
        }
        if field == STRINGS_FIELD {
            return Err(InvalidEvent::Reserved { field: STRINGS_FIELD });
        }
        Ok(Place::Unknown)
    }

    pub(super) fn mark(&mut self, index: usize) {
        self.seen |= 1 << index;
    }

    #[inline]
    pub(super) fn push_known(
        &mut self,
        index: usize,
        known: &FieldSchema,
        text: &[u8],
    ) -> Result<(), InvalidEvent> {
        self.mark(index);
        self.push(known.name, text).map(drop)
    }

    /// Appends a pair.
    #[inline]
    pub(super) fn push(&mut self, field: &str, text: &[u8]) -> Result<Pair, InvalidEvent> {
        self.admit(field, text.len())?;
        let name = resp::push_bulk(self.body, field.as_bytes());
        let value = resp::push_bulk(self.body, text);
        self.count(field, text.len());
        Ok(Pair { name, value })
    }

    /// Refuses a pair for which there is no room, before it is written.
    #[inline]
    pub(super) fn admit(&self, field: &str, len: usize) -> Result<(), InvalidEvent> {
        if self.fields >= self.limits.max_fields {
            let limit = self.limits.max_fields;
            return Err(InvalidEvent::TooManyFields { field: excerpt::cut(field), limit });
        }
        let bytes = self.bytes + field.len() + len;
        let limit = self.limits.max_bytes.min(resp::MAX_BULK_BYTES);
        if bytes > limit {
            return Err(InvalidEvent::TooLarge { field: excerpt::cut(field), bytes, limit });
        }
        Ok(())
    }

    fn count(&mut self, field: &str, len: usize) {
        self.fields += 1;
        self.bytes += field.len() + len;
    }
}
