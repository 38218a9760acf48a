use super::*;

fn now() -> ZonedDateTime {
    "2026-11-23T09:04:54.436+01:00[+01:00]".parse().unwrap()
}

fn right_before(time: &str) -> EntryId {
    let ms: u64 = time.parse::<Timestamp>().unwrap().as_millisecond().try_into().unwrap();
    EntryId::new(ms - 1, u64::MAX)
}

#[test]
fn an_entry_id_is_the_position_itself() {
    assert_eq!(position_before("1795424694440-3", &now()), Ok(EntryId::new(1_795_424_694_440, 3)));
    assert_eq!(position_before("0", &now()), Ok(EntryId::MIN));
}

#[test]
fn a_time_includes_the_entries_of_its_own_millisecond() {
    let position = position_before("2026-11-23T08:00:00.250Z", &now()).unwrap();
    assert_eq!(position, right_before("2026-11-23T08:00:00.250Z"));
    assert!(EntryId::new(position.ms + 1, 0) > position);
    assert_eq!(position_before("2026-11-23T09:00:00.250+01:00", &now()), Ok(position));
}

#[test]
fn a_date_starts_at_midnight_utc() {
    assert_eq!(position_before("2026-11-23", &now()), Ok(right_before("2026-11-23T00:00:00Z")));
}

#[test]
fn a_span_counts_back_from_now_and_may_be_joined() {
    assert_eq!(position_before("10m", &now()), Ok(right_before("2026-11-23T07:54:54.436Z")));
    assert_eq!(position_before("1h30m", &now()), Ok(right_before("2026-11-23T06:34:54.436Z")));
    assert_eq!(position_before("1w", &now()), Ok(right_before("2026-11-16T08:04:54.436Z")));
}

#[test]
fn today_starts_at_midnight_of_the_local_zone() {
    assert_eq!(position_before("today", &now()), Ok(right_before("2026-11-22T23:00:00Z")));
}

#[test]
fn the_beginning_of_time_has_nothing_before_it() {
    assert_eq!(position_before("1970-01-01T00:00:00Z", &now()), Ok(EntryId::MIN));
}

#[test]
fn what_is_no_moment_is_refused_with_the_forms_there_are() {
    for text in [
        "",
        "yesterday",
        "10",
        "10x",
        "m",
        "1h30",
        "2026-11-23T09:00:00",
        "2026-11-31",
        "20261123T09",
        "-5m",
        "1.5h",
    ] {
        let refused = position_before(text, &now());
        if text == "10" {
            assert_eq!(refused, Ok(EntryId::new(10, 0)), "digits alone are an id");
            continue;
        }
        let message = refused.expect_err(text).to_string();
        assert!(message.contains("2026-11-23T09:00:00Z") && message.contains("10m"), "{message}");
    }
}

#[test]
fn moments_that_no_stream_can_hold_are_refused() {
    assert!(matches!(position_before("1969-12-31T23:59:59Z", &now()), Err(InvalidMoment::OutOfRange(_))));
    assert!(position_before("99999999999999d", &now()).is_err());
    assert!(position_before("99999999999999999999s", &now()).is_err());
    assert!(position_before("9999d", &now()).is_ok());
}
