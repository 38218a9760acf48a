use serde_json::json;

use super::*;

fn read(stream: &str, pairs: &[(&str, &str)]) -> Result<Decoded, DecodeError> {
    decode(stream, pairs.iter().map(|(field, value)| (field.as_bytes(), value.as_bytes())))
}

fn fields(stream: &str, pairs: &[(&str, &str)]) -> Value {
    let event = read(stream, pairs).unwrap().event().expect("the entry has an event");
    Value::Object(event.into_fields())
}

/// A field of an inference event that has just this field besides the required ones.
fn inference(field: &str, text: &str) -> Result<Option<Value>, DecodeError> {
    let pairs = [
        ("event", "inference-failed"),
        ("model_name", "m"),
        ("version", "1"),
        ("latency_ms", "1"),
        (field, text),
    ];
    Ok(read("inference-events", &pairs)?.event().unwrap().get(field).cloned())
}

#[test]
fn known_fields_have_their_type_whatever_they_look_like() {
    let entry = [
        ("event", "inference-complete"),
        ("model_name", "5"),
        ("version", "1.0"),
        ("latency_ms", "45"),
        ("user_id", "007"),
        ("request_id", "true"),
        ("error", "[1]"),
        ("source", "null"),
        ("correlation_id", "12"),
        ("event_id", "34"),
        ("organization_id", "56"),
    ];
    let expected = json!({
        "event": "inference-complete", "model_name": "5", "version": "1.0", "latency_ms": 45.0, "user_id": "007",
        "request_id": "true", "error": "[1]", "source": "null", "correlation_id": "12", "event_id": "34",
        "organization_id": "56", "success": true,
    });
    assert_eq!(fields("inference-events", &entry), expected);
}

#[test]
fn unknown_fields_are_what_their_text_says() {
    let entry = [
        ("event", "e"),
        ("object", "{\"a\": [1, 2.5]}"),
        ("list", "[]"),
        ("yes", "true"),
        ("nothing", "null"),
        ("integer", "5"),
        ("float", "1.5"),
        ("text", "abc"),
        ("python", "True"),
        ("repr", "{'a': 1}"),
        ("zip", "01234"),
        ("empty", ""),
        ("user_id", "42"),
    ];
    let expected = json!({
        "event": "e", "object": {"a": [1, 2.5]}, "list": [], "yes": true, "nothing": null, "integer": 5, "float": 1.5,
        "text": "abc", "python": "True", "repr": "{'a': 1}", "zip": "01234", "empty": "", "user_id": "42",
    });
    assert_eq!(fields("some-stream", &entry), expected);
}

#[test]
fn listed_fields_stay_text_and_the_list_goes() {
    let entry = [("event", "e"), ("_strings", "b,a"), ("a", "1"), ("b", "true"), ("c", "2")];
    assert_eq!(fields("s", &entry), json!({"event": "e", "a": "1", "b": "true", "c": 2}));
    let entry = [("event", "e"), ("a", "1"), ("_strings", "")];
    assert_eq!(fields("s", &entry), json!({"event": "e", "a": 1}));
}

#[test]
fn a_list_of_strings_does_not_change_the_type_of_a_known_field() {
    let entry = [("event", "training-progress"), ("model_name", "m"), ("step", "5"), ("_strings", "step")];
    assert_eq!(fields("training-events", &entry)["step"], json!(5));
}

#[test]
fn numbers_are_read_in_every_form_that_publishers_write() {
    for (text, expected) in [
        ("45", 45.0),
        ("45.0", 45.0),
        ("3e-05", 3e-5),
        ("1e+16", 1e16),
        ("1E3", 1e3),
        ("-0.5", -0.5),
        ("007", 7.0),
    ] {
        assert_eq!(inference("cost", text).unwrap(), Some(json!(expected)), "{text}");
    }
    for (text, expected) in [
        ("0", 0),
        ("123", 123),
        ("123.0", 123),
        ("1e3", 1000),
        ("-0.0", 0),
        ("18446744073709551615", u64::MAX),
    ] {
        assert_eq!(inference("tokens_used", text).unwrap(), Some(json!(expected)), "{text}");
    }
}

#[test]
fn booleans_are_read_in_any_case_and_as_digits() {
    for text in ["true", "True", "TRUE", "1"] {
        assert_eq!(inference("success", text).unwrap(), Some(json!(true)), "{text}");
    }
    for text in ["false", "False", "FALSE", "0"] {
        assert_eq!(inference("success", text).unwrap(), Some(json!(false)), "{text}");
    }
}

#[test]
fn a_failure_is_known_by_its_name_and_by_its_success() {
    let failed = |name: &str, success: &str| {
        let entry = [
            ("event", name),
            ("model_name", "m"),
            ("version", "1"),
            ("latency_ms", "1"),
            ("success", success),
        ];
        read("inference-events", &entry).unwrap().event().unwrap().inference_failed()
    };
    assert!(failed("inference-complete", "False"));
    assert!(failed("inference-failed", ""));
    assert!(failed("inference-failed", "True"));
    assert!(!failed("inference-complete", "True"));
    assert!(!failed("inference-complete", ""));
}

#[test]
fn no_value_is_written_in_many_ways() {
    for field in ["tokens_used", "cost", "timestamp", "request_id", "user_id", "error", "event_id", "source"]
    {
        assert_eq!(inference(field, "").unwrap(), None, "{field}");
    }
    for field in ["tokens_used", "cost"] {
        assert_eq!(inference(field, "None").unwrap(), None, "{field}");
        assert_eq!(inference(field, "null").unwrap(), None, "{field}");
    }
    assert_eq!(inference("success", "").unwrap(), Some(json!(false)), "by the event");
    assert_eq!(inference("user_id", "anonymous").unwrap(), None);
    assert_eq!(inference("request_id", "anonymous").unwrap(), Some(json!("anonymous")));
    assert_eq!(inference("error", "None").unwrap(), Some(json!("None")));
}

#[test]
fn objects_are_read_from_json_and_from_repr() {
    let data = |text: &str| {
        let entry = [("event", "x"), ("service", "s"), ("action", "a"), ("data", text)];
        read("platform-events", &entry).map(|decoded| decoded.event().unwrap().get("data").cloned())
    };
    let expected = json!({"a": [1, true, null]});
    assert_eq!(data("{\"a\": [1, true, null]}").unwrap(), Some(expected.clone()));
    assert_eq!(data("{'a': (1, True, None)}").unwrap(), Some(expected));
    assert_eq!(data("{}").unwrap(), Some(json!({})));
    assert_eq!(data("None").unwrap(), None);
    for text in ["[1]", "[1", "abc", "{'a': nan}", "{\"a\": NaN}", "5", "{'a': <object>}"] {
        let message = data(text).unwrap_err().to_string();
        assert_eq!(message, format!("field data is the text {text:?}, expected an object"));
    }
}

#[test]
fn a_known_field_that_cannot_be_read_makes_the_event_invalid() {
    for (field, text) in [
        ("latency_ms", ""),
        ("latency_ms", "fast"),
        ("latency_ms", "nan"),
        ("latency_ms", "NaN"),
        ("latency_ms", "inf"),
        ("latency_ms", "-Infinity"),
        ("latency_ms", "1e999"),
        ("latency_ms", "1,5"),
        ("cost", " 1"),
        ("tokens_used", "-1"),
        ("tokens_used", "1.5"),
        ("tokens_used", "18446744073709551616"),
        ("tokens_used", "1e20"),
        ("success", "yes"),
        ("success", "2"),
        ("timestamp", "yesterday"),
    ] {
        let error = inference(field, text).unwrap_err();
        assert!(matches!(error, DecodeError::WrongType { .. }), "{error}");
        assert_eq!(error.field(), field);
        assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
    }
}

#[test]
fn a_missing_required_field_makes_the_event_invalid() {
    let error =
        read("inference-events", &[("event", "inference-complete"), ("model_name", "m")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "field version is missing: inference-complete on inference-events needs it, expected a string"
    );
}

#[test]
fn what_is_not_utf8_makes_the_event_invalid() {
    for (field, value) in
        [(&b"note"[..], &b"a\xffb"[..]), (b"event", b"\xff"), (b"\xff", b"x"), (b"user_id", b"\xc3")]
    {
        let pairs = [(&b"event"[..], &b"e"[..]), (field, value)];
        let error = decode("s", pairs).unwrap_err();
        assert!(matches!(&error, DecodeError::NotUtf8 { .. }), "{error}");
        assert_eq!(error.field(), String::from_utf8_lossy(field));
    }
}

#[test]
fn entries_without_a_name_are_no_events() {
    for pairs in [
        &[][..],
        &[("created", "2026-11-23T09:04:54.436734")],
        &[("event", "")],
        &[("payload", "{\"event\":\"e\"}")],
    ] {
        assert_eq!(read("s", pairs).unwrap(), Decoded::Nameless);
    }
    let pairs = [(&b"data"[..], &b"\xff"[..])];
    assert_eq!(decode("s", pairs).unwrap(), Decoded::Nameless);
}

#[test]
fn of_a_repeated_field_the_last_counts() {
    let entry = [("event", "e"), ("a", "1"), ("user_id", "x"), ("event", "f"), ("a", "2"), ("user_id", "")];
    assert_eq!(fields("s", &entry), json!({"event": "f", "a": 2}));
}

#[test]
fn of_two_names_of_a_field_the_present_one_counts() {
    let path = |first: (&str, &str), second: (&str, &str)| {
        let entry = [("event", "model-ready"), ("model_name", "m"), ("version", "1"), first, second];
        let fields = fields("model-events", &entry);
        assert!(fields.get("checkpoint_path").is_none());
        fields.get("registry_path").cloned()
    };
    let (older, present) = (("checkpoint_path", "old"), ("registry_path", "new"));
    assert_eq!(path(older, present), Some(json!("new")));
    assert_eq!(path(present, older), Some(json!("new")));
    assert_eq!(path(older, ("registry_path", "")), Some(json!("old")));
    assert_eq!(path(("registry_path", ""), older), Some(json!("old")));
    assert_eq!(path(older, ("checkpoint_path", "")), None);
}

#[test]
fn older_names_of_training_events_are_read_as_the_present_ones() {
    for name in ["training.progress", "progress"] {
        let entry = [("event", name), ("model_name", "m"), ("progress", "0.5")];
        let expected = json!({"event": "training-progress", "model_name": "m", "progress": 0.5});
        assert_eq!(fields("training-events", &entry), expected);
    }
}

#[test]
fn an_envelope_fills_in_what_its_payload_does_not_say() {
    let entry = [
        ("event_type", "task-created"),
        ("sender", "tasks"),
        ("priority", "high"),
        ("recipient", ""),
        ("ttl_sec", "300"),
        ("payload", "{\"service\": \"s\", \"action\": \"a\", \"user_id\": 42, \"data\": {\"x\": null}}"),
        ("timestamp", "2026-05-01T10:00:00.123456789Z"),
    ];
    let expected = json!({
        "event": "task-created", "source": "tasks", "priority": "high", "ttl_sec": 300, "service": "s", "action": "a",
        "user_id": "42", "data": {"x": null}, "timestamp": "2026-05-01T10:00:00.123456Z",
    });
    assert_eq!(fields("platform-events", &entry), expected);
}

#[test]
fn a_payload_wins_over_its_envelope() {
    let payload = json!({
        "event": "error", "error_type": "io", "error_message": "m", "source": "inner", "priority": 1, "sender": "kept",
        "timestamp": "2026-05-01T10:00:00Z", "context": "{'a': 1}", "note": "5", "nothing": null, "user_id": null,
    });
    let entry = [
        ("event_type", "other"),
        ("sender", "outer"),
        ("priority", "high"),
        ("timestamp", "not even a timestamp"),
        ("user_id", "of the envelope"),
        ("payload", &payload.to_string()),
    ];
    let expected = json!({
        "event": "error", "error_type": "io", "error_message": "m", "source": "inner", "priority": 1,
        "sender": "kept", "timestamp": "2026-05-01T10:00:00.000000Z", "context": {"a": 1}, "note": "5",
        "nothing": null, "user_id": "of the envelope",
    });
    assert_eq!(fields("error-events", &entry), expected);
}

#[test]
fn an_envelope_without_a_payload_has_its_event_in_its_own_fields() {
    for payload in [None, Some(("payload", "")), Some(("payload", "null")), Some(("payload", "{}"))] {
        let entry: Vec<_> =
            [("event_type", "e"), ("sender", "s"), ("x", "1")].into_iter().chain(payload).collect();
        assert_eq!(fields("some-stream", &entry), json!({"event": "e", "source": "s", "x": 1}));
    }
}

#[test]
fn a_payload_in_repr_is_read() {
    let entry = [("event_type", "e"), ("payload", "{'a': True, '_strings': 'b'}")];
    assert_eq!(fields("s", &entry), json!({"event": "e", "a": true}));
}

#[test]
fn a_payload_of_the_wrong_shape_makes_the_event_invalid() {
    for (payload, field) in [
        ("[1]", "payload"),
        ("{", "payload"),
        ("text", "payload"),
        ("{\"event\": {\"a\": 1}}", "event"),
        ("{\"user_id\": [1]}", "user_id"),
        ("{\"user_id\": true}", "user_id"),
        ("{\"timestamp\": 5}", "timestamp"),
    ] {
        let error = read("s", &[("event_type", "e"), ("payload", payload)]).unwrap_err();
        assert_eq!(error.field(), field, "{error}");
    }
}

#[test]
fn values_of_a_payload_have_the_type_of_their_field() {
    let value = |field: &str, value: &str| {
        let payload =
            format!("{{\"model_name\": \"m\", \"version\": \"1\", \"latency_ms\": 1, \"{field}\": {value}}}");
        let entry = [("event_type", "inference-complete"), ("payload", &payload)];
        read("inference-events", &entry).map(|decoded| decoded.event().unwrap().get(field).cloned())
    };
    assert_eq!(value("latency_ms", "12").unwrap(), Some(json!(12.0)));
    assert_eq!(value("latency_ms", "\"12.5\"").unwrap(), Some(json!(12.5)));
    assert_eq!(value("version", "1.0").unwrap(), Some(json!("1.0")));
    assert_eq!(value("tokens_used", "5.0").unwrap(), Some(json!(5)));
    assert_eq!(value("success", "0").unwrap(), Some(json!(false)));
    assert_eq!(value("success", "\"False\"").unwrap(), Some(json!(false)));
    assert_eq!(value("user_id", "\"anonymous\"").unwrap(), None);
    assert_eq!(value("cost", "null").unwrap(), None);
    for (field, wrong) in
        [("latency_ms", "null"), ("latency_ms", "true"), ("tokens_used", "-1"), ("success", "2")]
    {
        assert_eq!(value(field, wrong).unwrap_err().field(), field);
    }
}

#[test]
fn an_event_with_a_name_is_no_envelope() {
    let entry = [("event", "e"), ("event_type", "x"), ("payload", "{\"a\": 1}"), ("sender", "s")];
    let expected = json!({"event": "e", "event_type": "x", "payload": {"a": 1}, "sender": "s"});
    assert_eq!(fields("s", &entry), expected);
}

#[test]
fn nesting_has_an_end() {
    let text = "[".repeat(100_000);
    assert_eq!(fields("s", &[("event", "e"), ("x", &text)])["x"], json!(text));
    let repr = format!("{{'a': {text}");
    let error =
        read("platform-events", &[("event", "e"), ("service", "s"), ("action", "a"), ("data", &repr)])
            .unwrap_err();
    assert_eq!(error.field(), "data");
    assert!(error.to_string().len() < 200);
}
