use std::hash::{BuildHasher, RandomState};

use serde_json::json;

use super::*;

fn event() -> Event {
    Event::new("task-completed")
        .with("model_name", "m")
        .with("version", "1.0")
        .with("user_id", "007")
        .with("latency_ms", 45.0)
        .with("tokens_used", 123)
        .with("success", true)
        .with("a.b", "literal")
        .with("a", json!({"b": "within", "c": "within", "d.e": "dotted"}))
        .with("data", json!({"task_id": "t1", "result": {"version": 2, "tags": ["x", "y"]}}))
}

fn matches(condition: &Value) -> bool {
    Filter::from_json(condition).unwrap().matches(&event())
}

fn matches_terms(terms: &[&str]) -> bool {
    Filter::from_pairs(terms).unwrap().matches(&event())
}

#[test]
fn all_keys_must_match() {
    assert!(matches(&json!({})));
    assert!(matches(&json!({"model_name": "m"})));
    assert!(matches(&json!({"model_name": "m", "success": true, "event": "task-completed"})));
    assert!(!matches(&json!({"model_name": "m", "success": false})));
    assert!(!matches(&json!({"model_name": "M"})));
    assert!(!matches(&json!({"nothing": "m"})));
}

#[test]
fn a_list_matches_any_of_its_values() {
    assert!(matches(&json!({"model_name": ["a", "m"]})));
    assert!(matches(&json!({"tokens_used": ["x", 123, null]})));
    assert!(!matches(&json!({"model_name": ["a", "b"]})));
}

#[test]
fn dots_reach_into_objects() {
    assert!(matches(&json!({"data.task_id": "t1"})));
    assert!(matches(&json!({"data.result.version": 2})));
    assert!(!matches(&json!({"data.result.version.x": 2})));
    assert!(!matches(&json!({"data.result": 2})));
    assert!(!matches(&json!({"model_name.x": "m"})));
}

#[test]
fn a_field_whose_name_has_a_dot_comes_first() {
    assert!(matches(&json!({"a.b": "literal"})));
    assert!(!matches(&json!({"a.b": "within"})));
    assert!(matches(&json!({"a.c": "within"})));
    assert!(matches(&json!({"a.d.e": "dotted"})));
}

#[test]
fn numbers_are_compared_by_value_and_nothing_else_is_a_number() {
    assert!(matches(&json!({"latency_ms": 45, "tokens_used": 123.0, "data.result.version": 2.0})));
    for (wanted, held, is_equal) in [
        (json!(0), json!(-0.0), true),
        (json!(-3), json!(-3.0), true),
        (json!(0.1), json!(0.1), true),
        (json!(0.1), json!(0.2), false),
        (json!(u64::MAX), json!(u64::MAX as f64), false),
        (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992.0), false),
        (json!(1e300), json!(1e300), true),
        (json!("1"), json!(1), false),
        (json!(1), json!("1"), false),
        (json!(1), json!(true), false),
        (json!(0), Value::Null, false),
    ] {
        let filter = Filter::from_json(&json!({"x": wanted})).unwrap();
        assert_eq!(filter.matches(&Event::new("e").with("x", held.clone())), is_equal, "{wanted} {held}");
    }
}

#[test]
fn null_matches_what_is_not_there() {
    assert!(matches(&json!({"nothing": null})));
    assert!(matches(&json!({"data.nothing": null})));
    assert!(!matches(&json!({"model_name": null})));
    let filter = Filter::from_json(&json!({"x": null})).unwrap();
    assert!(filter.matches(&Event::new("e").with("x", Value::Null)));
}

#[test]
fn objects_and_lists_match_what_is_equal() {
    assert!(matches(&json!({"data.result": {"tags": ["x", "y"], "version": 2.0}})));
    assert!(!matches(&json!({"data.result": {"version": 2}})));
    assert!(!matches(&json!({"data.result": {"version": 2, "tags": ["x", "y"], "more": null}})));
    assert!(matches(&json!({"data.result.tags": [["x", "y"]]})));
    assert!(!matches(&json!({"data.result.tags": [["y", "x"]]})));
    assert!(!matches(&json!({"data.result.tags": ["x", "y"]})));
}

#[test]
fn terms_match_by_value_and_by_text() {
    assert!(matches_terms(&[]));
    assert!(matches_terms(&["model_name=m", "success=true"]));
    assert!(matches_terms(&["user_id=007"]));
    assert!(!matches_terms(&["user_id=7"]));
    assert!(matches_terms(&["version=1.0"]));
    assert!(!matches_terms(&["version=1"]));
    assert!(matches_terms(&["latency_ms=45", "tokens_used=123.0", "data.result.version=2"]));
    assert!(!matches_terms(&["success=1"]));
    assert!(matches_terms(&["nothing=null"]));
}

#[test]
fn a_repeated_term_and_a_list_match_any() {
    assert!(matches_terms(&["model_name=a", "model_name=m", "success=true"]));
    assert!(!matches_terms(&["model_name=a", "model_name=b"]));
    assert!(matches_terms(&["model_name=[\"a\",\"m\"]"]));
    assert!(matches_terms(&["{\"model_name\": [\"a\", \"m\"]}", "tokens_used=123"]));
    let text = Filter::from_pairs(["note=[1]"]).unwrap();
    assert!(text.matches(&Event::new("e").with("note", "[1]")));
}

#[test]
fn a_term_may_have_more_equals_signs_and_an_empty_value() {
    let filter = Filter::from_pairs(["query=a=b", "empty="]).unwrap();
    assert!(filter.matches(&Event::new("e").with("query", "a=b").with("empty", "")));
    assert!(!filter.matches(&Event::new("e").with("query", "a=b")));
}

#[test]
fn filters_that_say_the_same_are_equal() {
    let hasher = RandomState::new();
    for (one, other) in [
        (json!({"a": 1, "b": ["x", "y"]}), json!({"b": ["y", "x", "y"], "a": 1.0})),
        (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"y": 2, "x": 1}})),
        (json!({"a": "x"}), json!({"a": ["x"]})),
        (json!({}), Value::Null),
    ] {
        let (one, other) = (Filter::from_json(&one).unwrap(), Filter::from_json(&other).unwrap());
        assert_eq!(one, other);
        assert_eq!(hasher.hash_one(&one), hasher.hash_one(&other));
    }
    assert_ne!(Filter::from_json(&json!({"a": 1})).unwrap(), Filter::from_json(&json!({"a": "1"})).unwrap());
    assert_ne!(
        Filter::from_json(&json!({"a": [[1]]})).unwrap(),
        Filter::from_json(&json!({"a": [1]})).unwrap()
    );
    assert!(Filter::from_json(&json!({})).unwrap().is_empty());
    assert_eq!(Filter::default(), Filter::from_json(&json!({})).unwrap());
}

#[test]
fn what_is_no_condition_is_refused_with_what_it_should_be() {
    for (condition, message) in [
        (json!("a=b"), "where is the text \"a=b\", expected an object"),
        (json!([{"a": 1}]), "where is a list, expected an object"),
        (json!(5), "where is the number 5, expected an object"),
        (json!({"a": []}), "where key a has an empty list"),
        (json!({"": 1}), "where key \"\" can't be reached"),
        (json!({"a..b": 1}), "where key \"a..b\" can't be reached"),
        (json!({".a": 1}), "where key \".a\" can't be reached"),
        (
            json!({"a.b.c.d.e.f.g.h.i": 1}),
            "where key \"a.b.c.d.e.f.g.h.i\" can't be reached: it needs 1 to 8",
        ),
    ] {
        let error = Filter::from_json(&condition).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let cut_off = Filter::from_pairs(["{\"a\": \"x=y\""]).unwrap_err();
    assert!(matches!(cut_off, InvalidFilter::MalformedJson { .. }), "{cut_off}");
    for term in ["", "a", "=a"] {
        let error = Filter::from_pairs([term]).unwrap_err();
        assert!(matches!(error, InvalidFilter::MalformedTerm(_)), "{error}");
    }
}

#[test]
fn a_condition_has_limits() {
    let keys =
        |count: usize| (0..count).map(|key| (format!("k{key}"), json!(1))).collect::<Map<_, _>>().into();
    let values = |count: usize| json!({"a": (0..count).collect::<Vec<_>>()});
    let bytes = |count: usize| json!({"a": "x".repeat(count - 1)});
    let deep = |count: usize| json!({"a": [(0..count).fold(json!(1), |inner, _| json!([inner]))]});
    for (what, limit, within, beyond) in [
        ("keys", MAX_KEYS, keys(MAX_KEYS), keys(MAX_KEYS + 1)),
        ("values", MAX_VALUES, values(MAX_VALUES), values(MAX_VALUES + 1)),
        ("bytes", MAX_BYTES, bytes(MAX_BYTES), bytes(MAX_BYTES + 1)),
        ("levels", MAX_DEPTH, deep(MAX_DEPTH), deep(MAX_DEPTH + 1)),
    ] {
        assert!(Filter::from_json(&within).is_ok(), "{what}");
        assert_eq!(Filter::from_json(&beyond), Err(InvalidFilter::TooMuch { what, limit }));
    }
    assert!(Filter::from_json(&json!({"a.b.c.d.e.f.g.h": 1})).is_ok());
}
