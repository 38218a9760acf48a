use super::*;

#[test]
fn a_span_shows_its_two_largest_units() {
    let shown =
        [0, 450, 999, 1_000, 59_999, 60_000, 200_000, 3_600_000, 18_130_000, 86_400_000, 1_047_600_000]
            .map(|ms| span(Duration::from_millis(ms)));
    assert_eq!(shown, ["0ms", "450ms", "999ms", "1s", "59s", "1m", "3m 20s", "1h", "5h 2m", "1d", "12d 3h"]);
}

#[test]
fn a_clock_ahead_of_ours_is_told_apart_from_the_past() {
    let now = Timestamp::from_millisecond(1_000_000).unwrap();
    assert_eq!(ago(1_000_000, now), "now");
    assert_eq!(ago(1_000_999, now), "now");
    assert_eq!(ago(800_000, now), "3m 20s ago");
    assert_eq!(ago(1_005_000, now), "in 5s");
    assert!(ago(u64::MAX, now).starts_with("in "));
}

#[test]
fn bytes_change_unit_before_they_need_a_fifth_digit() {
    let shown = [0, 1023, 1024, 1_468_006, 1_048_575, 1_048_576, u64::MAX].map(bytes);
    assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.4 MiB", "1.0 MiB", "1.0 MiB", "16.0 EiB"]);
}

#[test]
fn thousands_stand_apart() {
    assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!(counted(1, "event"), "1 event");
    assert_eq!(counted(2_000, "event"), "2,000 events");
    assert_eq!((counted(1, "entry"), counted(2, "entry")), ("1 entry".to_owned(), "2 entries".to_owned()));
}

#[test]
fn the_date_is_shown_on_other_days_only() {
    let now: ZonedDateTime = "2026-11-23T09:04:54.436+01:00[+01:00]".parse().unwrap();
    let ms = |time: &str| time.parse::<Timestamp>().unwrap().as_millisecond().try_into().unwrap();
    assert_eq!(clock(ms("2026-11-22T23:00:00.007Z"), &now), "00:00:00.007");
    assert_eq!(clock(ms("2026-11-22T22:59:59.999Z"), &now), "2026-11-22 23:59:59.999");
    assert_eq!(clock(u64::MAX, &now), "(no time)");
}
