use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> Option<String> {
    Timestamp::parse(text).map(|timestamp| timestamp.as_str().to_owned())
}

#[test]
fn every_form_of_the_field_becomes_the_same_text() {
    for (text, expected) in [
        ("2026-05-01T10:00:00Z", "2026-05-01T10:00:00.000000Z"),
        ("2026-05-01T10:00:00.5Z", "2026-05-01T10:00:00.500000Z"),
        ("2026-05-01T10:00:00.882Z", "2026-05-01T10:00:00.882000Z"),
        ("2026-05-01T10:00:00.123456Z", "2026-05-01T10:00:00.123456Z"),
        ("2026-05-01t10:00:00.123456789z", "2026-05-01T10:00:00.123456Z"),
        ("2026-05-01T10:00:00.999999999Z", "2026-05-01T10:00:00.999999Z"),
        ("2026-05-01 10:00:00.123456", "2026-05-01T10:00:00.123456Z"),
        ("2026-05-01T10:00:00", "2026-05-01T10:00:00.000000Z"),
        ("2026-05-01T10:00:00+02:00", "2026-05-01T08:00:00.000000Z"),
        ("2026-05-01T10:00:00.25-0530", "2026-05-01T15:30:00.250000Z"),
        ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00.000000Z"),
        ("2024-02-29T23:59:59-00:01", "2024-03-01T00:00:59.000000Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
        ("2016-12-31T23:59:60.5Z", "2016-12-31T23:59:59.999999Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ] {
        assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_is_no_timestamp_is_refused() {
    for text in [
        "",
        "now",
        "1795424694.44",
        "2026-05-01",
        "2026-05-01T10:00",
        "2026-05-01T10:00:00.Z",
        "2026-05-01T10:00:00X",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-05-01T24:00:00Z",
        "2026-05-01T10:60:00Z",
        "2026-05-01T10:00:61Z",
        "2026-05-01T10:00:00+24:00",
        "2026-05-01T10:00:00+02:60",
        "2026-05-01T10:00:00 02:00",
        "2026/05/01T10:00:00Z",
        "2026-05-01x10:00:00Z",
        "+026-05-01T10:00:00Z",
        "2026-05-01T10:00:00Z ",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "２０２６-05-01T10:00:00Z",
        "2026-05-01T10:00:0é",
    ] {
        assert_eq!(canonical(text), None, "{text}");
    }
}

#[test]
fn an_instant_beyond_the_calendar_is_moved_to_its_edge() {
    assert_eq!(Timestamp::of(UNIX_EPOCH - Duration::from_secs(1)).as_str(), "1970-01-01T00:00:00.000000Z");
    let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
    assert_eq!(&Timestamp::of(far).as_str()[..19], "9999-12-31T23:59:59");
}

proptest! {
    #[test]
    fn an_instant_reads_as_another_library_reads_it(
        seconds in BEGIN_SECONDS + SECONDS_PER_DAY..END_SECONDS - 2 * SECONDS_PER_DAY,
        nanos in 0..1_000_000_000_i32,
    ) {
        let instant = jiff::Timestamp::new(seconds, nanos).unwrap();
        let cut = jiff::Timestamp::new(seconds, nanos / 1000 * 1000).unwrap_or(instant);
        // jiff rounds towards zero; a negative instant with a fraction is cut downwards here.
        prop_assume!(seconds >= 0 || nanos == 0);
        let expected = format!("{cut:.6}");
        prop_assert_eq!(canonical(&instant.to_string()), Some(expected.clone()));
        if seconds >= 0 {
            let since = Duration::new(seconds.unsigned_abs(), nanos.unsigned_abs());
            let of = Timestamp::of(UNIX_EPOCH + since);
            prop_assert_eq!(of.as_str(), &expected);
        }
    }

    #[test]
    fn an_offset_is_taken_away(seconds in 0..END_SECONDS / 2, minutes in -1439_i64..1440) {
        let text = Timestamp::from_parts(seconds + minutes * 60 + SECONDS_PER_DAY, 0).as_str()[..19].to_owned();
        let sign = if minutes < 0 { '-' } else { '+' };
        let offset = format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60);
        let utc = Timestamp::from_parts(seconds + SECONDS_PER_DAY, 0).as_str().to_owned();
        prop_assert_eq!(canonical(&format!("{text}{offset}")), Some(utc));
    }

    #[test]
    fn no_text_is_too_strange_to_be_refused(text: String) {
        canonical(&text);
    }

    #[test]
    fn almost_a_timestamp_is_read_or_refused(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}(\\.[0-9]{0,9})?(Z|[+-][0-9:]{4,5})?") {
        if let Some(text) = canonical(&text) {
            prop_assert_eq!(canonical(&text), Some(text));
        }
    }
}
