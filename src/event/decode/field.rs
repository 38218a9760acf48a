//! A known field's value, from whatever a publisher wrote.

use serde_json::{Map, Value};

use crate::event::{
    excerpt, python_literal,
    schema::{FieldSchema, Kind},
    timestamp::Timestamp,
};

/// What a value is that is not of its field's type, for the message.
pub(super) struct Mismatch {
    pub(super) found: String,
}

/// The value of a field's text; `None` if the text means that there is no value.
pub(super) fn from_text(field: &FieldSchema, text: &str) -> Result<Option<Value>, Mismatch> {
    if field.is_absent(text.as_bytes()) {
        return Ok(None);
    }
    let value = match field.kind {
        Kind::String => Some(Value::from(text)),
        Kind::Timestamp => Timestamp::parse(text).map(|timestamp| Value::from(timestamp.as_str())),
        _ if !field.required && matches!(text, "None" | "null") => return Ok(None),
        Kind::U64 => unsigned(text).map(Value::from),
        Kind::F64 => finite(text).map(Value::from),
        Kind::Bool => boolean(text).map(Value::from),
        Kind::Object => object(text).map(Value::from),
    };
    value.map(Some).ok_or_else(|| Mismatch { found: format!("the text {}", excerpt::quoted(text)) })
}

/// The value of a field of a JSON object: its own type, or text as above. A number where text is
/// expected is taken by its digits.
pub(super) fn from_json(field: &FieldSchema, value: Value) -> Result<Option<Value>, Mismatch> {
    let mismatch = |value: &Value| Mismatch { found: excerpt::described(value) };
    match (field.kind, value) {
        (_, Value::Null) => Ok(None),
        (_, Value::String(text)) => from_text(field, &text),
        (_, Value::Number(number)) => {
            let value = match field.kind {
                Kind::String => Some(Value::from(number.to_string())),
                Kind::F64 => number.as_f64().map(Value::from),
                Kind::U64 => number.as_u64().or_else(|| number.as_f64().and_then(integral)).map(Value::from),
                Kind::Bool => number.as_f64().and_then(truth).map(Value::from),
                Kind::Object | Kind::Timestamp => None,
            };
            value.map(Some).ok_or_else(|| mismatch(&Value::Number(number)))
        }
        (Kind::Bool, value @ Value::Bool(_)) | (Kind::Object, value @ Value::Object(_)) => Ok(Some(value)),
        (_, value) => Err(mismatch(&value)),
    }
}

/// An object as JSON, or as Python's `repr`.
pub(super) fn object(text: &str) -> Option<Map<String, Value>> {
    if let Ok(fields) = serde_json::from_str(text) {
        return Some(fields);
    }
    match python_literal::parse(text) {
        Some(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

fn unsigned(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| finite(text).and_then(integral))
}

/// A float without a fraction as the integer it is.
fn integral(number: f64) -> Option<u64> {
    /// 2⁶⁴, the first float that is too great.
    const END: f64 = 18_446_744_073_709_551_616.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked by the condition")]
    (number.fract() == 0.0 && (0.0..END).contains(&number)).then_some(number as u64)
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" => Some(true),
        "0" => Some(false),
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn truth(number: f64) -> Option<bool> {
    match number {
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    }
}
