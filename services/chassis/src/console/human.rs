//! Figures as people read them.

use std::time::Duration;

use jiff::{Timestamp, ZonedDateTime, tz::TimeZone};

/// A span in its two largest units at most: `450ms`, `12s`, `3m 20s`, `5h 2m`, `12d 3h`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (large, unit, small, small_unit) = match seconds {
        0 => return format!("{}ms", span.as_millis()),
        1..60 => return format!("{seconds}s"),
        60..3_600 => (seconds / 60, 'm', seconds % 60, 's'),
        3_600..86_400 => (seconds / 3_600, 'h', seconds / 60 % 60, 'm'),
        _ => (seconds / 86_400, 'd', seconds / 3_600 % 24, 'h'),
    };
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit} {small}{small_unit}") }
}

/// How long ago a time in milliseconds since 1970 was: `3m 20s ago`, `now`, or `in 5s` for a clock ahead of ours.
pub fn ago(ms: u64, now: Timestamp) -> String {
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let distance = span(Duration::from_millis(now_ms.abs_diff(ms)));
    match now_ms.abs_diff(ms) {
        0..1_000 => "now".to_owned(),
        _ if ms > now_ms => format!("in {distance}"),
        _ => format!("{distance} ago"),
    }
}

/// How old something of a time in milliseconds since 1970 is: `3m 20s`; `0ms` for a clock ahead of ours.
pub fn age(ms: u64, now: Timestamp) -> String {
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    span(Duration::from_millis(now_ms.saturating_sub(ms)))
}

/// Bytes in the largest binary unit below them: `512 B`, `1.4 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// A count with its thousands apart: `1,234,567`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count of things: `1 event`, `2,000 events`, `3 entries`.
pub fn counted(amount: u64, noun: &str) -> String {
    let amount_text = count(amount);
    match noun.strip_suffix('y') {
        _ if amount == 1 => format!("{amount_text} {noun}"),
        Some(stem) => format!("{amount_text} {stem}ies"),
        None => format!("{amount_text} {noun}s"),
    }
}

/// The time of day in the zone of the reader, with the date where it is another day than today's.
pub fn clock(ms: u64, now: &ZonedDateTime) -> String {
    let zone: TimeZone = now.time_zone().clone();
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let Some(time) = time.map(|time| time.to_zoned_datetime(zone)) else { return "(no time)".to_owned() };
    let format = if time.date() == now.date() { "%H:%M:%S%.3f" } else { "%Y-%m-%d %H:%M:%S%.3f" };
    time.strftime(format).to_string()
}

#[cfg(test)]
mod tests;
