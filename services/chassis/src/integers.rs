//! Integers in JSON that no integer here can hold.
//!
//! The reader of JSON makes them floating-point numbers, near to what was meant but another number: an id would be lost.

/// An integer below −2⁶³ or above 2⁶⁴−1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has the integer {digits}, which no integer here can hold (-2^63 to 2^64-1); send it as text")]
pub struct TooLarge {
    /// Of a list of events, which one: counted from 0.
    pub index: usize,
    /// In which of its fields.
    pub field: String,
    /// The integer.
    pub digits: String,
}

/// The first in a body that was read as JSON already: an object, or a list of objects.
pub fn too_large(json: &[u8]) -> Option<TooLarge> {
    let is_list = json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let inside = if is_list { 2 } else { 1 };
    let (mut depth, mut index, mut at) = (0, 0, 0);
    let (mut text, mut field): (&[u8], &[u8]) = (&[], &[]);
    while let Some(&byte) = json.get(at) {
        let rest = &json[at..];
        let length = match byte {
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => rest.iter().take_while(|byte| is_of_number(**byte)).count(),
            _ => 1,
        };
        match byte {
            b'"' => text = &rest[..length],
            b':' if depth == inside => field = text,
            b',' if depth + 1 == inside => index += 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'-' | b'0'..=b'9' if !is_held(&rest[..length]) => {
                let digits = String::from_utf8_lossy(&rest[..length.min(40)]).into_owned();
                return Some(TooLarge {
                    index,
                    field: serde_json::from_slice(field).unwrap_or_default(),
                    digits,
                });
            }
            _ => {}
        }
        at += length;
    }
    None
}

/// The length of the string that this begins with, both quotes included.
fn string_length(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

const fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Whether this is no integer, or one that can be held.
fn is_held(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    // Shorter ones always can.
    if digits.len() < 19 || !digits.iter().all(u8::is_ascii_digit) {
        return true;
    }
    let text = std::str::from_utf8(number).unwrap_or_default();
    text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Option<(usize, String)> {
        serde_json::from_str::<serde_json::Value>(json).expect("JSON");
        too_large(json.as_bytes()).map(|found| (found.index, found.field))
    }

    #[test]
    fn an_integer_that_fits_or_is_none_is_nothing_special() {
        for json in [
            r#"{"n": 18446744073709551615, "m": -9223372036854775808}"#,
            r#"{"n": 18446744073709551616.0, "m": 1e30, "k": 123456789012345678901E-3}"#,
            r#"{"n": "18446744073709551616", "\"m": "\\\",18446744073709551616"}"#,
            r#"{"18446744073709551616": 1}"#,
            "[]",
            " [ ] ",
        ] {
            assert_eq!(found(json), None, "{json}");
        }
    }

    #[test]
    fn one_that_does_not_is_found_with_its_event_and_field() {
        let at = |index, field: &str| Some((index, field.to_owned()));
        assert_eq!(found(r#"{"a": 1, "n": 18446744073709551616}"#), at(0, "n"));
        assert_eq!(found(r#" {"n": -9223372036854775809} "#), at(0, "n"));
        let list = r#"[{"a": [1, {"b": 2}]}, {"c": "x", "\u00fc\"": [{"d": [0, 100000000000000000000]}]}]"#;
        assert_eq!(found(list), at(1, "ü\""));
    }
}
