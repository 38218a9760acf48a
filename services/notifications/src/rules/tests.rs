use serde_json::json;

use super::*;

fn event(value: Value) -> Event {
    serde_json::from_value(value).unwrap()
}

/// What an event becomes: type or name, message, data.
fn made(stream: &str, value: Value) -> Option<(String, String, Value)> {
    let event = event(value);
    let makes = makes(stream, &event)?;
    Some((makes.kind.unwrap_or(event.name()).to_owned(), makes.message.of(&event), makes.data.of(&event)))
}

#[test]
fn tasks_that_end_say_how() {
    let completed =
        made(PLATFORM_EVENTS, json!({"event": "task-completed", "data": {"task_id": "1"}})).unwrap();
    assert_eq!(
        completed,
        ("task-completed".to_owned(), "Task completed successfully".to_owned(), json!({"task_id": "1"}))
    );
    for (data, message) in [
        (json!({"error": "out of memory"}), "Task failed: out of memory"),
        (json!({"error": ""}), "Task failed: Unknown error"),
        (json!({"error": null}), "Task failed: Unknown error"),
        (json!({"error": {"code": 7}}), "Task failed: {\"code\":7}"),
        (json!({}), "Task failed: Unknown error"),
    ] {
        let failed = made(PLATFORM_EVENTS, json!({"event": "task-failed", "data": data})).unwrap();
        assert_eq!(failed.1, message);
    }
    assert_eq!(made(PLATFORM_EVENTS, json!({"event": "task-failed"})).unwrap().2, json!({}));
}

#[test]
fn any_other_platform_event_is_told_by_its_name_but_for_interactions() {
    let other = made(PLATFORM_EVENTS, json!({"event": "badge-earned", "data": {"badge": 1}})).unwrap();
    assert_eq!(other, ("badge-earned".to_owned(), "Event: badge-earned".to_owned(), json!({"badge": 1})));
    assert_eq!(made(PLATFORM_EVENTS, json!({"event": "user-interaction", "data": {}})), None);
}

#[test]
fn only_inferences_that_failed_are_told() {
    let base = json!({"event": "inference-complete", "model_name": "m", "success": false});
    let failed = made(INFERENCE_EVENTS, base).unwrap();
    let data = json!({"model_name": "m", "error": "Unknown error"});
    assert_eq!(failed, ("inference-failed".to_owned(), "AI inference failed for model: m".to_owned(), data));
    let named = made(INFERENCE_EVENTS, json!({"event": "inference-failed", "model_name": "m", "error": "e"}));
    assert_eq!(named.unwrap().2, json!({"model_name": "m", "error": "e"}));
    assert_eq!(made(INFERENCE_EVENTS, json!({"event": "inference-complete", "success": true})), None);
    assert_eq!(made("model-events", json!({"event": "model-ready"})), None);
}

#[test]
fn the_streams_that_are_read_are_those_with_rules() {
    assert_eq!(streams(), [PLATFORM_EVENTS, INFERENCE_EVENTS]);
}
