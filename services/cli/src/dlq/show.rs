//! `synapse dlq show`.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use synapse_chassis::console::human;
use synapse_rs::{
    EntryId, RedisSettings,
    dead_letters::{Letter, MAX_PAGE, Selection, page},
    stream::Connection,
};

use super::{check_name, of_what, stream_name};
use crate::{
    arguments::Show,
    commands::Commands,
    failure::Failure,
    output,
    terminal::{Line, Style, Terminal},
};

/// Columns for the names of what is known of a letter.
const NAMES: usize = 12;

/// Prints letters, page by page, oldest first.
pub(super) async fn run(
    options: &Show,
    settings: &RedisSettings,
    commands: &Commands,
    terminal: Terminal,
) -> Result<(), Failure> {
    let connection = Connection::open(settings).await?;
    let stream = stream_name(&options.stream);
    check_name(&connection, stream, settings).await?;
    let selection =
        Selection { group: options.group.clone(), reason: options.reason.clone(), ids: None, limit: None };
    let mut printer = Printer { json: options.json, terminal, printed: 0 };
    if !options.ids.is_empty() {
        return by_ids(&connection, stream, options, &selection, &mut printer).await;
    }
    let mut place = Some(options.after.unwrap_or(EntryId::MIN));
    while let Some(after) = place.filter(|_| printer.printed < options.count) {
        let left = usize::try_from(options.count - printer.printed).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let found = page(&connection, stream, &selection, after, left).await?;
        printer.print(&found.letters)?;
        place = found.next;
    }
    match place {
        _ if printer.printed == 0 => {
            output::note(format_args!("no dead letters {}", of_what(stream, &selection)));
        }
        Some(after) if !options.json => {
            let mut arguments = vec!["dlq".to_owned(), "show".to_owned(), stream.to_owned()];
            arguments.extend(options.group.clone());
            if let Some(reason) = &options.reason {
                arguments.extend(["--reason".to_owned(), reason.clone()]);
            }
            arguments.extend(["--after".to_owned(), after.to_string()]);
            output::hint(format_args!("there are more: {}", commands.synapse(&arguments)));
        }
        _ => {}
    }
    Ok(())
}

/// Those with these ids; what is not there is said, and fails.
async fn by_ids(
    connection: &Connection,
    stream: &str,
    options: &Show,
    selection: &Selection,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for id in &options.ids {
        let before = before(*id);
        let found = page(connection, stream, selection, before, 1).await?;
        match found.letters.first() {
            Some(letter) if letter.id == *id => printer.print(&found.letters)?,
            _ => missing.push(id.to_string()),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let what = of_what(stream, selection);
    Err(Failure::Other(format!("no dead letter {what} has the id {}", missing.join(" or "))))
}

/// The id right before, so that a page after it begins with this one.
fn before(id: EntryId) -> EntryId {
    match (id.ms, id.seq) {
        (0, 0) => EntryId::MIN,
        (ms, 0) => EntryId::new(ms - 1, u64::MAX),
        (ms, seq) => EntryId::new(ms, seq - 1),
    }
}

/// Prints letters one after another.
#[derive(Debug)]
struct Printer {
    json: bool,
    terminal: Terminal,
    printed: u64,
}

impl Printer {
    fn print(&mut self, letters: &[Letter]) -> Result<(), Failure> {
        let mut stdout = output::stdout();
        for letter in letters {
            if self.json {
                writeln!(stdout, "{}", as_json(letter))?;
            } else {
                if self.printed > 0 {
                    writeln!(stdout)?;
                }
                for line in lines(letter, Timestamp::now()) {
                    writeln!(stdout, "{}", line.render(self.terminal))?;
                }
            }
            self.printed += 1;
        }
        Ok(stdout.flush()?)
    }
}

/// Where and when it died and of what, then the event, a field a line.
fn lines(letter: &Letter, now: Timestamp) -> Vec<Line> {
    let mut heading = Line::default();
    heading.push(Style::Bold, &letter.id.to_string());
    heading.push(Style::Dim, &format!("  {}  ", human::ago(letter.id.ms, now)));
    heading.push(Style::Failure, or_unknown(&letter.reason));
    heading.push(Style::Plain, &format!(" in group {}", or_unknown(&letter.group)));
    if let Some(deliveries) = letter.deliveries {
        let times = if deliveries == 1 { "delivery" } else { "deliveries" };
        heading.push(Style::Plain, &format!(" after {deliveries} {times}"));
    }
    let mut lines = vec![heading];
    lines.push(known("error", Style::Failure, &letter.error));
    lines.push(known(
        "was",
        Style::Plain,
        &format!("{} on {}", or_unknown(&letter.original_id), letter.stream),
    ));
    match letter.event() {
        Ok(Some(event)) => {
            for (name, value) in event.fields() {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                lines.push(field(name, &text));
            }
        }
        unreadable => {
            let reason = match unreadable {
                Err(error) => error.to_string(),
                _ if letter.fields.is_empty() => "trimmed away before it could be moved here".to_owned(),
                _ => "there is no event in it".to_owned(),
            };
            lines.push(known("unreadable", Style::Warning, &reason));
            lines.extend(raw(letter).iter().map(|(name, value)| field(name, value)));
        }
    }
    lines
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "(unknown)" } else { text }
}

fn known(name: &str, style: Style, text: &str) -> Line {
    let mut line = Line::default();
    line.push_padded(Style::Dim, &format!("  {name}"), NAMES);
    line.push(style, text);
    line
}

fn field(name: &str, text: &str) -> Line {
    let mut line = Line::default();
    line.push(Style::Dim, &format!("    {name}: "));
    line.push(Style::Plain, text);
    line
}

/// Its own fields as text, as far as they are.
fn raw(letter: &Letter) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    letter.fields.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn as_json(letter: &Letter) -> Value {
    let (event, unreadable) = match letter.event() {
        Ok(event) => (event.map(|event| Value::Object(event.into_fields())), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let fields: Map<_, _> = raw(letter).into_iter().map(|(name, value)| (name, Value::from(value))).collect();
    json!({
        "id": letter.id,
        "stream": letter.stream,
        "group": letter.group,
        "original_id": letter.original_id,
        "reason": letter.reason,
        "error": letter.error,
        "deliveries": letter.deliveries,
        "moved_at": letter.moved_at,
        "event": event,
        "unreadable": unreadable,
        "fields": fields,
    })
}

#[cfg(test)]
mod tests {
    use synapse_rs::stream::Entry;

    use super::*;

    fn letter(fields: &[(&'static str, &'static str)]) -> Letter {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Letter::of("inference-events", &Entry::new(EntryId::new(700_000, 0), fields))
    }

    fn shown(letter: &Letter, width: Option<usize>) -> String {
        let now = Timestamp::from_millisecond(1_000_000).unwrap();
        let lines: Vec<_> =
            lines(letter, now).iter().map(|line| line.render(Terminal { colors: false, width })).collect();
        lines.join("\n")
    }

    const DIED: [(&str, &str); 6] = [
        ("dlq_original_stream", "inference-events"),
        ("dlq_original_group", "analytics-service"),
        ("dlq_original_id", "600000-0"),
        ("dlq_reason", "max_deliveries"),
        ("dlq_error", "no such\ntable"),
        ("dlq_retry_count", "5"),
    ];

    #[test]
    fn a_letter_says_what_happened_and_what_the_event_was() {
        let event = [
            ("event", "inference-complete"),
            ("model_name", "llama3:8b"),
            ("version", "2.0"),
            ("latency_ms", "45.2"),
        ];
        assert_eq!(
            shown(&letter(&[&event[..], &DIED].concat()), None),
            "\
700000-0  5m ago  max_deliveries in group analytics-service after 5 deliveries
  error     no such\\ntable
  was       600000-0 on inference-events
    event: inference-complete
    model_name: llama3:8b
    version: 2.0
    latency_ms: 45.2
    success: true"
        );
    }

    #[test]
    fn one_that_can_not_be_read_is_shown_as_it_lies_there() {
        let event = [("event", "inference-complete"), ("latency_ms", "fast")];
        let shown = shown(&letter(&[&event[..], &DIED].concat()), None);
        assert!(shown.contains("unreadable") && shown.contains("    latency_ms: fast"), "{shown}");
    }

    #[test]
    fn one_whose_entry_was_trimmed_says_so() {
        assert!(shown(&letter(&DIED), None).contains("trimmed away before it could be moved"));
    }

    #[test]
    fn a_page_after_the_id_before_begins_with_the_id() {
        for id in [EntryId::new(5, 3), EntryId::new(5, 0), EntryId::new(0, 1)] {
            assert_eq!(before(id).next(), id);
        }
    }
}
