//! Timestamps: RFC 3339 in, `YYYY-MM-DDTHH:MM:SS.ffffffZ` out.
//!
//! Written by hand because every event has one: no allocation, no general calendar.

use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a canonical timestamp.
pub const LENGTH: usize = 27;

/// A timestamp as it is written: `2026-05-01T10:00:00.123456Z`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Timestamp([u8; LENGTH]);

const SECONDS_PER_DAY: i64 = 86_400;
/// Seconds from 1970 to 10000-01-01, the first instant that has no four-digit year.
const END_SECONDS: i64 = 253_402_300_800;
/// Seconds from 1970 back to 0000-01-01.
const BEGIN_SECONDS: i64 = -62_167_219_200;

impl Timestamp {
    /// The timestamp of an instant, cut to microseconds; instants before 1970 and after 9999 are
    /// moved to those years' edge.
    pub fn of(instant: SystemTime) -> Self {
        let since = instant.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX).min(END_SECONDS - 1);
        Self::from_parts(seconds, since.subsec_micros())
    }

    /// Reads RFC 3339 with any offset, and what Python's `isoformat` and `str` write: a space for
    /// the `T`, no offset (it is UTC then). Digits below the microsecond are cut; a leap second is
    /// the last microsecond before it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (date_time, rest) = bytes.split_at_checked(19)?;
        let seconds = local_seconds(date_time)?;
        let leap = &date_time[17..] == b"60";
        let (micros, rest) = fraction(rest)?;
        let seconds = seconds - offset_seconds(rest)?;
        if !(BEGIN_SECONDS..END_SECONDS).contains(&seconds) {
            return None;
        }
        Some(Self::from_parts(seconds, if leap { 999_999 } else { micros }))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a timestamp is written in ASCII")
    }

    fn from_parts(seconds: i64, micros: u32) -> Self {
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], second_of_day / 3600);
        put(&mut text[14..16], second_of_day / 60 % 60);
        put(&mut text[17..19], second_of_day % 60);
        put(&mut text[20..26], i64::from(micros));
        Self(text)
    }
}

/// Writes a number with leading zeros.
fn put(digits: &mut [u8], mut number: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

/// `YYYY-MM-DDTHH:MM:SS` as seconds since 1970, without regard to the offset; second 60 counts as 59.
fn local_seconds(text: &[u8]) -> Option<i64> {
    let separators = [text[4], text[7], text[13], text[16]];
    if separators != *b"--::" || !matches!(text[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (digits(&text[0..4])?, digits(&text[5..7])?, digits(&text[8..10])?);
    let (hour, minute, second) = (digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?);
    let date = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    if !date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second.min(59))
}

/// `.123456789`, if it is there, as microseconds, and what follows it.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let Some((b'.' | b',', rest)) = text.split_first() else { return Some((0, text)) };
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let micros = (0..6).fold(0, |micros, place| {
        let digit = if place < count { u32::from(rest[place] - b'0') } else { 0 };
        micros * 10 + digit
    });
    Some((micros, &rest[count..]))
}

/// `Z`, `+02:00`, `-0530`, or nothing, as seconds east of UTC.
fn offset_seconds(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => {
            (*sign, digits(&[*h1, *h2])?, digits(&[*m1, *m2])?)
        }
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    match sign {
        b'+' => Some(hours * 3600 + minutes * 60),
        b'-' => Some(-(hours * 3600 + minutes * 60)),
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Years are counted from March, so that
/// the leap day is the last of its year; 400 years are 146,097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a number of days since 1970-01-01; the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
