//! Objects and lists as JSON text.

use serde_json::Value;

use super::{InvalidEvent, JsonKind, MAX_JSON_DEPTH};
use crate::event::excerpt;

/// Appends a value.
pub(super) fn write(field: &str, value: &Value, body: &mut Vec<u8>) -> Result<(), InvalidEvent> {
    serde_json::to_writer(body, value).map_err(|error| InvalidEvent::MalformedJson {
        field: excerpt::cut(field),
        expected: "a value",
        reason: error.to_string(),
    })
}

/// Refuses JSON that readers would not take for what it is: not of its kind, or too deep.
pub(super) fn check(field: &str, text: &[u8], kind: JsonKind) -> Result<(), InvalidEvent> {
    check_form(field, text, kind)?;
    debug_assert!(
        serde_json::from_slice::<Value>(text).is_ok(),
        "the JSON written for the field {field} is malformed"
    );
    Ok(())
}

fn check_form(field: &str, text: &[u8], kind: JsonKind) -> Result<(), InvalidEvent> {
    let ends = match kind {
        JsonKind::Object => (b'{', b'}'),
        JsonKind::Array => (b'[', b']'),
    };
    if text.len() < 2 || (text[0], text[text.len() - 1]) != ends {
        return Err(InvalidEvent::MalformedJson {
            field: excerpt::cut(field),
            expected: kind.described(),
            reason: format!("it begins with {}", excerpt::quoted_bytes(text)),
        });
    }
    if depth(text) > MAX_JSON_DEPTH {
        return Err(InvalidEvent::TooDeep { field: excerpt::cut(field), limit: MAX_JSON_DEPTH });
    }
    Ok(())
}

/// Refuses text that is not JSON of its kind.
pub(super) fn validate(field: &str, text: &str, kind: JsonKind) -> Result<(), InvalidEvent> {
    check_form(field, text.as_bytes(), kind)?;
    match serde_json::from_str::<Value>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(InvalidEvent::MalformedJson {
            field: excerpt::cut(field),
            expected: kind.described(),
            reason: error.to_string(),
        }),
    }
}

/// How many objects and lists lie within each other at the deepest place; 0 if there are too few
/// brackets to matter.
fn depth(text: &[u8]) -> usize {
    let opening = text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if opening <= MAX_JSON_DEPTH {
        return 0;
    }
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
