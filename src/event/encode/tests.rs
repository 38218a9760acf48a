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

#[test]
fn an_event_without_a_name_is_refused() {
    for fields in [json!({}), json!({"event": ""}), json!({"event": null}), json!({"event_type": "x"})] {
        assert_eq!(refusal("s", &fields), InvalidEvent::NoName);
    }
    let message = refusal("s", &json!({"event": 5})).to_string();
    assert_eq!(message, "field event is the number 5, expected a string");
}

#[test]
fn a_missing_required_field_is_named() {
    for missing in ["model_name", "version", "latency_ms"] {
        for gone in [true, false] {
            let mut fields = inference(&json!({}));
            if gone {
                fields.as_object_mut().unwrap().shift_remove(missing);
            } else {
                fields[missing] = Value::Null;
            }
            let error = refusal("inference-events", &fields);
            assert_eq!(error.field(), missing);
            assert!(error.to_string().contains("inference-complete on inference-events needs it"), "{error}");
        }
    }
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_what_is_expected() {
    for (stream, field, value, message) in [
        ("inference-events", "latency_ms", json!("45"), "the text \"45\", expected a finite number"),
        ("inference-events", "latency_ms", json!(true), "the boolean true, expected a finite number"),
        ("inference-events", "version", json!(2.0), "the number 2.0, expected a string"),
        ("inference-events", "user_id", json!(42), "the number 42, expected a string"),
        (
            "inference-events",
            "tokens_used",
            json!(-1),
            "the number -1, expected an integer from 0 to 18446744073709551615",
        ),
        (
            "inference-events",
            "tokens_used",
            json!(1.0),
            "the number 1.0, expected an integer from 0 to 18446744073709551615",
        ),
        ("inference-events", "success", json!(1), "the number 1, expected true or false"),
        ("inference-events", "success", json!("false"), "the text \"false\", expected true or false"),
        ("inference-events", "error", json!({"a": 1}), "an object, expected a string"),
        ("inference-events", "error", json!([1]), "a list, expected a string"),
        (
            "inference-events",
            "timestamp",
            json!("yesterday"),
            "the text \"yesterday\", expected an RFC 3339 timestamp such as 2026-05-01T10:00:00.123456Z",
        ),
        ("platform-events", "data", json!([1]), "a list, expected an object"),
        ("platform-events", "data", json!("{}"), "the text \"{}\", expected an object"),
    ] {
        let error = refusal(stream, &inference(&json!({field: value})));
        assert_eq!(error.to_string(), format!("field {field} is {message}"));
        assert_eq!(error.field(), field);
    }
}

#[test]
fn a_long_wrong_value_is_cut_in_the_message() {
    let message =
        refusal("inference-events", &inference(&json!({"success": "é".repeat(10_000)}))).to_string();
    assert!(message.contains(&format!("{}\"…", "é".repeat(60))), "{message}");
    assert!(message.len() < 300);
}

#[test]
fn names_that_no_field_can_have_are_refused() {
    let long = "x".repeat(257);
    for name in ["", &long] {
        let error = refusal("s", &json!({"event": "e", name: 1}));
        assert!(matches!(error, InvalidEvent::FieldName { limit: 256, .. }), "{error}");
    }
    assert_pairs("s", &json!({"event": "e", &long[..256]: 1}), &[("event", "e"), (&long[..256], "1")]);
    assert_eq!(
        refusal("s", &json!({"event": "e", "_strings": "a"})),
        InvalidEvent::Reserved { field: "_strings" }
    );
    assert_eq!(
        refusal("s", &json!({"event": "e", "_strings": null})),
        InvalidEvent::Reserved { field: "_strings" }
    );
}

#[test]
fn an_event_id_has_a_greatest_length() {
    let id = "i".repeat(256);
    assert_pairs("s", &json!({"event": "e", "event_id": id}), &[("event", "e"), ("event_id", &id)]);
    let error = refusal("s", &json!({"event": "e", "event_id": format!("{id}i")}));
    assert_eq!(error, InvalidEvent::EventId { bytes: 257, limit: 256 });
}

#[test]
fn numbers_that_are_none_are_refused() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for field in ["latency_ms", "unknown"] {
            let mut body = b"before".to_vec();
            let limits = Limits::default();
            let mut entry =
                EntryEncoder::begin(&mut body, "inference-events", "inference-complete", &limits).unwrap();
            let error = entry.f64(field, number).unwrap_err();
            assert!(matches!(&error, InvalidEvent::NotFinite { .. }), "{error}");
            assert_eq!(error.field(), field);
            drop(entry);
            assert_eq!(body, b"before");
        }
    }
}

#[test]
fn fields_are_counted_with_those_that_every_entry_has() {
    let with = |count: usize, value: &str| {
        let mut event = Event::new("e");
        for index in 0..count {
            event.set(format!("f{index}"), value);
        }
        let mut body = Vec::new();
        let result = encode("s", &event, "test", &Limits::default(), &mut body);
        assert_eq!(result.is_err(), body.is_empty());
        result
    };
    assert_eq!(with(124, "x").unwrap().fields, 128);
    assert_eq!(with(123, "5").unwrap().fields, 128);
    for (count, value, field) in [(125, "x", "event_id"), (124, "5", "_strings"), (128, "x", "f127")] {
        let error = with(count, value).unwrap_err();
        assert_eq!(error, InvalidEvent::TooManyFields { field: field.to_owned(), limit: 128 });
    }
}

#[test]
fn bytes_are_counted_in_names_and_values() {
    let limits = Limits { max_bytes: 200, ..Limits::default() };
    // event, e, timestamp and its 27, source, test, event_id and its 36, x
    let rest = 5 + 1 + 9 + 27 + 6 + 4 + 8 + 36 + 1;
    let with = |value: Value| {
        let mut body = Vec::new();
        let result = encode("s", &Event::new("e").with("x", value), "test", &limits, &mut body);
        assert_eq!(result.is_err(), body.is_empty());
        result
    };
    assert_eq!(with(json!("x".repeat(200 - rest))).unwrap().bytes, 200);
    assert_eq!(with(json!(["x".repeat(200 - rest - 4)])).unwrap().bytes, 200);
    let error = with(json!("x".repeat(201 - rest))).unwrap_err();
    assert_eq!(error, InvalidEvent::TooLarge { field: "event_id".to_owned(), bytes: 201, limit: 200 });
    for value in [json!("x".repeat(200)), json!(["x".repeat(200)])] {
        let error = with(value).unwrap_err();
        assert!(
            matches!(&error, InvalidEvent::TooLarge { field, limit: 200, .. } if field == "x"),
            "{error}"
        );
    }
}

#[test]
fn nesting_that_readers_would_refuse_is_refused() {
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let fields = json!({"event": "e", "x": nested(MAX_JSON_DEPTH)});
    let text = &pairs("s", &fields).unwrap()[1].1;
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), fields["x"]);
    let error = refusal("s", &json!({"event": "e", "x": nested(MAX_JSON_DEPTH + 1)}));
    assert_eq!(error, InvalidEvent::TooDeep { field: "x".to_owned(), limit: MAX_JSON_DEPTH });
    let wide = json!({"event": "e", "x": vec![json!(["]", "\\\"[[["]); 200]});
    assert!(pairs("s", &wide).is_ok(), "depth is counted, not the number of brackets");
}

#[test]
fn json_text_is_taken_if_it_is_of_its_kind() {
    let written = |text: &str, kind| {
        let mut body = Vec::new();
        let limits = Limits::default();
        let mut entry = EntryEncoder::begin(&mut body, "s", "e", &limits).unwrap();
        entry.json_text("x", text, kind)?;
        entry.finish("test", UNIX_EPOCH)?;
        Ok::<_, InvalidEvent>(String::from_utf8(read_pairs(&body).unwrap()[1].1.to_vec()).unwrap())
    };
    assert_eq!(written("{\"a\":1}", JsonKind::Object).unwrap(), "{\"a\":1}");
    assert_eq!(written("[]", JsonKind::Array).unwrap(), "[]");
    for (text, kind) in [
        ("[]", JsonKind::Object),
        ("{}", JsonKind::Array),
        ("", JsonKind::Object),
        ("{", JsonKind::Object),
        ("{\"a\": NaN}", JsonKind::Object),
        ("[1,]", JsonKind::Array),
        ("[][]", JsonKind::Array),
        ("5", JsonKind::Array),
    ] {
        let error = written(text, kind).unwrap_err();
        assert!(matches!(&error, InvalidEvent::MalformedJson { field, .. } if field == "x"), "{error}");
    }
}

#[test]
fn json_that_is_written_in_place_has_the_right_length_at_every_length() {
    for len in [2, 9, 10, 11, 99, 100, 101, 999, 1000, 99_999, 100_000, 1_000_000] {
        let mut body = Vec::new();
        let limits = Limits::default();
        let mut entry = EntryEncoder::begin(&mut body, "s", "e", &limits).unwrap();
        let text = format!("[{}]", " ".repeat(len - 2));
        let write = |body: &mut Vec<u8>| {
            body.extend_from_slice(text.as_bytes());
            Ok::<_, InvalidEvent>(())
        };
        entry.json_with("x", JsonKind::Array, write).unwrap();
        entry.bool("after", true).unwrap();
        entry.finish("test", UNIX_EPOCH).unwrap();
        let pairs = read_pairs(&body).unwrap();
        assert_eq!(pairs[1], (&b"x"[..], text.as_bytes()));
        assert_eq!(pairs[2], (&b"after"[..], &b"true"[..]));
    }
}

#[test]
fn a_writer_of_json_that_fails_leaves_nothing_behind() {
    let mut body = b"before".to_vec();
    let limits = Limits::default();
    let mut entry = EntryEncoder::begin(&mut body, "s", "e", &limits).unwrap();
    let error = InvalidEvent::Unsupported { field: "x".to_owned(), found: "a lock".to_owned() };
    let result = entry.json_with("x", JsonKind::Array, |body| {
        body.extend_from_slice(b"[1,");
        Err(error.clone())
    });
    assert_eq!(result, Err(error));
    entry.bool("after", true).unwrap();
    entry.finish("test", UNIX_EPOCH).unwrap();
    let pairs = read_pairs(&body[6..]).unwrap();
    assert_eq!(pairs[1], (&b"after"[..], &b"true"[..]));
}

#[test]
fn an_encoder_that_is_dropped_takes_back_what_it_wrote() {
    let mut body = b"before".to_vec();
    let limits = Limits::default();
    let mut entry = EntryEncoder::begin(&mut body, "s", "e", &limits).unwrap();
    entry.str("a", "b").unwrap();
    drop(entry);
    assert_eq!(body, b"before");
}

#[test]
fn a_body_that_is_not_made_of_pairs_is_not_read_back() {
    for body in [
        "$1\r\na\r\n",
        "$1\r\na\r\n$2\r\nb\r\n",
        "$1\r\na\r\n$1\r\nbx",
        "x",
        "$\r\n\r\n",
        "$-1\r\n",
        "$9999999999\r\n",
    ] {
        assert_eq!(read_pairs(body.as_bytes()), None, "{body:?}");
    }
    assert_eq!(read_pairs(b""), Some(Vec::new()));
}
