//! What is refused, and what is said to it; and what is taken back.

use super::*;

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
