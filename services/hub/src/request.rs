//! What clients of the hub may write in paths, queries and bodies.

use std::collections::HashMap;

use axum::{
    RequestPartsExt as _,
    extract::{FromRequestParts, Path},
};
use http::request::Parts;
use synapse_chassis::{error::ApiError, request::cut};
use synapse_rs::{EntryId, stream};

/// The longest text of a moment or a reason, in bytes.
pub const MAX_TEXT_BYTES: usize = 512;
/// How many entries or letters a replay may be limited to.
pub const MAX_LIMIT: u64 = 1_000_000_000;

/// The names in a path, `{stream}` and `{group}`, percent-decoded.
#[derive(Debug)]
pub struct Names {
    /// The stream.
    pub stream: String,
    /// The group; empty where the path has none.
    pub group: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Path(mut names) = parts
            .extract::<Path<HashMap<String, String>>>()
            .await
            .map_err(|error| ApiError::bad_request("invalid_path", error.body_text()))?;
        let stream = names.remove("stream").unwrap_or_default();
        check_name("stream", &stream)?;
        let group = names.remove("group");
        if let Some(group) = &group {
            check_name("group", group)?;
        }
        Ok(Self { stream, group: group.unwrap_or_default() })
    }
}

/// Refuses names that no stream or group can sensibly have.
pub fn check_name(what: &'static str, name: &str) -> Result<(), ApiError> {
    let code = if what == "group" { "invalid_group" } else { "invalid_stream" };
    stream::check_name(what, name).map_err(|error| ApiError::bad_request(code, error.to_string()))
}

/// Refuses streams that only the platform itself writes to.
pub fn check_writable(stream: &str) -> Result<(), ApiError> {
    stream::check_writable(stream).map_err(|error| ApiError::bad_request("invalid_stream", error.to_string()))
}

/// Refuses to replay nothing at all, or more than any stream has.
pub fn check_limit(limit: Option<u64>) -> Result<(), ApiError> {
    match limit {
        Some(limit) if !(1..=MAX_LIMIT).contains(&limit) => Err(ApiError::bad_request(
            "invalid_request",
            format!("limit is {limit}, expected 1 to {MAX_LIMIT}"),
        )),
        _ => Ok(()),
    }
}

/// Refuses a text that is longer than any that means something.
pub fn check_text(name: &str, text: &str) -> Result<(), ApiError> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    let message = format!("{name} has {} bytes, expected {MAX_TEXT_BYTES} at most", text.len());
    Err(ApiError::bad_request("invalid_request", message))
}

/// An entry id, or the first one that a time can have: `1795424694440-0`, `2026-11-23T09:00:00Z`; a date is its midnight,
/// UTC.
pub fn moment(name: &str, text: &str) -> Result<EntryId, ApiError> {
    check_text(name, text)?;
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    // A blank is what a + in a query means.
    let time = text.replace(' ', "+").parse::<jiff::Timestamp>().ok().or_else(|| midnight(text));
    let ms = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    ms.map(|ms| EntryId::new(ms, 0)).ok_or_else(|| {
        ApiError::bad_request(
            "invalid_id",
            format!(
                "{name} is {:?}, expected an entry id (1795424694440-0) or a time (2026-11-23T09:00:00Z)",
                cut(text)
            ),
        )
    })
}

/// The beginning of a date, `2026-11-23`.
fn midnight(text: &str) -> Option<jiff::Timestamp> {
    let is_date = text.len() == "2026-11-23".len();
    is_date.then(|| format!("{text}T00:00:00Z").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T, ApiError>) -> &'static str {
        result.err().expect("refused").code
    }

    #[test]
    fn names_have_up_to_512_bytes_and_no_control_characters() {
        for name in ["s", "a/b", "ü%", &"x".repeat(512)] {
            assert!(check_name("stream", name).is_ok(), "{name}");
        }
        for name in ["", "a\0b", "a\nb", &"x".repeat(513)] {
            assert_eq!(code(check_name("stream", name)), "invalid_stream", "{name:?}");
        }
        assert_eq!(code(check_name("group", "")), "invalid_group");
        assert_eq!(code(check_writable("s:dlq")), "invalid_stream");
        assert_eq!(code(check_writable("synapse:trimmer")), "invalid_stream");
    }

    #[test]
    fn moments_are_ids_or_times() {
        assert_eq!(moment("after", "5-3").unwrap(), EntryId::new(5, 3));
        assert_eq!(moment("after", "5").unwrap(), EntryId::new(5, 0));
        let time = EntryId::new(1_795_424_400_000, 0);
        assert_eq!(moment("after", "2026-11-23T09:00:00Z").unwrap(), time);
        assert_eq!(moment("after", "2026-11-23T10:00:00 01:00").unwrap(), time);
        for text in ["", "x", "5-", "-5", "1969-01-01T00:00:00Z", "99999999999999999999999"] {
            assert_eq!(code(moment("after", text)), "invalid_id", "{text}");
        }
    }
}
