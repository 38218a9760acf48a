//! Text in names and tags, of which the protocol can't write everything.
//!
//! Written as `%` and two digits of hexadecimal: control characters; a backslash where it would escape what follows; a `#`
//! that would make a comment of the line. And a `%` where it would look like one of these.

use std::borrow::Cow;

/// Where in a line a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the beginning.
    Measurement,
    /// The name of a tag or field, or the value of a tag.
    Name,
}

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Writes a text so that every server reads it back as the same one.
pub fn write(buffer: &mut Vec<u8>, text: &str, place: Place) {
    put(buffer, text, place, b"\\");
}

/// The text as it stands in the store.
pub fn stored(text: &str, place: Place) -> String {
    let mut stored = Vec::with_capacity(text.len());
    put(&mut stored, text, place, b"");
    String::from_utf8(stored).expect("whole characters are replaced by others")
}

fn put(buffer: &mut Vec<u8>, text: &str, place: Place, escape: &[u8]) {
    let bytes = text.as_bytes();
    // Mostly there is nothing to be seen to.
    if !bytes.iter().any(|byte| is_special(*byte)) {
        buffer.extend_from_slice(bytes);
        return;
    }
    for (index, &byte) in bytes.iter().enumerate() {
        let rest = &bytes[index + 1..];
        let is_coded = match byte {
            b'\\' => matches!(rest.first(), None | Some(b'\\' | b',' | b'=' | b' ' | b'"')),
            b'%' => coded(rest).is_some(),
            b'#' => index == 0 && place == Place::Measurement,
            _ => byte.is_ascii_control(),
        };
        if is_coded {
            buffer.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            continue;
        }
        if matches!(byte, b',' | b' ') || (byte == b'=' && place == Place::Name) {
            buffer.extend_from_slice(escape);
        }
        buffer.push(byte);
    }
}

/// The text that was written.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        if let Some(byte) = coded(&rest.as_bytes()[at + 1..]) {
            decoded.push(char::from(byte));
            rest = &rest[at + 3..];
        } else {
            decoded.push('%');
            rest = &rest[at + 1..];
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

fn is_special(byte: u8) -> bool {
    byte.is_ascii_control() || matches!(byte, b',' | b' ' | b'=' | b'\\' | b'%' | b'#')
}

/// The character that these digits behind a `%` stand for, if they can.
fn coded(digits: &[u8]) -> Option<u8> {
    let value = |digit: &u8| DIGITS.iter().position(|known| known == digit);
    let byte = u8::try_from(value(digits.first()?)? * 16 + value(digits.get(1)?)?).ok()?;
    (byte.is_ascii_control() || matches!(byte, b'\\' | b'%' | b'#')).then_some(byte)
}
