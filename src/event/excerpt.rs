//! Values in messages: what they are and how they begin.

use serde_json::Value;

/// The most characters of a value that a message shows.
const LONGEST: usize = 60;

/// A text in quotes, cut short.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A text as it is, cut short; for names of fields.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Bytes that may not be UTF-8, in quotes, cut short.
pub(crate) fn quoted_bytes(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(4 * LONGEST)];
    quoted(&String::from_utf8_lossy(head))
}

/// What a JSON value is and how it begins: `the text "abc"`, `the number 5`.
pub(crate) fn described(value: &Value) -> String {
    match value {
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {}", quoted(text)),
        Value::Null | Value::Array(_) | Value::Object(_) => kind_of(value).to_owned(),
    }
}

/// What a JSON value is.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
