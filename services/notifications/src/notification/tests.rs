use proptest::prelude::*;
use serde_json::json;
use synapse_rs::stream::PLATFORM_EVENTS;

use super::*;

const MAX_AGE: Duration = Duration::from_mins(5);

fn delivery(value: Value) -> Delivery {
    Delivery {
        stream: PLATFORM_EVENTS.into(),
        id: EntryId::new(1_795_000_000_000, 3),
        deliveries: 1,
        event: serde_json::from_value(value).unwrap(),
    }
}

/// So many seconds after the entry was written.
fn now(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_000_000 + seconds)
}

fn made(value: Value) -> Option<Notification> {
    Notification::of(&delivery(value), now(1), MAX_AGE).unwrap()
}

#[test]
fn nobody_is_told_of_an_event_without_a_user() {
    assert_eq!(made(json!({"event": "x"})), None);
    assert_eq!(made(json!({"event": "x", "user_id": ""})), None);
    let too_long = delivery(json!({"event": "x", "user_id": "u".repeat(257)}));
    assert_eq!(Notification::of(&too_long, now(1), MAX_AGE), Err(NobodysId::TooLong(257)));
    let nul = delivery(json!({"event": "x", "user_id": "u\0"}));
    assert_eq!(Notification::of(&nul, now(1), MAX_AGE), Err(NobodysId::Nul));
}

#[test]
fn an_id_is_the_same_for_user_and_event_and_for_no_other() {
    let event = |user: &str, id: &str| json!({"event": "x", "user_id": user, "event_id": id});
    let id = |value| made(value).unwrap().id;
    assert_eq!(id(event("u", "1")), id(event("u", "1")));
    assert_ne!(id(event("u", "1")), id(event("u", "2")));
    assert_ne!(id(event("u", "1")), id(event("v", "1")));
}

#[test]
fn an_event_without_an_id_is_known_by_its_first_entry() {
    let plain = made(json!({"event": "x", "user_id": "u"})).unwrap();
    assert_eq!(plain.event_id, "platform-events/1795000000000-3");
    let replayed = made(json!({"event": "x", "user_id": "u", "replay_of": "1794000000000-0"})).unwrap();
    assert_eq!(replayed.event_id, "platform-events/1794000000000-0");
    let odd = made(json!({"event": "x", "user_id": "u", "event_id": "i".repeat(257)})).unwrap();
    assert_eq!(odd.event_id, plain.event_id);
}

#[test]
fn what_is_too_old_is_for_the_inbox_only() {
    let at = |timestamp: Option<&str>, seconds| {
        let mut event = json!({"event": "x", "user_id": "u"});
        if let Some(timestamp) = timestamp {
            event["timestamp"] = timestamp.into();
        }
        Notification::of(&delivery(event), now(seconds), MAX_AGE).unwrap().unwrap()
    };
    assert!(at(None, 300).is_live);
    assert!(!at(None, 301).is_live);
    // 1795000000 is 2026-11-18T11:06:40Z.
    assert!(!at(Some("2026-11-18T11:00:00.000000Z"), 1).is_live, "its own timestamp counts");
    assert!(at(Some("2099-01-01T00:00:00.000000Z"), 1).is_live, "a clock ahead of ours is no age");
    assert_eq!(at(None, 1).timestamp, "2026-11-18T11:06:40.000000Z");
    assert_eq!(at(Some("2026-11-18T11:00:00.000000Z"), 1).timestamp, "2026-11-18T11:00:00.000000Z");
}

#[test]
fn data_beyond_the_bound_is_left_out_and_said_so() {
    let event = json!({"event": "x", "user_id": "u", "data": {"much": "x".repeat(MAX_DATA_BYTES)}});
    let data = data_of(&made(event).unwrap().data);
    assert!(data["omitted_bytes"].as_u64().unwrap() > MAX_DATA_BYTES as u64);
}

#[test]
fn what_clients_get_is_the_same_from_the_table_and_from_the_stream() {
    let event = json!({"event": "task-failed", "user_id": "007", "data": {"error": "true", "n": [1.5]}});
    let made = made(event).unwrap();
    let announced_event = made.to_event();
    let (user, id, shown) = announced(&announced_event).unwrap();
    assert_eq!((user, id), ("007", made.id));
    assert_eq!(shown, made.to_json());
}

proptest! {
    #[test]
    fn texts_are_bounded_and_can_be_kept(name in ".{1,600}", user in ".{1,64}", error in ".{0,2000}") {
        for event in ["task-failed".to_owned(), name] {
            let event = json!({"event": event, "user_id": user, "data": {"error": error}});
            let Ok(Some(made)) = Notification::of(&delivery(event), now(1), MAX_AGE) else { continue };
            prop_assert!(made.message.chars().count() <= MAX_MESSAGE_CHARACTERS);
            prop_assert!(made.kind.chars().count() <= MAX_TYPE_CHARACTERS);
            for text in [&made.user, &made.kind, &made.message, &made.data, &made.event_id] {
                prop_assert!(!text.contains('\0'));
            }
        }
    }
}
