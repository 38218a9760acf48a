//! What became of events, by what is found.

use super::*;

const A: u16 = 0;
const B: u16 = 1;

/// The connection has ended; the server may have refused something.
const ENDED: Old = Old::Ended { refused: true };
/// The connection has ended, and the server refused nothing.
const TAKEN: Old = Old::Ended { refused: false };

/// What is seen of a stream that begins with this entry.
fn rest(ms: u64) -> Sight {
    Sight::Rest(Some(EntryId::new(ms, 0)))
}

/// Events of these streams, each found or not, under what can be seen of both streams.
fn judged(events: &[(u16, bool)], sights: [Sight; 2], old: Old) -> Vec<Fate> {
    let doubtful: Vec<_> = events.iter().map(|(stream, _)| Doubtful { stream: *stream, body: b"" }).collect();
    let found: Vec<_> = (1..).zip(events).map(|(ms, (_, is))| is.then(|| EntryId::new(ms, 0))).collect();
    judge(&doubtful, &found, |stream| sights[usize::from(stream)], old)
}

fn arrived(ms: u64) -> Fate {
    Fate::Arrived(EntryId::new(ms, 0))
}

#[test]
fn what_is_not_found_on_a_whole_stream_did_not_arrive() {
    let fates = judged(&[(A, true), (A, false), (B, true), (A, false)], [Sight::Whole; 2], ENDED);
    assert_eq!(fates, [arrived(1), Fate::Absent, arrived(3), Fate::Absent]);
}

#[test]
fn an_event_in_front_of_what_is_left_of_its_stream_was_there() {
    for old in [ENDED, TAKEN, Old::Elsewhere, Old::Unknown] {
        let fates = judged(&[(A, false), (A, false), (A, true)], [rest(3); 2], old);
        assert_eq!(fates, [Fate::Trimmed, Fate::Trimmed, arrived(3)], "{old:?}");
    }
}

#[test]
fn behind_what_others_left_of_a_stream_an_event_was_there_only_if_nothing_was_refused() {
    let events = [(A, false), (A, false), (A, true), (A, false)];
    let fates = judged(&events, [rest(2); 2], TAKEN);
    assert_eq!(fates, [Fate::Trimmed, Fate::Trimmed, arrived(3), Fate::Absent]);
    for old in [ENDED, Old::Elsewhere] {
        let fates = judged(&events, [rest(2); 2], old);
        assert_eq!(fates, [Fate::Unknown, Fate::Unknown, arrived(3), Fate::Absent], "{old:?}");
    }
}

#[test]
fn an_event_was_executed_if_a_later_one_of_another_stream_was() {
    let fates = judged(&[(A, false), (B, true), (A, false)], [rest(9), rest(2)], TAKEN);
    assert_eq!(fates, [Fate::Trimmed, arrived(2), Fate::Unknown]);
}

#[test]
fn an_event_refused_between_two_that_are_there_goes_again() {
    let fates = judged(&[(A, true), (A, false), (A, true)], [rest(1); 2], Old::Unknown);
    assert_eq!(fates, [arrived(1), Fate::Absent, arrived(3)]);
}

#[test]
fn nothing_found_on_a_trimmed_stream_says_nothing() {
    let fates = judged(&[(A, false), (B, false)], [Sight::Rest(None), Sight::Whole], TAKEN);
    assert_eq!(fates, [Fate::Unknown, Fate::Absent]);
}

#[test]
fn what_a_living_connection_may_still_bring_is_unknown() {
    let events = [(A, true), (A, false), (B, true), (A, false)];
    let fates = judged(&events, [Sight::Whole; 2], Old::Unknown);
    assert_eq!(fates, [arrived(1), Fate::Absent, arrived(3), Fate::Unknown]);
}

#[test]
fn a_stream_that_may_not_be_read_says_nothing() {
    let fates = judged(&[(A, false), (B, true), (A, false)], [Sight::Nothing, Sight::Whole], TAKEN);
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
        (extent(Some(6), None), bound(None), ENDED, rest(6)),
        (extent(Some(6), Some(3)), bound(Some(3)), ENDED, Sight::Whole),
        (extent(Some(6), Some(4)), bound(Some(3)), ENDED, rest(6)),
        // Another server counts for itself.
        (extent(Some(6), Some(3)), bound(Some(3)), Old::Elsewhere, rest(6)),
        (extent(Some(6), Some(0)), bound(None), Old::Unknown, Sight::Whole),
        (extent(None, Some(4)), bound(Some(0)), ENDED, Sight::Rest(None)),
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
