//! Moments as people give them on the command line: an entry id, a time, a date, a span before now, `today`.

use jiff::{Timestamp, ToSpan as _, ZonedDateTime};
use synapse_rs::EntryId;

/// How a date is written.
const DATE: &str = "2026-11-23";

/// Why a moment can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoment {
    /// Neither of the forms.
    #[error(
        "{0:?} is neither an entry id nor a time: give an id (1795424694440-0), a time with its offset \
         (2026-11-23T09:00:00Z), a date for its midnight UTC (2026-11-23), a span before now (10m, 2h, 1d) or today"
    )]
    Unknown(String),
    /// Of the right form, but before 1970 or past what a clock can show.
    #[error("{0:?} lies outside what a stream can hold: entries start at 1970-01-01")]
    OutOfRange(String),
}

/// The position right before a moment: every entry after it was appended at that moment or later.
///
/// An entry id is a position itself: entries after it, without it.
pub fn position_before(text: &str, now: &ZonedDateTime) -> Result<EntryId, InvalidMoment> {
    match text.trim().parse() {
        Ok(id) => Ok(id),
        Err(_) => Ok(milliseconds(text, now)?
            .checked_sub(1)
            .map_or(EntryId::MIN, |before| EntryId::new(before, u64::MAX))),
    }
}

/// The first id of a moment; an entry id is itself.
pub fn first_at(text: &str, now: &ZonedDateTime) -> Result<EntryId, InvalidMoment> {
    match text.trim().parse() {
        Ok(id) => Ok(id),
        Err(_) => Ok(EntryId::new(milliseconds(text, now)?, 0)),
    }
}

/// The last id of a moment; an entry id is itself, one without a sequence number the last of its millisecond.
pub fn last_at(text: &str, now: &ZonedDateTime) -> Result<EntryId, InvalidMoment> {
    match text.trim().parse::<EntryId>() {
        Ok(id) if text.contains('-') => Ok(id),
        Ok(id) => Ok(EntryId::new(id.ms, u64::MAX)),
        Err(_) => Ok(EntryId::new(milliseconds(text, now)?, u64::MAX)),
    }
}

/// A time in milliseconds since 1970.
fn milliseconds(text: &str, now: &ZonedDateTime) -> Result<u64, InvalidMoment> {
    let text = text.trim();
    let moment = if text.eq_ignore_ascii_case("today") {
        now.start_of_day().map(|midnight| midnight.timestamp()).ok()
    } else if let Some(seconds) = span_seconds(text) {
        now.timestamp().checked_sub(seconds.seconds()).ok()
    } else if text.len() == DATE.len() {
        let midnight = format!("{text}T00:00:00Z").parse::<Timestamp>();
        Some(midnight.map_err(|_| InvalidMoment::Unknown(text.to_owned()))?)
    } else {
        Some(text.parse::<Timestamp>().map_err(|_| InvalidMoment::Unknown(text.to_owned()))?)
    };
    moment
        .and_then(|moment| u64::try_from(moment.as_millisecond()).ok())
        .ok_or_else(|| InvalidMoment::OutOfRange(text.to_owned()))
}

/// Reads `90s`, `10m`, `2h`, `1d`, `1w`, also joined (`1h30m`); not more than 10,000 days.
fn span_seconds(text: &str) -> Option<i64> {
    const LIMIT: i64 = 10_000 * 86_400;
    let mut rest = text;
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return None,
        };
        total = number.checked_mul(seconds).and_then(|part| total.checked_add(part))?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    (!text.is_empty() && total <= LIMIT).then_some(total)
}

#[cfg(test)]
mod tests;
