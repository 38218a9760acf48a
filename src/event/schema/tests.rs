use super::*;

#[test]
fn an_event_is_known_on_its_own_stream_only() {
    assert_eq!(of("inference-events", "inference-complete").field("latency_ms").unwrap().kind, Kind::F64);
    assert!(of("training-events", "inference-complete").field("latency_ms").is_none());
    assert!(of("some-stream", "inference-complete").field("latency_ms").is_none());
}

#[test]
fn every_event_on_every_stream_has_the_common_fields_and_the_owners() {
    for (stream, event) in
        [("some-stream", "some-event"), ("model-events", "model-ready"), ("error-events", "x")]
    {
        let schema = of(stream, event);
        for field in
            ["event", "source", "event_id", "correlation_id", "traceparent", "user_id", "organization_id"]
        {
            assert_eq!(schema.field(field).unwrap().kind, Kind::String, "{field} of {event} on {stream}");
        }
        assert_eq!(schema.field("timestamp").unwrap().kind, Kind::Timestamp);
    }
}

#[test]
fn every_name_on_platform_events_has_the_platform_schema() {
    for event in ["task-created", "platform-event", "user-login"] {
        let schema = of("platform-events", event);
        assert!(schema.field("service").unwrap().required);
        assert_eq!(schema.field("data").unwrap().kind, Kind::Object);
    }
}

#[test]
fn older_streams_and_dead_letters_have_the_schema_of_the_stream_they_stand_for() {
    assert!(of("agi-events", "agi-decision").field("reasoning").is_some());
    assert!(of("agi-decisions:dlq", "agi-decision").field("reasoning").is_some());
    assert_eq!(canonical_name("training-events:dlq", "progress"), "training-progress");
}

#[test]
fn older_names_of_training_events_become_the_present_ones() {
    for (older, present) in [
        ("started", "training-started"),
        ("progress", "training-progress"),
        ("checkpoint", "training-checkpoint"),
        ("complete", "training-complete"),
        ("completed", "training-complete"),
        ("failed", "training-failed"),
    ] {
        assert_eq!(canonical_name("training-events", older), present);
        assert_eq!(canonical_name("training-events", &format!("training.{older}")), present);
        assert_eq!(canonical_name("training-events", present), present);
        assert_eq!(canonical_name("model-events", older), older);
    }
    assert_eq!(canonical_name("training-events", "paused"), "paused");
    assert_eq!(canonical_name("platform-events", "platform-event"), "platform-event");
}

#[test]
fn a_field_is_found_by_both_its_names_wherever_the_search_begins() {
    let schema = of("model-events", "model-ready");
    let place = schema.find(b"registry_path", 0).unwrap();
    for from in 0..=schema.fields.len() + 1 {
        assert_eq!(schema.find(b"registry_path", from), Some(place));
        assert_eq!(schema.find(b"checkpoint_path", from), Some(place));
        assert_eq!(schema.find(b"path", from), None);
    }
}

#[test]
fn no_event_and_no_field_is_in_the_table_twice() {
    for (index, schema) in ALL.iter().enumerate() {
        for other in &ALL[..index] {
            assert!((schema.stream, schema.event) != (other.stream, other.event), "{:?}", schema.event);
        }
        let names = || schema.fields.iter().flat_map(|field| [Some(field.name), field.older]).flatten();
        for name in names() {
            assert_eq!(names().filter(|other| *other == name).count(), 1, "{name} of {:?}", schema.event);
        }
    }
}

#[test]
fn every_known_event_of_the_contract_is_in_the_table() {
    let of_stream = |stream| {
        ALL.iter()
            .filter(|schema| schema.stream == Some(stream))
            .filter_map(|schema| schema.event)
            .collect::<Vec<_>>()
    };
    assert_eq!(of_stream("inference-events"), ["inference-complete", "inference-failed"]);
    assert_eq!(of_stream("model-events").len(), 6);
    assert_eq!(of_stream("training-events").len(), 5);
    assert_eq!(of_stream("platform-events").len(), 5);
    assert_eq!(of_stream("agi-decisions"), ["agi-decision"]);
    assert_eq!(of_stream("error-events"), ["error"]);
}
