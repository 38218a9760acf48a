use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn what_repr_writes_is_read() {
    for (text, expected) in [
        ("{'user_id': '42', 'ok': True, 'n': None}", json!({"user_id": "42", "ok": true, "n": null})),
        ("{}", json!({})),
        ("[]", json!([])),
        ("()", json!([])),
        ("set()", json!([])),
        ("frozenset()", json!([])),
        ("frozenset({1, 2})", json!([1, 2])),
        ("{1, 'a'}", json!([1, "a"])),
        ("{1}", json!([1])),
        ("(1,)", json!([1])),
        ("(1, 2)", json!([1, 2])),
        ("(1)", json!(1)),
        ("[1, [2, (3, {'a': {4}})]]", json!([1, [2, [3, {"a": [4]}]]])),
        ("-5", json!(-5)),
        ("18446744073709551615", json!(u64::MAX)),
        ("123456789012345678901234567890", json!(1.234_567_890_123_456_8e29)),
        ("-0.0", json!(-0.0)),
        ("1e+16", json!(1e16)),
        ("3e-05", json!(3e-5)),
        ("'it\\'s'", json!("it's")),
        ("\"it's\"", json!("it's")),
        (r"'\n\r\t\\\x41\xe9\u2026\U0001f6a8\x00'", json!("\n\r\t\\Aé…\u{1f6a8}\0")),
        ("b'abc\\xc3\\xa9'", json!("abcé")),
        ("b\"it's\"", json!("it's")),
        ("{1: 'a', 1.5: 'b', True: 'c', None: 'd'}", json!({"1": "a", "1.5": "b", "true": "c", "null": "d"})),
        (" { 'a' : 1 , } ", json!({"a": 1})),
        ("'résumé 🚨'", json!("résumé 🚨")),
    ] {
        assert_eq!(parse(text), Some(expected), "{text}");
    }
}

#[test]
fn what_json_cannot_hold_is_refused() {
    for text in [
        "",
        "nan",
        "inf",
        "-inf",
        "[nan]",
        "{'a': inf}",
        "1j",
        "(1+2j)",
        "1e999",
        "...",
        "Ellipsis",
        "datetime.datetime(2026, 5, 1, 10, 0)",
        "<object at 0x7f>",
        "Decimal('1')",
        "{(1, 2): 3}",
        "{b'\\xff': 1}",
        "b'\\xff'",
        "'\\ud83d'",
        "'\\U00110000'",
        "true",
        "null",
        "Truex",
        "None_",
        "r'a'",
        "u'a'",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn what_is_cut_short_or_mixed_up_is_refused() {
    for text in [
        "{",
        "[",
        "(",
        "{'a'",
        "{'a':",
        "{'a': 1",
        "{'a': 1,",
        "{'a' 1}",
        "{'a': 1, 'b'}",
        "{1, 'a': 2}",
        "[1 2]",
        "[1,,2]",
        "[,]",
        "(,)",
        "{,}",
        "'abc",
        "'abc\\",
        "'\\x4'",
        "'\\u12'",
        "'\\q'",
        "'\\x4é'",
        "'a\nb'",
        "[1] x",
        "]",
        "--1",
        "1.2.3",
        "1e",
        "-",
        "frozenset({1}",
        "frozenset(1)",
        "b'",
        "b'é\\u2026'",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(&nested(MAX_DEPTH)).is_some());
    assert!(parse(&nested(MAX_DEPTH + 1)).is_none());
    assert!(parse(&"[".repeat(1_000_000)).is_none());
    let wide = format!("[{}]", vec!["[1]"; 1000].join(", "));
    assert!(parse(&wide).is_some(), "depth is counted, not the number of lists");
}

proptest! {
    #[test]
    fn no_text_is_too_strange_to_be_refused(text in "[\\[\\](){}:,'\"\\\\bxuU0-9a-fTN.\\-e é🚨\n]{0,40}") {
        parse(&text);
    }
}
