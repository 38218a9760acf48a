//! Entries that existing publishers wrote are read as the events they meant.

#![expect(clippy::unwrap_used, reason = "a test that can't read its own data has failed")]

use serde_json::{Value, json};
use synapse_rs::event::{DecodeError, Decoded, decode};

fn decoded(stream: &str, entry: &Value) -> Result<Decoded, DecodeError> {
    let text = |value: &Value| value.as_str().unwrap().as_bytes().to_vec();
    let pairs: Vec<(Vec<u8>, Vec<u8>)> =
        entry["fields"].as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
    decode(stream, pairs.iter().map(|(field, value)| (field.as_slice(), value.as_slice())))
}

/// Every entry of a stream is what is expected of it: field by field, and no field more.
/// `null` stands for an entry without an event.
fn assert_decodes_to(stream: &str, expected: &Value) {
    let vectors: Value = serde_json::from_str(include_str!("data/existing-publishers.json")).unwrap();
    let entries = vectors[stream].as_array().unwrap();
    let expected = expected.as_array().unwrap();
    assert_eq!(entries.len(), expected.len(), "entries on {stream}");
    for (entry, expected) in entries.iter().zip(expected) {
        let id = &entry["id"];
        let decoded = decoded(stream, entry).unwrap_or_else(|error| panic!("{stream} {id}: {error}"));
        match decoded {
            Decoded::Nameless => assert_eq!(&Value::Null, expected, "{stream} {id}"),
            Decoded::Event(event) => {
                assert_eq!(&Value::Object(event.into_fields()), expected, "{stream} {id}");
            }
        }
    }
}

#[test]
fn inference_events_of_python_have_numbers_booleans_and_utc_timestamps() {
    assert_decodes_to(
        "inference-events",
        &json!([
            null,
            {
                "event": "inference-complete", "timestamp": "2026-11-23T09:04:54.440386Z", "source": "cyrex",
                "model_name": "task-classifier", "version": "2.0", "user_id": "64f1c0ffee", "request_id": "req_1",
                "latency_ms": 45.0, "tokens_used": 123, "cost": 0.00042, "confidence": 0.92, "success": true,
            },
            {
                "event": "inference-failed", "timestamp": "2026-11-23T09:04:54.440692Z", "source": "cyrex",
                "model_name": "llama3:8b", "version": "1", "user_id": "42", "request_id": "req_2",
                "latency_ms": 3021.5, "success": false,
            },
            {
                "event": "inference-complete", "timestamp": "2026-11-23T09:04:54.440900Z", "source": "cyrex",
                "model_name": "résumé-分類器", "version": "v1.2.3-rc.1", "latency_ms": 0.001, "confidence": 1.0,
                "success": true,
            },
            {
                "event": "inference-complete", "model_name": "task-classifier", "version": "2.0",
                "latency_ms": 12.75, "timestamp": "2026-11-23T09:04:54.445117Z", "request_id": "req_9",
                "success": true,
            },
        ]),
    );
}

#[test]
fn platform_events_keep_user_ids_as_text_and_read_data_from_json_and_from_repr() {
    let event = |name: &str, timestamp: &str, user_id: &str, data: &Value| {
        json!({
            "event": name, "timestamp": timestamp, "source": "task-orchestrator",
            "service": "task-orchestrator", "user_id": user_id, "action": name, "data": data,
        })
    };
    let created = json!({
        "task_id": "task-1", "title": "Summarise report", "description": "Q3 \"numbers\"\nline two",
        "status": "pending", "priority": "high", "metadata": {"tags": ["a", "b"], "nested": {"n": 1.5}},
    });
    let result = json!({"version": 2, "title": "Summarise report", "status": "completed"});
    assert_decodes_to(
        "platform-events",
        &json!([
            null,
            {
                "event": "platform-event", "service": "auth-service", "action": "user-login",
                "data": {"user_id": "42", "ip": "203.0.113.9", "ok": true},
                "timestamp": "2026-11-23T09:04:54.445288Z",
            },
            event("task-created", "2026-11-23T09:04:54.882000Z", "42", &created),
            event("task-started", "2026-11-23T09:04:54.899000Z", "42", &json!({"task_id": "task-1"})),
            event(
                "task-completed",
                "2026-11-23T09:04:54.899000Z",
                "42",
                &json!({"task_id": "task-1", "result": result}),
            ),
            event(
                "task-failed",
                "2026-11-23T09:04:54.900000Z",
                "64f1c0ffee",
                &json!({"task_id": "task-2", "error": "Task failed: timeout after 30s 🚨"}),
            ),
            event("task-completed", "2026-11-23T09:04:54.901000Z", "007", &json!({"task_id": "task-3"})),
        ]),
    );
}

#[test]
fn model_events_keep_versions_as_text_and_get_the_present_name_of_the_registry_path() {
    assert_decodes_to(
        "model-events",
        &json!([
            null,
            {
                "event": "model-status", "model_name": "llama3:8b", "status": "loaded", "load_time_ms": 812.25,
                "timestamp": "2026-11-23T09:04:54.441114Z",
            },
            {
                "event": "model-ready", "model_name": "task-classifier", "version": "2.0",
                "registry_path": "s3://mlflow-artifacts/models/task-classifier/2.0",
                "timestamp": "2026-11-23T09:04:54.444740Z", "metrics": {"accuracy": 0.953},
            },
            {
                "event": "model-deprecated", "model_name": "task-classifier", "version": "1.0",
                "timestamp": "2026-11-23T09:04:54.444923Z", "reason": "superseded",
            },
        ]),
    );
}

#[test]
fn training_events_leave_out_empty_fields() {
    assert_decodes_to(
        "training-events",
        &json!([
            null,
            {
                "event": "training-started", "model_name": "task-classifier", "step": 0,
                "timestamp": "2026-11-23T09:04:54.443777Z", "experiment_id": "exp-7", "status": "running",
                "progress": 0.0,
            },
            {
                "event": "training-progress", "model_name": "task-classifier", "step": 1200,
                "timestamp": "2026-11-23T09:04:54.444049Z",
                "metrics": {"loss": 0.4312, "lr": 0.00003, "tokens": [1, 2, 3]},
                "experiment_id": "exp-7", "status": "running", "progress": 0.24,
            },
            {
                "event": "training-complete", "model_name": "task-classifier", "step": 5000,
                "timestamp": "2026-11-23T09:04:54.444345Z", "metrics": {"loss": 0.11, "accuracy": 0.953},
                "experiment_id": "exp-7", "status": "complete", "progress": 1.0,
            },
            {
                "event": "training-failed", "model_name": "task-classifier", "step": 777,
                "timestamp": "2026-11-23T09:04:54.444566Z", "experiment_id": "exp-8", "status": "failed",
                "error": "nan loss\nTraceback (most recent call last):\n  …",
            },
        ]),
    );
}

#[test]
fn an_entry_that_only_creates_the_stream_is_no_event() {
    assert_decodes_to("agi-decisions", &json!([null]));
}

#[test]
fn an_envelope_gives_way_to_the_event_in_its_payload() {
    let entry = json!({"fields": [
        ["event_type", "inference-complete"], ["sender", "cyrex"], ["priority", "normal"],
        ["payload", r#"{"event":"inference-complete","model_name":"m","version":"1","latency_ms":12.5}"#],
        ["timestamp", "2026-05-01T10:00:00.123456789Z"],
    ]});
    let event = decoded("inference-events", &entry).unwrap().event().unwrap();
    assert_eq!(
        Value::Object(event.into_fields()),
        json!({
            "event": "inference-complete", "source": "cyrex", "priority": "normal",
            "timestamp": "2026-05-01T10:00:00.123456Z", "model_name": "m", "version": "1",
            "latency_ms": 12.5, "success": true,
        })
    );
}
