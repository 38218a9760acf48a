//! What is written is read back as it was, and nothing is written that can't be read.

#![expect(clippy::unwrap_used, reason = "helpers of tests state invariants by unwrapping")]

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Number, Value, json};
use synapse_rs::{
    Event,
    event::{
        DecodeError, InvalidEvent, decode,
        encode::{Limits, encode, read_pairs},
        schema::{self, EventSchema, Kind},
    },
};

fn encoded(stream: &str, event: &Event) -> Result<Vec<u8>, InvalidEvent> {
    let mut body = Vec::new();
    let result = encode(stream, event, "test", &Limits::default(), &mut body);
    if result.is_err() {
        assert!(body.is_empty(), "an event that is refused leaves nothing behind");
    }
    result.map(|_| body)
}

fn decoded(stream: &str, body: &[u8]) -> Result<Event, DecodeError> {
    Ok(decode(stream, read_pairs(body).unwrap())?.event().expect("an encoded event has a name"))
}

fn number() -> impl Strategy<Value = Value> {
    let float = prop_oneof![any::<f64>(), (-1e6..1e6), select(vec![0.0, -0.0, 1e16, 1e-7, 5e-324, f64::MAX])];
    prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        float.prop_filter("finite", |float| float.is_finite()).prop_map(Value::from),
    ]
}

/// Text, much of it looking like something else.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z]{1,12}",
        number().prop_map(|number| number.to_string()),
        "[-+]?[0-9]{1,25}(\\.[0-9]{0,3})?(e[+-]?[0-9]{1,3})?",
        select(vec![
            "",
            "true",
            "false",
            "null",
            "True",
            "None",
            "[]",
            "{}",
            "[1, 2]",
            "{\"a\": 1} ",
            "[x",
            "{'a': 1}",
            "anonymous",
            "NaN",
            "007",
            "1.0",
            "2026-05-01T10:00:00Z",
        ])
        .prop_map(str::to_owned),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        text().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((text(), inner), 0..6).prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    vec((text(), json_value()), 0..4).prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into())
}

fn timestamp() -> impl Strategy<Value = Value> {
    (0..253_402_300_799_i64, 0..1_000_000).prop_map(|(seconds, micros)| {
        let instant = jiff::Timestamp::new(seconds, micros * 1000).unwrap();
        json!(format!("{instant:.6}"))
    })
}

/// A value of a known field, as it is in an event that was read.
fn known(kind: Kind) -> BoxedStrategy<Value> {
    let meant = |text: &String| !text.is_empty() && text != "anonymous";
    match kind {
        Kind::String => text().prop_filter("means a value", meant).prop_map(Value::from).boxed(),
        Kind::U64 => any::<u64>().prop_map(Value::from).boxed(),
        Kind::F64 => number().prop_map(|number| json!(number.as_f64().unwrap())).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Kind::Object => object().boxed(),
        Kind::Timestamp => timestamp().boxed(),
    }
}

/// The known fields of an event: what is required, what has a default, and some of the rest.
fn known_fields(schema: &'static EventSchema, name: &str) -> BoxedStrategy<Map<String, Value>> {
    let own = json!(name);
    schema.fields.iter().fold(Just(Map::new()).boxed(), move |fields, field| {
        let always = field.required
            || field.default.is_some()
            || ["timestamp", "source", "event_id"].contains(&field.name);
        let value = if field.name == "event" { Just(own.clone()).boxed() } else { known(field.kind) };
        let value = if always { value.prop_map(Some).boxed() } else { option::of(value).boxed() };
        (fields, value)
            .prop_map(move |(mut fields, value)| {
                if let Some(value) = value {
                    fields.insert(field.name.to_owned(), value);
                }
                fields
            })
            .boxed()
    })
}

/// A valid event of any stream, in the form in which it is read.
fn valid_event() -> impl Strategy<Value = (String, Event)> {
    let place = prop_oneof![
        8 => select(schema::ALL.iter().collect::<Vec<_>>()).prop_map(|schema| {
            (schema.stream.unwrap_or("some-stream").to_owned(), schema.event.unwrap_or("something").to_owned())
        }),
        1 => (any::<String>(), any::<String>().prop_filter("not empty", |name| !name.is_empty())),
        1 => Just(("agi-events".to_owned(), "agi-decision".to_owned())),
    ];
    place.prop_flat_map(|(stream, name)| {
        let name = schema::canonical_name(&stream, &name).to_owned();
        let schema = schema::of(&stream, &name);
        let unknown_name = prop_oneof![
            "[a-z_]{1,10}",
            "[^,]{1,30}",
            select(vec!["event_type".to_owned(), "payload".to_owned()])
        ]
        .prop_filter("unknown", |name| schema.field(name).is_none() && name != "_strings");
        let value = json_value().prop_filter("not null", |value| !value.is_null());
        (Just(stream), known_fields(schema, &name), vec((unknown_name, value), 0..8)).prop_map(
            |(stream, mut fields, unknown)| {
                fields.extend(unknown);
                (stream, Event::from(fields))
            },
        )
    })
}

/// A valid event of which a few fields are something else or gone: mostly wrong, sometimes right.
fn any_event() -> impl Strategy<Value = (String, Event)> {
    valid_event().prop_flat_map(|(stream, event)| {
        let schema = schema::of(&stream, event.name());
        let names: Vec<&str> =
            schema.fields.iter().flat_map(|field| [Some(field.name), field.older]).flatten().collect();
        let name = prop_oneof![
            6 => select(names).prop_map(str::to_owned),
            1 => text(),
            1 => Just("_strings".to_owned()),
        ];
        let value = prop_oneof![json_value(), text().prop_map(Value::from), number(), Just(Value::Null)];
        vec((name, value), 0..3).prop_map(move |changes| {
            let mut event = event.clone();
            for (name, value) in changes {
                event.set(name, value);
            }
            (stream.clone(), event)
        })
    })
}

/// Pairs as others may write them.
fn any_pairs() -> impl Strategy<Value = (String, Vec<(String, String)>)> {
    any_event().prop_flat_map(|(stream, event)| {
        let pairs: Vec<_> = event
            .into_fields()
            .into_iter()
            .map(|(field, value)| (field, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        let payload = json!(pairs.iter().cloned().collect::<std::collections::BTreeMap<_, _>>()).to_string();
        (Just(stream), any::<bool>()).prop_map(move |(stream, in_envelope)| {
            let mut pairs = pairs.clone();
            if in_envelope {
                pairs.retain(|(field, _)| field != "event");
                pairs.push(("event_type".to_owned(), "progress".to_owned()));
                pairs.push(("payload".to_owned(), payload.clone()));
            }
            (stream, pairs)
        })
    })
}

/// Numbers by their kind and digits: -0.0 is not 0.0, and 1 is not 1.0.
fn exactly(value: &Value) -> Vec<Number> {
    match value {
        Value::Number(number) => vec![number.clone()],
        Value::Array(items) => items.iter().flat_map(exactly).collect(),
        Value::Object(fields) => fields.values().flat_map(exactly).collect(),
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_event_is_read_back_as_it_was_written((stream, event) in valid_event()) {
        let body = encoded(&stream, &event).unwrap();
        let read = decoded(&stream, &body).unwrap();
        prop_assert_eq!(&read, &event);
        let numbers = |event: &Event| {
            let mut fields: Vec<_> = event.fields().iter().map(|(name, value)| (name.clone(), exactly(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            format!("{fields:?}")
        };
        prop_assert_eq!(numbers(&read), numbers(&event));
        prop_assert_eq!(encoded(&stream, &read).unwrap().len(), body.len());
    }

    #[test]
    fn whatever_is_written_can_be_read((stream, event) in any_event()) {
        if let Ok(body) = encoded(&stream, &event) {
            let read = decoded(&stream, &body).unwrap();
            // What was read is in its final form.
            let again = decoded(&stream, &encoded(&stream, &read).unwrap()).unwrap();
            prop_assert_eq!(again, read);
        }
    }

    #[test]
    fn whatever_is_read_can_be_written_and_stays_what_it_is((stream, pairs) in any_pairs()) {
        let pairs = pairs.iter().map(|(field, value)| (field.as_bytes(), value.as_bytes()));
        // Without a name, which may have been drawn empty, there is no event.
        let Ok(Some(mut event)) = decode(&stream, pairs).map(synapse_rs::event::Decoded::event) else { return Ok(()) };
        match encoded(&stream, &event) {
            Ok(body) => {
                // Unknown fields may be read as null, which is left out on writing.
                let nulls: Vec<_> = event.fields().iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect();
                for name in nulls {
                    event.fields_mut().shift_remove(&name);
                }
                let read = decoded(&stream, &body).unwrap();
                for (name, value) in event.fields() {
                    prop_assert_eq!(read.get(name), Some(value));
                }
            }
            Err(error) => {
                let is_of_the_name = matches!(
                    error,
                    InvalidEvent::FieldName { .. } | InvalidEvent::Comma { .. } | InvalidEvent::EventId { .. }
                );
                prop_assert!(is_of_the_name, "{error}");
            }
        }
    }

    #[test]
    fn no_bytes_are_too_strange_to_be_read_or_refused(
        stream in select(vec!["inference-events", "platform-events", "training-events", "s"]),
        pairs in vec((vec(any::<u8>(), 0..12), vec(any::<u8>(), 0..40)), 0..8),
        name in select(vec!["event", "event_type", "x"]),
    ) {
        let named = [(name.as_bytes(), &b"inference-complete"[..])];
        let pairs = pairs.iter().map(|(field, value)| (field.as_slice(), value.as_slice()));
        if let Err(error) = decode(stream, named.into_iter().chain(pairs)) {
            prop_assert!(error.to_string().len() < 1000);
        }
    }
}
