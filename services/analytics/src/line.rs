//! InfluxDB's line protocol: one point as one line of text.
//!
//! The protocol has no way to write everything. A backslash can't be escaped in names and tags (InfluxDB 1 and 2 take it as
//! it is, VictoriaMetrics and InfluxDB 3 read two as one), so that one before a comma, a blank, an equals sign, a quote or the
//! end would be taken for an escape; and a line break ends the line. These few are [coded](code): `%0A`, `%5C`. What reads the
//! points back [decodes](code::decode) them; all other text stands in the store as it is.

pub mod code;
mod sample;

use std::io::Write as _;

pub use sample::{
    INFERENCE, TRAINING, TooLarge, USER, encode, encode_metric_name, is_own_field, metric_of_field,
};

use code::{Place, write};

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number; NaN and infinities are left out.
    Float(f64),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
    /// Text, as it is.
    Text(&'a str),
}

/// A line on its way into a buffer: measurement, then tags, then fields.
#[derive(Debug)]
pub struct Line<'a> {
    buffer: &'a mut Vec<u8>,
    /// Where the line begins.
    start: usize,
    has_field: bool,
}

impl<'a> Line<'a> {
    /// Begins a line behind what is there.
    pub fn begin(buffer: &'a mut Vec<u8>, measurement: &str) -> Self {
        let start = buffer.len();
        write(buffer, measurement, Place::Measurement);
        Self { buffer, start, has_field: false }
    }

    /// Adds a tag; an empty one is the same as none. In the order of their names servers take them fastest.
    pub fn tag(&mut self, name: &str, value: &str) {
        debug_assert!(!self.has_field, "tags come before fields");
        if value.is_empty() {
            return;
        }
        self.buffer.push(b',');
        write(self.buffer, name, Place::Name);
        self.buffer.push(b'=');
        write(self.buffer, value, Place::Name);
    }

    /// Adds a field.
    pub fn field(&mut self, name: &str, value: Value<'_>) {
        if matches!(value, Value::Float(number) if !number.is_finite()) {
            return;
        }
        self.buffer.push(if self.has_field { b',' } else { b' ' });
        self.has_field = true;
        write(self.buffer, name, Place::Name);
        self.buffer.push(b'=');
        match value {
            Value::Float(number) => {
                self.buffer.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
            }
            Value::Integer(number) => {
                self.buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                self.buffer.push(b'i');
            }
            Value::Boolean(answer) => {
                self.buffer.extend_from_slice(if answer { b"true" } else { b"false" });
            }
            Value::Text(text) => write_text(self.buffer, text),
        }
    }

    /// Whether it has a field, without which it would be no point.
    pub fn has_field(&self) -> bool {
        self.has_field
    }

    /// Ends the line with the point's time in nanoseconds since 1970. `false`, and nothing written, if it has no field.
    pub fn end(self, time_ns: i64) -> bool {
        if !self.has_field {
            self.buffer.truncate(self.start);
            return false;
        }
        // Writing to memory.
        let _ = writeln!(self.buffer, " {time_ns}");
        true
    }

    /// Takes back what was written.
    pub fn abandon(self) {
        self.buffer.truncate(self.start);
    }
}

/// Text in quotes; line breaks may be in it.
fn write_text(buffer: &mut Vec<u8>, text: &str) {
    buffer.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            buffer.push(b'\\');
        }
        buffer.push(byte);
    }
    buffer.push(b'"');
}

#[cfg(test)]
mod tests;
