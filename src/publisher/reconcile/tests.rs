//! What became of events, by what is found.

use super::*;

const A: u16 = 0;
const B: u16 = 1;

/// Events of these streams, each found or not, under what can be seen of both streams.
fn judged(events: &[(u16, bool)], sights: [Sight; 2], ended: bool) -> Vec<Fate> {
    let doubtful: Vec<_> = events.iter().map(|(stream, _)| Doubtful { stream: *stream, body: b"" }).collect();
    let found: Vec<_> = (1..).zip(events).map(|(ms, (_, is))| is.then(|| EntryId::new(ms, 0))).collect();
    judge(&doubtful, &found, |stream| sights[usize::from(stream)], ended)
}

fn arrived(ms: u64) -> Fate {
    Fate::Arrived(EntryId::new(ms, 0))
}

#[test]
fn what_is_not_found_on_a_whole_stream_did_not_arrive() {
    let fates = judged(&[(A, true), (A, false), (B, true), (A, false)], [Sight::Whole; 2], true);
    assert_eq!(fates, [arrived(1), Fate::Absent, arrived(3), Fate::Absent]);
}

#[test]
fn an_event_in_front_of_a_trimmed_stream_was_there_if_a_later_one_was() {
    let fates = judged(&[(A, false), (A, false), (A, true), (A, false)], [Sight::Rest; 2], true);
    assert_eq!(fates, [Fate::Trimmed, Fate::Trimmed, arrived(3), Fate::Absent]);
    let fates = judged(&[(A, false), (B, true), (A, false)], [Sight::Rest; 2], true);
    assert_eq!(fates, [Fate::Trimmed, arrived(2), Fate::Unknown], "a later one of another stream");
}

#[test]
fn an_event_refused_between_two_that_are_there_goes_again() {
    let fates = judged(&[(A, true), (A, false), (A, true)], [Sight::Rest; 2], false);
    assert_eq!(fates, [arrived(1), Fate::Absent, arrived(3)]);
}

#[test]
fn nothing_found_on_a_trimmed_stream_says_nothing() {
    let fates = judged(&[(A, false), (B, false)], [Sight::Rest, Sight::Whole], true);
    assert_eq!(fates, [Fate::Unknown, Fate::Absent]);
}

#[test]
fn what_a_living_connection_may_still_bring_is_unknown() {
    let fates = judged(&[(A, true), (A, false), (B, true), (A, false)], [Sight::Whole; 2], false);
    assert_eq!(fates, [arrived(1), Fate::Absent, arrived(3), Fate::Unknown]);
}

#[test]
fn a_stream_that_may_not_be_read_says_nothing() {
    let fates = judged(&[(A, false), (B, true), (A, false)], [Sight::Nothing, Sight::Whole], true);
    assert_eq!(fates, [Fate::Unknown, arrived(2), Fate::Unknown]);
}

#[test]
fn a_stream_is_whole_if_what_lay_before_the_bound_is_there_or_nothing_was_removed_since() {
    let bound = |removed| Bound { id: EntryId::new(5, 0), removed };
    let extent = |first: Option<u64>, removed| Extent {
        first_id: first.map(|ms| EntryId::new(ms, 0)),
        last_generated_id: EntryId::new(9, 0),
        removed,
    };
    for (extent, bound, old, expected) in [
        (extent(Some(5), None), bound(None), Old::Elsewhere, Sight::Whole),
        (extent(Some(6), None), bound(None), Old::Ended, Sight::Rest),
        (extent(Some(6), Some(3)), bound(Some(3)), Old::Ended, Sight::Whole),
        (extent(Some(6), Some(4)), bound(Some(3)), Old::Ended, Sight::Rest),
        // Another server counts for itself.
        (extent(Some(6), Some(3)), bound(Some(3)), Old::Elsewhere, Sight::Rest),
        (extent(Some(6), Some(0)), bound(None), Old::Unknown, Sight::Whole),
        (extent(None, Some(4)), bound(Some(0)), Old::Ended, Sight::Rest),
        (extent(None, Some(0)), bound(None), Old::Elsewhere, Sight::Whole),
    ] {
        assert_eq!(sight(extent, bound, old), expected, "{extent:?} {bound:?} {old:?}");
    }
}

#[test]
fn events_with_one_id_are_found_in_the_order_in_which_they_were_sent() {
    let body =
        |number: u8| [b"$8\r\nevent_id\r\n$1\r\nx\r\n$1\r\nn\r\n$1\r\n", &[number][..], b"\r\n"].concat();
    let entry = |ms, number: &'static str| {
        let fields = [("event_id", "x"), ("n", number)].map(|(name, value)| (name.into(), value.into()));
        Entry::new(EntryId::new(ms, 0), fields.into())
    };
    let bodies = [body(b'1'), body(b'2'), body(b'2')];
    let events = bodies.each_ref().map(|body| Doubtful { stream: A, body });
    let mut found = vec![None; 3];
    let mut wanted = Wanted::new(&events, &[0, 1, 2], &mut found);
    // Another publisher's with the same id is none of ours.
    assert!(!wanted.is_last(&entry(1, "9")));
    assert!(!wanted.is_last(&entry(2, "1")));
    assert!(!wanted.is_last(&entry(3, "2")));
    assert!(wanted.is_last(&entry(4, "2")));
    assert!(!wanted.is_last(&entry(5, "2")));
    assert_eq!(found, [2, 3, 4].map(|ms| Some(EntryId::new(ms, 0))));
}
