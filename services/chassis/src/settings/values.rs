//! Reading durations and sizes from text.

use std::time::Duration;

/// What a duration may look like.
pub(super) const DURATION_FORM: &str = "a duration such as 500ms, 10s, 5m, 24h, 7d, or a number of seconds";
/// What a size may look like.
pub(super) const BYTES_FORM: &str = "a size such as 65536, 64KiB, 1MiB or 2GiB";

/// Reads `500ms`, `10s`, `5m`, `24h`, `7d`, or plain seconds; fractions are allowed.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// Reads a whole number of bytes, KiB, MiB or GiB.
pub fn parse_bytes(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

/// `10s` is `("10", "s")`; nothing that does not start with a digit is a number.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| (&text[..end], text[end..].trim_start()))
}
