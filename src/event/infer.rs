//! What the text of an unknown field means.

use serde_json::{Number, Value};

/// The value of an unknown field whose text is this: JSON objects and arrays, `true`, `false`,
/// `null`, and numbers that we would write with the very same text. `None` if it is just text, as
/// `007`, `1.50` and `12345678901234567890123` are.
///
/// The writer asks the same question to find strings that would be read back as something else.
///
/// ```
/// use serde_json::json;
/// use synapse_rs::event::infer;
///
/// assert_eq!(infer("1.5"), Some(json!(1.5)));
/// assert_eq!(infer("[1]"), Some(json!([1])));
/// assert_eq!(infer("1.50"), None);
/// ```
pub fn infer(text: &str) -> Option<Value> {
    match text.as_bytes().first()? {
        b'{' | b'[' => serde_json::from_str(text).ok(),
        b'-' | b'0'..=b'9' => number(text).map(Value::Number),
        b't' => (text == "true").then_some(Value::Bool(true)),
        b'f' => (text == "false").then_some(Value::Bool(false)),
        b'n' => (text == "null").then_some(Value::Null),
        _ => None,
    }
}

/// A number whose own text is this one.
fn number(text: &str) -> Option<Number> {
    /// Longer than any number we write: `-1.7976931348623157e+308`.
    const LONGEST: usize = 24;
    if text.len() > LONGEST {
        return None;
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if digits.is_empty() || (digits.starts_with('0') && text != "0") {
            return None;
        }
        return text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from)).ok();
    }
    let number: f64 = text.parse().ok()?;
    if !number.is_finite() || zmij::Buffer::new().format_finite(number) != text {
        return None;
    }
    Number::from_f64(number)
}

#[cfg(test)]
mod tests;
