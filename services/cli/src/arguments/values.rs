//! Values of arguments, read from text.

use std::{num::NonZeroU32, time::Duration};

use synapse_chassis::settings::{parse_bytes, parse_duration};
use synapse_rs::EntryId;

/// A duration, not zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "expected a duration such as 500ms, 10s or 5m".to_owned())
}

/// A number of bytes, not zero.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text).and_then(|bytes| u64::try_from(bytes).ok());
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "expected a size such as 65536, 64KiB or 1MiB".to_owned())
}

/// An entry's id, whole.
pub(super) fn entry_id(text: &str) -> Result<EntryId, String> {
    text.parse().map_err(|error: synapse_rs::stream::MalformedEntryId| error.to_string())
}

/// `500/s` or `500`.
pub(super) fn rate(text: &str) -> Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim_end();
    number.parse().map_err(|_| "expected a number of events each second such as 500/s, 1 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_are_not_zero() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("0s").is_err() && duration("soon").is_err());
    }

    #[test]
    fn sizes_and_rates_have_their_units_and_are_not_zero() {
        assert_eq!((bytes("64KiB"), bytes("7")), (Ok(65_536), Ok(7)));
        assert!(bytes("0").is_err() && bytes("64 kilos").is_err());
        assert_eq!(rate("500/s").unwrap().get(), 500);
        assert_eq!(rate("500").unwrap().get(), 500);
        for refused in ["0/s", "-1", "10/m", "fast", "", "99999999999"] {
            assert!(rate(refused).is_err(), "{refused}");
        }
    }
}
