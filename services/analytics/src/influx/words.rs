//! What a server says: in the bodies of its errors, and by `Retry-After`.

use std::time::Duration;

use http::{HeaderMap, header::RETRY_AFTER};
use serde::Deserialize;

/// How much of the server's words is passed on.
const MAX_WORDS_CHARS: usize = 500;
/// The longest pause a server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// The words of an error: of InfluxDB 1 `error`, of 2 `message`.
#[derive(Deserialize)]
struct Words {
    #[serde(alias = "message")]
    error: String,
}

/// What the server says, cut to what fits a message.
pub(super) fn words_of(body: &[u8]) -> String {
    let said = match serde_json::from_slice::<Words>(body) {
        Ok(words) => words.error,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let said = said.trim();
    match said.char_indices().nth(MAX_WORDS_CHARS) {
        // The cause stands at the end, behind the line that it is of.
        Some(_) => {
            let half = MAX_WORDS_CHARS / 2;
            let head: String = said.chars().take(half).collect();
            let tail: Vec<char> = said.chars().rev().take(half).collect();
            head + " … " + &tail.into_iter().rev().collect::<String>()
        }
        None => said.to_owned(),
    }
}

/// Whether a limit of InfluxDB 1 is meant. Names of events are quoted behind that.
pub(super) fn is_of_a_limit(words: &str) -> bool {
    let words = words.strip_prefix("partial write: ").unwrap_or(words);
    words.starts_with("max-series-per-database limit exceeded")
        || words.starts_with("max-values-per-tag limit exceeded")
}

/// How many points it left out, where the others are stored: `partial write: … dropped=3`.
pub(super) fn dropped(words: &str) -> Option<usize> {
    words.contains("partial write").then(|| words.rsplit_once("dropped=")?.1.trim().parse().ok()).flatten()
}

/// When to ask again: in so many seconds, or at a time.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let time = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        let left = time.as_millisecond().saturating_sub(jiff::Timestamp::now().as_millisecond());
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_in_seconds_or_until_a_time() {
        let pause = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(pause("7"), Some(Duration::from_secs(7)));
        assert_eq!(pause("99999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(pause("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(pause("soon"), None);
    }

    #[test]
    fn words_are_those_of_either_version_and_keep_their_end() {
        assert_eq!(words_of(br#"{"error":"no"}"#), "no");
        assert_eq!(words_of(br#"{"code":"invalid","message":"no"}"#), "no");
        assert_eq!(words_of(b"<html>"), "<html>");
        let long = words_of(format!("unable to parse '{}': bad number", "x".repeat(10_000)).as_bytes());
        assert!(long.len() < 600 && long.starts_with("unable") && long.ends_with("bad number"), "{long}");
        assert_eq!(dropped("partial write: field type conflict dropped=3"), Some(3));
        assert_eq!(dropped("unable to parse 'x dropped=3'"), None);
    }
}
