//! Texts: those of known fields, and those that readers would take for something else.

use serde_json::Value;

use super::{
    super::{InvalidEvent, MAX_EVENT_ID_BYTES},
    EntryEncoder,
};
use crate::event::{
    excerpt, infer,
    schema::{self, FieldSchema, Kind},
    timestamp::Timestamp,
};

impl EntryEncoder<'_> {
    pub(super) fn known_str(
        &mut self,
        index: usize,
        known: &'static FieldSchema,
        text: &str,
    ) -> Result<(), InvalidEvent> {
        match known.kind {
            Kind::String if known.name == "event_id" => {
                if text.len() > MAX_EVENT_ID_BYTES {
                    return Err(InvalidEvent::EventId { bytes: text.len(), limit: MAX_EVENT_ID_BYTES });
                }
                self.mark(index);
                self.event_id = self.push(known.name, text.as_bytes())?.value;
                Ok(())
            }
            Kind::String if known.name == "event" => {
                if schema::canonical_name(self.stream, text) == self.event {
                    return Ok(());
                }
                Err(InvalidEvent::Repeated { field: "event" })
            }
            Kind::String => self.push_known(index, known, text.as_bytes()),
            Kind::Timestamp => match Timestamp::parse(text) {
                Some(timestamp) => self.push_known(index, known, timestamp.as_str().as_bytes()),
                None => Err(InvalidEvent::wrong_type(known.name, &Value::from(text), known.kind)),
            },
            Kind::U64 | Kind::F64 | Kind::Bool | Kind::Object => {
                Err(InvalidEvent::wrong_type(known.name, &Value::from(text), known.kind))
            }
        }
    }

    pub(super) fn unknown_str(&mut self, field: &str, text: &str) -> Result<(), InvalidEvent> {
        self.admit(field, text.len())?;
        let read_as = infer(text);
        if let Some(read_as) = &read_as
            && field.contains(',')
        {
            return Err(InvalidEvent::Comma {
                field: excerpt::cut(field),
                read_as: excerpt::kind_of(read_as),
            });
        }
        let pair = self.push(field, text.as_bytes())?;
        if read_as.is_some() {
            self.strings.push(pair.name);
        }
        Ok(())
    }
}
