use super::*;
use crate::audience::Audience;

const ROOMY: Capacity = Capacity { events: 100, bytes: 1 << 20 };

fn stream(key: &str) -> Stream {
    Stream::of_key(key).unwrap()
}

fn push(history: &mut History, key: &str, id: u64) {
    let event = Sealed {
        sequence: history.next_sequence(),
        stream: stream(key),
        id: EntryId::new(id, 0),
        position: Position::default(),
        audience: Audience::Everyone,
        payload: Box::new([]),
    };
    history.push(Arc::new(event));
}

fn cursor(inference: u64, model: u64) -> Position {
    let mut cursor = Position::default();
    cursor[stream("inference-events")] = EntryId::new(inference, 0);
    cursor[stream("model-events")] = EntryId::new(model, 0);
    cursor
}

fn ids(past: Past) -> Option<Vec<u64>> {
    match past {
        Past::Events(events) => Some(events.iter().map(|event| event.id.ms).collect()),
        Past::TooOld => None,
    }
}

fn filled(capacity: Capacity) -> History {
    let mut history = History::new(capacity);
    for (key, id) in [
        ("inference-events", 10),
        ("model-events", 11),
        ("inference-events", 20),
        ("model-events", 15),
        ("inference-events", 30),
    ] {
        push(&mut history, key, id);
    }
    history
}

#[test]
fn what_came_since_is_given_in_the_order_it_was_read() {
    let history = filled(ROOMY);
    assert_eq!(ids(history.after(&cursor(0, 0), StreamSet::ALL, 9)), Some(vec![10, 11, 20, 15, 30]));
    assert_eq!(ids(history.after(&cursor(10, 11), StreamSet::ALL, 9)), Some(vec![20, 15, 30]));
    assert_eq!(ids(history.after(&cursor(20, 0), StreamSet::ALL, 2)), Some(vec![11, 15]));
    assert_eq!(ids(history.after(&cursor(30, 15), StreamSet::ALL, 9)), Some(vec![]));
}

#[tokio::test]
async fn only_the_streams_that_are_wanted_are_given() {
    let history = filled(ROOMY);
    let models = StreamSet::named("model-events").unwrap();
    assert_eq!(ids(history.after(&cursor(0, 0), models, 9)), Some(vec![11, 15]));
}

#[test]
fn what_is_no_longer_here_makes_a_cursor_too_old_for_its_stream_alone() {
    let history = filled(Capacity { events: 3, bytes: 1 << 20 });
    assert_eq!(ids(history.after(&cursor(9, 11), StreamSet::ALL, 9)), None);
    assert_eq!(ids(history.after(&cursor(10, 11), StreamSet::ALL, 9)), Some(vec![20, 15, 30]));
    let models = StreamSet::named("model-events").unwrap();
    assert_eq!(ids(history.after(&cursor(0, 11), models, 9)), Some(vec![15]));
}

#[test]
fn memory_is_bounded_in_bytes_too() {
    let mut history = History::new(Capacity { events: 1_000, bytes: 2_000 });
    for id in 1..100 {
        push(&mut history, "inference-events", id);
    }
    assert!(history.bytes() <= 2_000);
    assert_eq!(history.head(), cursor(99, 0));
    assert!(
        ids(history.after(&history.floor(), StreamSet::ALL, 99)).is_some_and(|ids| ids.last() == Some(&99))
    );
}

#[tokio::test]
async fn the_last_events_are_found_whatever_else_is_between() {
    let history = filled(ROOMY);
    let models = StreamSet::named("model-events").unwrap();
    let cursor = async |count, wanted, wants: fn(&Sealed) -> bool| {
        before_last(count, &history.all(wanted), history.floor(), history.head(), wants).await
    };
    let last = async |count, wanted| ids(history.after(&cursor(count, wanted, |_| true).await, wanted, 99));
    assert_eq!(last(0, StreamSet::ALL).await, Some(vec![]));
    assert_eq!(last(2, StreamSet::ALL).await, Some(vec![15, 30]));
    assert_eq!(last(1, models).await, Some(vec![15]));
    assert_eq!(last(99, StreamSet::ALL).await, Some(vec![10, 11, 20, 15, 30]));
    let cursor = cursor(1, StreamSet::ALL, |event| event.id.ms % 20 == 0).await;
    assert_eq!(ids(history.after(&cursor, StreamSet::ALL, 99)), Some(vec![20, 15, 30]));
}

#[test]
fn a_stream_that_starts_over_leaves_the_others_alone() {
    let mut history = filled(ROOMY);
    history.restart(stream("inference-events"), EntryId::new(5, 0));
    push(&mut history, "inference-events", 6);
    assert_eq!(ids(history.after(&cursor(5, 0), StreamSet::ALL, 9)), Some(vec![11, 15, 6]));
    assert_eq!(ids(history.after(&cursor(4, 0), StreamSet::ALL, 9)), None);
}
