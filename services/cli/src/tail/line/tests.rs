use serde_json::json;

use super::*;
use crate::terminal::Terminal;

const PLAIN: Terminal = Terminal { colors: false, width: None };
const COLORED: Terminal = Terminal { colors: true, width: None };
/// 2026-11-23T09:04:54.440Z.
const MS: u64 = 1_795_424_694_440;

fn layout() -> Layout {
    Layout { stream_columns: 16, now: "2026-11-23T10:00:00+01:00[+01:00]".parse().unwrap() }
}

fn inference() -> Event {
    Event::new("inference-complete")
        .with("timestamp", "2026-11-23T09:04:54.440386Z")
        .with("source", "cyrex")
        .with("request_id", "req_1")
        .with("user_id", "64f1c0ffee")
        .with("latency_ms", 45.0)
        .with("version", "2.0")
        .with("model_name", "task-classifier")
        .with("event_id", "0198")
}

#[test]
fn the_fields_that_matter_come_first_and_the_rest_as_written() {
    let line = event_line("inference-events", MS, &inference(), &layout()).render(PLAIN);
    assert_eq!(
        line,
        "10:04:54.440  inference-events  inference-complete   model=task-classifier  version=2.0  \
         latency=45.0ms  user=64f1c0ffee  request_id=req_1  (cyrex)"
    );
}

#[test]
fn a_failure_is_red_and_a_success_is_not() {
    let red = "\u{1b}[31m";
    let failed = inference().with("success", false).with("error", "out of memory");
    let shown = event_line("inference-events", MS, &failed, &layout()).render(COLORED);
    assert!(shown.contains(&format!("{red}inference-complete")), "{shown}");
    assert!(shown.contains(&format!("{red}\"out of memory\"")), "{shown}");
    for event in [Event::new("task-failed"), Event::new("inference-failed")] {
        assert!(event_line("platform-events", MS, &event, &layout()).render(COLORED).contains(red));
    }
    assert!(event_line("error-events", MS, &Event::new("error"), &layout()).render(COLORED).contains(red));
    let fine = inference().with("success", true);
    assert!(!event_line("inference-events", MS, &fine, &layout()).render(COLORED).contains(red));
}

#[test]
fn values_that_could_be_misread_are_quoted() {
    let event = Event::new("x")
        .with("a", "two words")
        .with("b", "")
        .with("c", "k=v")
        .with("d", json!({"task_id": "t 1"}))
        .with("e", "line\nend");
    let line = event_line("platform-events", MS, &event, &layout()).render(PLAIN);
    assert!(line.ends_with(r#"a="two words"  b=""  c="k=v"  d={"task_id":"t 1"}  e="line\nend""#), "{line}");
}

#[test]
fn a_name_or_value_from_elsewhere_can_not_steer_the_terminal() {
    let event = Event::new("\u{1b}[2J").with("\u{7}bell", "\u{1b}]0;title\u{7}");
    let line = event_line("platform-events", MS, &event, &layout()).render(PLAIN);
    assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
}

#[test]
fn an_unreadable_entry_says_why() {
    let line = unreadable_line("inference-events", MS, "field latency_ms: \"fast\"", &layout()).render(PLAIN);
    assert_eq!(line, "10:04:54.440  inference-events  (unreadable)         field latency_ms: \"fast\"");
}
