use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn json_that_is_not_text_is_read_as_json() {
    for (text, value) in [
        ("true", json!(true)),
        ("false", json!(false)),
        ("null", Value::Null),
        ("0", json!(0)),
        ("-1", json!(-1)),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("1.0", json!(1.0)),
        ("-0.0", json!(-0.0)),
        ("1e+16", json!(1e16)),
        ("-1.7976931348623157e+308", json!(f64::MIN)),
        ("-2.2250738585072014e-308", json!(-f64::MIN_POSITIVE)),
        ("{\"a\": [1]}", json!({"a": [1]})),
        ("[1, \"x\"]", json!([1, "x"])),
    ] {
        assert_eq!(infer(text), Some(value), "{text}");
    }
}

#[test]
fn numbers_that_would_be_written_differently_stay_text() {
    for text in [
        "007",
        "-0",
        "00",
        "+1",
        "1.50",
        "1.",
        ".5",
        "1e5",
        "1e16",
        "3e-05",
        "0x10",
        "1_000",
        "-",
        "--1",
        "18446744073709551616",
        "-9223372036854775809",
        "12345678901234567890123",
        "1e999",
        "-1e999",
        "NaN",
        "nan",
        "inf",
        "Infinity",
        "-inf",
        "-Infinity",
        " 1",
        "1 ",
        "1,2",
        "1795424694440-0",
        "2026-05-01",
    ] {
        assert_eq!(infer(text), None, "{text}");
    }
}

#[test]
fn everything_else_stays_text() {
    for text in [
        "",
        "True",
        "False",
        "None",
        "TRUE",
        "nullable",
        "true ",
        "{'a': 1}",
        "[x]",
        "{",
        "[",
        "{}x",
        "[INFO] started",
        "{\"a\": 1e999}",
        "\"quoted\"",
        "hello",
    ] {
        assert_eq!(infer(text), None, "{text}");
    }
    let too_deep = "[".repeat(200) + &"]".repeat(200);
    assert_eq!(infer(&too_deep), None);
}

proptest! {
    #[test]
    fn a_number_has_the_text_it_was_read_from(number: f64) {
        prop_assume!(number.is_finite());
        let text = json!(number).to_string();
        prop_assert_eq!(infer(&text).map(|value| value.to_string()), Some(text));
    }

    #[test]
    fn what_is_read_as_a_number_is_written_as_the_same_text(text in "-?[0-9]{1,4}(\\.[0-9]{1,4})?(e-?[0-9]{1,3})?") {
        if let Some(number) = infer(&text) {
            prop_assert_eq!(number.to_string(), text);
        }
    }
}
