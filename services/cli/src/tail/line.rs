//! An event as one line for people: time, stream, name, then the fields, those that matter first.

use jiff::ZonedDateTime;
use serde_json::Value;
use synapse_chassis::console::human;
use synapse_rs::{Event, stream};

use crate::terminal::{Line, Style};

/// Fields that say most about an event, in the order they are shown; the others follow as they were written.
const FIRST: [&str; 18] = [
    "model_name",
    "version",
    "service",
    "action",
    "error_type",
    "error_message",
    "error",
    "latency_ms",
    "status",
    "progress",
    "step",
    "user_id",
    "organization_id",
    "experiment_id",
    "decision_type",
    "tokens_used",
    "cost",
    "confidence",
];
/// Shown in a column of their own, or of no interest to a reader of lines.
const NOT_SHOWN: [&str; 4] = ["event", "timestamp", "event_id", "source"];
/// Wide enough for `inference-complete` and `training-checkpoint`.
const NAME_COLUMNS: usize = 19;

/// What the lines of one output share.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Columns for the name of the stream: those of the longest one.
    pub(crate) stream_columns: usize,
    /// The reader's time and zone.
    pub(crate) now: ZonedDateTime,
}

/// The line of an event; `ms` is the time of its entry.
pub(crate) fn event_line(stream: &str, ms: u64, event: &Event, layout: &Layout) -> Line {
    let mut line = heading(stream, ms, layout);
    let failed = has_failed(stream, event);
    line.push_padded(if failed { Style::Failure } else { Style::Bold }, event.name(), NAME_COLUMNS);
    for name in FIRST {
        if let Some(value) = event.get(name) {
            push_field(&mut line, name, value, failed);
        }
    }
    let shown = |name: &str| FIRST.contains(&name) || NOT_SHOWN.contains(&name);
    for (name, value) in event.fields().iter().filter(|(name, _)| !shown(name)) {
        push_field(&mut line, name, value, failed);
    }
    if let Some(source) = event.str("source") {
        line.push(Style::Dim, &format!("  ({source})"));
    }
    line
}

/// The line of an entry that can't be read as an event.
pub(crate) fn unreadable_line(stream: &str, ms: u64, reason: &str, layout: &Layout) -> Line {
    let mut line = heading(stream, ms, layout);
    line.push_padded(Style::Failure, "(unreadable)", NAME_COLUMNS);
    line.push(Style::Failure, &format!("  {reason}"));
    line
}

fn heading(stream: &str, ms: u64, layout: &Layout) -> Line {
    let mut line = Line::default();
    line.push(Style::Dim, &human::clock(ms, &layout.now));
    line.push(Style::Plain, "  ");
    line.push_padded(Style::of_name(stream), stream, layout.stream_columns);
    line.push(Style::Plain, "  ");
    line
}

fn push_field(line: &mut Line, name: &str, value: &Value, failed: bool) {
    let style = match (failed, name) {
        (true, "error" | "error_message" | "error_type" | "success") => Style::Failure,
        _ => Style::Plain,
    };
    line.push(Style::Dim, &format!("  {}=", short_name(name)));
    line.push(style, &text_of(name, value));
}

/// The names that every line has, shorter.
fn short_name(name: &str) -> &str {
    match name {
        "model_name" => "model",
        "user_id" => "user",
        "organization_id" => "organization",
        "experiment_id" => "experiment",
        "tokens_used" => "tokens",
        "latency_ms" => "latency",
        name => name,
    }
}

fn text_of(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) if is_bare(text) => text.clone(),
        Value::Number(number) if name.ends_with("_ms") => format!("{number}ms"),
        value => value.to_string(),
    }
}

/// Whether a string can stand without quotes: it has no spaces and does not end early.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '=')
}

fn has_failed(stream: &str, event: &Event) -> bool {
    stream == stream::ERROR_EVENTS || event.inference_failed() || event.name().ends_with("-failed")
}

#[cfg(test)]
mod tests;
