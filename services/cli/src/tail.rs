//! `synapse tail`: events as they come.
//!
//! [`line`] is an event as one line for people.

mod line;

use std::io::Write as _;

use jiff::ZonedDateTime;
use serde_json::Value;
use synapse_chassis::console::moment;
use synapse_rs::{
    EntryId, Event, RedisSettings,
    filter::Filter,
    stream::Connection,
    tail::{After, News, Tail, Tailed},
};

use self::line::Layout;
use crate::{arguments, failure::Failure, output, terminal::Terminal};

/// Prints events until the count is reached, Ctrl-C, or nobody reads them any more.
pub(crate) async fn run(
    options: &arguments::Tail,
    settings: &RedisSettings,
    terminal: Terminal,
) -> Result<(), Failure> {
    let filter = Filter::from_pairs(options.conditions.iter().map(String::as_str))
        .map_err(|error| Failure::Usage(format!("--where: {error}")))?;
    let after = options
        .after
        .as_deref()
        .map(|text| moment::position_before(text, &ZonedDateTime::now()))
        .transpose()
        .map_err(|source| Failure::Moment { flag: "--after", source })?;
    let mut streams = options.streams.clone();
    streams.sort_unstable();
    streams.dedup();
    let printer = Printer {
        filter,
        json: options.json,
        terminal,
        stream_columns: streams.iter().map(|stream| crate::terminal::width(stream)).max().unwrap_or(0),
        left: options.count,
    };
    tokio::select! {
        ended = follow(&streams, after, settings, printer) => ended,
        () = output::closed() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow(
    streams: &[String],
    after: Option<EntryId>,
    settings: &RedisSettings,
    mut printer: Printer,
) -> Result<(), Failure> {
    tell_missing(streams, settings).await?;
    let mut tail = Tail::open(settings.clone(), streams, after.map_or(After::Now, After::Entry)).await?;
    if after.is_none() {
        output::hint(format_args!("waiting for events; Ctrl-C ends"));
    }
    let mut told = false;
    while printer.left != Some(0) {
        match tail.next().await {
            News::Entries(entries) => printer.print(entries)?,
            News::Interrupted(error) if !error.is_transient() => return Err(error.into()),
            News::Interrupted(_) if told => {}
            News::Interrupted(error) => {
                told = true;
                output::note(format_args!("synapse: {error}; trying again"));
            }
            News::Resumed(rewound) => {
                told = false;
                output::note(format_args!("synapse: {settings} answers again"));
                for lost in rewound {
                    output::note(format_args!(
                        "synapse: {} ends at {}, before {} where we were: redis has lost entries; going on from its end",
                        lost.stream, lost.end, lost.seen
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Says which streams are not there yet; the name may be a slip.
async fn tell_missing(streams: &[String], settings: &RedisSettings) -> Result<(), Failure> {
    let connection = Connection::open(settings).await?;
    for stream in streams {
        if connection.info(stream).await?.is_none() {
            output::note(format_args!("{stream} does not exist yet; waiting for its first event"));
        }
    }
    Ok(())
}

/// Prints what passes the filter, until the count is reached.
#[derive(Debug)]
struct Printer {
    filter: Filter,
    json: bool,
    terminal: Terminal,
    stream_columns: usize,
    left: Option<u64>,
}

impl Printer {
    /// Prints the entries of one read, those of all streams in the order of their ids.
    fn print(&mut self, mut entries: Vec<Tailed>) -> Result<(), Failure> {
        entries.sort_by_key(|entry| entry.id);
        let terminal = self.terminal.measured_again();
        let layout = Layout { stream_columns: self.stream_columns, now: ZonedDateTime::now() };
        let mut stdout = output::stdout();
        for entry in entries {
            if self.left == Some(0) {
                break;
            }
            let Some(line) = self.line(entry, &layout, terminal) else { continue };
            writeln!(stdout, "{line}")?;
            self.left = self.left.map(|left| left - 1);
        }
        Ok(stdout.flush()?)
    }

    /// The line of an entry; `None` for one that is no event or does not pass.
    fn line(&self, entry: Tailed, layout: &Layout, terminal: Terminal) -> Option<String> {
        let (stream, ms) = (entry.stream.as_str(), entry.id.ms);
        match entry.event {
            Ok(None) => None,
            Ok(Some(event)) if !self.filter.matches(&event) => None,
            Ok(Some(event)) if self.json => Some(payload(stream, entry.id, event).to_string()),
            Ok(Some(event)) => Some(line::event_line(stream, ms, &event, layout).render(terminal)),
            Err(error) if self.json => {
                output::note(format_args!("synapse: {stream} {}: {error}", entry.id));
                None
            }
            Err(error) => {
                Some(line::unreadable_line(stream, ms, &error.to_string(), layout).render(terminal))
            }
        }
    }
}

/// The event as clients of the gateway get it: with `event_id`, `id` and `stream`.
fn payload(stream: &str, id: EntryId, event: Event) -> Value {
    let mut fields = event.into_fields();
    let id = id.to_string();
    fields.entry("event_id").or_insert_with(|| Value::from(format!("{stream}/{id}")));
    fields.insert("id".to_owned(), Value::from(id));
    fields.insert("stream".to_owned(), Value::from(stream));
    Value::Object(fields)
}
