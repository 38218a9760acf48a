mod refusals;

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;

const NOW: Duration = Duration::from_micros(1_777_629_600_123_456);

/// An event from a JSON object.
fn event(fields: &Value) -> Event {
    Event::from(fields.as_object().unwrap().clone())
}

/// The pairs of an event as text, without those that every entry gets at the end.
fn pairs(stream: &str, fields: &Value) -> Result<Vec<(String, String)>, InvalidEvent> {
    let mut body = Vec::new();
    let encoded = encode(stream, &event(fields), "test", &Limits::default(), &mut body)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let pairs: Vec<_> =
        read_pairs(&body).unwrap().into_iter().map(|(field, value)| (text(field), text(value))).collect();
    assert_eq!(pairs.len(), encoded.fields);
    assert_eq!(pairs.iter().map(|(field, value)| field.len() + value.len()).sum::<usize>(), encoded.bytes);
    let added = ["timestamp", "source", "event_id"];
    Ok(pairs
        .into_iter()
        .filter(|(field, _)| fields.get(field).is_some() || !added.contains(&field.as_str()))
        .collect())
}

fn assert_pairs(stream: &str, fields: &Value, expected: &[(&str, &str)]) {
    let pairs = pairs(stream, fields).unwrap();
    let pairs: Vec<_> = pairs.iter().map(|(field, value)| (field.as_str(), value.as_str())).collect();
    assert_eq!(pairs, expected);
}

/// What is said to an event that is refused; nothing of it may be written.
fn refusal(stream: &str, fields: &Value) -> InvalidEvent {
    let mut body = b"before".to_vec();
    let error = encode(stream, &event(fields), "test", &Limits::default(), &mut body).unwrap_err();
    assert_eq!(body, b"before");
    error
}

fn inference(fields: &Value) -> Value {
    let mut all =
        json!({"event": "inference-complete", "model_name": "m", "version": "1", "latency_ms": 1.5});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    all
}

#[test]
fn an_event_is_readable_text_in_the_order_it_was_given() {
    assert_pairs(
        "inference-events",
        &json!({
            "event": "inference-complete", "model_name": "task-classifier", "version": "2.0", "latency_ms": 45.0,
            "user_id": "007", "tokens_used": 123, "cost": 0.00042, "success": true, "note": "résumé",
            "retries": 2, "offset": -3, "warm": false, "tags": ["a", 1], "where": {"zone": "b"}, "none": null,
        }),
        &[
            ("event", "inference-complete"),
            ("model_name", "task-classifier"),
            ("version", "2.0"),
            ("latency_ms", "45.0"),
            ("user_id", "007"),
            ("tokens_used", "123"),
            ("cost", "0.00042"),
            ("success", "true"),
            ("note", "résumé"),
            ("retries", "2"),
            ("offset", "-3"),
            ("warm", "false"),
            ("tags", "[\"a\",1]"),
            ("where", "{\"zone\":\"b\"}"),
        ],
    );
}

#[test]
fn every_entry_gets_a_timestamp_a_source_and_an_id() {
    let mut body = b"before".to_vec();
    let limits = Limits::default();
    let entry = EntryEncoder::begin(&mut body, "s", "e", &limits).unwrap();
    let encoded = entry.finish("cyrex", UNIX_EPOCH + NOW).unwrap();
    let entry = &body[6..];
    let pairs = read_pairs(entry).unwrap();
    assert_eq!(pairs[1], (&b"timestamp"[..], &b"2026-05-01T10:00:00.123456Z"[..]));
    assert_eq!(pairs[2], (&b"source"[..], &b"cyrex"[..]));
    assert_eq!(pairs[3].0, b"event_id");
    assert_eq!(pairs[3].1, &entry[encoded.event_id]);
    assert_eq!(&pairs[3].1[..14], b"019de2fb-197b-");
}

#[test]
fn what_every_entry_has_is_taken_from_the_event_if_it_is_there() {
    let mut body = Vec::new();
    let fields =
        json!({"event": "e", "event_id": "mine", "source": "me", "timestamp": "2026-05-01T12:00:00+02:00"});
    let encoded = encode("s", &event(&fields), "test", &Limits::default(), &mut body).unwrap();
    assert_eq!(&body[encoded.event_id], b"mine");
    let expected: [(&[u8], &[u8]); 4] = [
        (b"event", b"e"),
        (b"event_id", b"mine"),
        (b"source", b"me"),
        (b"timestamp", b"2026-05-01T10:00:00.000000Z"),
    ];
    assert_eq!(read_pairs(&body).unwrap(), expected);
}

#[test]
fn an_entry_without_a_source_is_refused() {
    let mut body = Vec::new();
    let error = encode("s", &Event::new("e"), "", &Limits::default(), &mut body).unwrap_err();
    assert_eq!(error.field(), "source");
    assert!(body.is_empty());
}

#[test]
fn floats_are_short_and_keep_their_point_or_exponent() {
    for (number, text) in [
        (45.0, "45.0"),
        (0.1, "0.1"),
        (1e16, "1e+16"),
        (3e-7, "3e-7"),
        (-0.0, "-0.0"),
        (f64::MAX, "1.7976931348623157e+308"),
    ] {
        assert_pairs("s", &json!({"event": "e", "x": number}), &[("event", "e"), ("x", text)]);
    }
}

#[test]
fn an_integer_becomes_a_float_where_one_is_expected() {
    let fields = json!({"event": "training-progress", "model_name": "m", "progress": 1});
    let pairs = pairs("training-events", &fields).unwrap();
    assert_eq!(pairs[2], ("progress".to_owned(), "1.0".to_owned()));
    let fields = inference(&json!({"cost": -2}));
    assert!(
        self::pairs("inference-events", &fields).unwrap().contains(&("cost".to_owned(), "-2.0".to_owned()))
    );
}

#[test]
fn text_that_looks_like_something_else_is_listed() {
    assert_pairs(
        "s",
        &json!({
            "event": "e", "zip": "12345", "flag": "true", "list": "[1]", "plain": "abc", "code": "007", "n": "null",
            "big": "12345678901234567890123", "log": "[INFO] started", "user_id": "42", "number": 5,
        }),
        &[
            ("event", "e"),
            ("zip", "12345"),
            ("flag", "true"),
            ("list", "[1]"),
            ("plain", "abc"),
            ("code", "007"),
            ("n", "null"),
            ("big", "12345678901234567890123"),
            ("log", "[INFO] started"),
            ("user_id", "42"),
            ("number", "5"),
            ("_strings", "zip,flag,list,n"),
        ],
    );
}

#[test]
fn text_that_cannot_be_listed_is_refused() {
    let error = refusal("s", &json!({"event": "e", "a,b": "12"}));
    assert_eq!(error, InvalidEvent::Comma { field: "a,b".to_owned(), read_as: "a number" });
    assert_pairs(
        "s",
        &json!({"event": "e", "a,b": "x", "c,d": 12}),
        &[("event", "e"), ("a,b", "x"), ("c,d", "12")],
    );
}

#[test]
fn empty_text_in_optional_known_fields_is_left_out() {
    let fields = inference(&json!({
        "user_id": "anonymous", "request_id": "", "error": "", "event_id": "", "source": "", "timestamp": "",
        "note": "", "tokens_used": "", "nobody": "anonymous", "version": "",
    }));
    let pairs = pairs("inference-events", &fields).unwrap();
    let names: Vec<_> = pairs.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        names,
        [
            "event",
            "model_name",
            "version",
            "latency_ms",
            "note",
            "nobody",
            "success",
            "timestamp",
            "source",
            "event_id"
        ]
    );
    assert!(
        pairs.iter().all(|(field, value)| ["note", "version"].contains(&field.as_str()) == value.is_empty())
    );
}

#[test]
fn success_follows_from_the_name_unless_it_is_given() {
    for (name, given, expected) in [
        ("inference-complete", Value::Null, "true"),
        ("inference-failed", Value::Null, "false"),
        ("inference-complete", json!(false), "false"),
        ("inference-failed", json!(true), "true"),
    ] {
        let pairs = pairs("inference-events", &inference(&json!({"event": name, "success": given}))).unwrap();
        let success: Vec<_> = pairs.iter().filter(|(field, _)| field == "success").collect();
        assert_eq!(success, [&("success".to_owned(), expected.to_owned())]);
    }
}

#[test]
fn older_names_are_written_as_the_present_ones() {
    assert_pairs(
        "model-events",
        &json!({"event": "model-ready", "model_name": "m", "version": "1", "checkpoint_path": "s3://x"}),
        &[("event", "model-ready"), ("model_name", "m"), ("version", "1"), ("registry_path", "s3://x")],
    );
    assert_pairs(
        "agi-events",
        &json!({"event": "agi-decision", "type": "scale"}),
        &[("event", "agi-decision"), ("decision_type", "scale")],
    );
    assert_pairs(
        "training-events",
        &json!({"event": "training.completed", "model_name": "m"}),
        &[("event", "training-complete"), ("model_name", "m")],
    );
}

#[test]
fn a_field_given_by_both_its_names_is_refused() {
    let fields = json!({"event": "model-ready", "model_name": "m", "version": "1", "checkpoint_path": "a", "registry_path": "b"});
    assert_eq!(refusal("model-events", &fields), InvalidEvent::Repeated { field: "registry_path" });
}

#[test]
fn a_known_field_that_is_written_twice_is_refused() {
    let mut body = Vec::new();
    let limits = Limits::default();
    let mut entry = EntryEncoder::begin(&mut body, "platform-events", "task-created", &limits).unwrap();
    entry.json_text("data", "{}", JsonKind::Object).unwrap();
    let error = entry.json_text("data", "{}", JsonKind::Object).unwrap_err();
    assert_eq!(error, InvalidEvent::Repeated { field: "data" });
    entry.str("event", "task-created").unwrap();
    assert_eq!(entry.str("event", "task-failed").unwrap_err(), InvalidEvent::Repeated { field: "event" });
}
