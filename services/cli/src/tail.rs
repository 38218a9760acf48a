//! `synapse tail`: events as they come.
//!
//! * [`follow`]: reads the streams from concrete ids and goes on over a restart of Redis.
//! * [`line`]: an event as one line for people.

mod follow;
mod line;

use std::io::Write as _;

use jiff::ZonedDateTime;
use serde_json::Value;
use synapse_rs::{
    Event, RedisSettings,
    event::{Decoded, decode},
    filter::Filter,
    stream::Entry,
};

use self::{follow::Follower, line::Layout};
use crate::{arguments, failure::Failure, moment, output, terminal::Terminal};

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
        .transpose()?;
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
        ended = follow(streams, after, settings, printer) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow(
    streams: Vec<String>,
    after: Option<synapse_rs::EntryId>,
    settings: &RedisSettings,
    mut printer: Printer,
) -> Result<(), Failure> {
    let mut follower = Follower::start(settings.clone(), streams, after).await?;
    if after.is_none() {
        output::hint(format_args!("waiting for events; Ctrl-C ends"));
    }
    loop {
        let news = follower.next().await?;
        printer.print(&news)?;
        if printer.left == Some(0) || output::is_closed() {
            return Ok(());
        }
    }
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
    /// Prints the entries of one read: all streams in the order of their ids.
    fn print(&mut self, news: &[(String, Vec<Entry>)]) -> Result<(), Failure> {
        let mut entries: Vec<(&str, &Entry)> = news
            .iter()
            .flat_map(|(stream, entries)| entries.iter().map(move |e| (stream.as_str(), e)))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        entries.sort_by_key(|(_, entry)| entry.id);
        let terminal = self.terminal.measured_again();
        let layout = Layout { stream_columns: self.stream_columns, now: ZonedDateTime::now() };
        let mut stdout = output::stdout();
        for (stream, entry) in entries {
            if self.left == Some(0) {
                break;
            }
            let Some(line) = self.line(stream, entry, &layout, terminal) else { continue };
            writeln!(stdout, "{line}")?;
            self.left = self.left.map(|left| left - 1);
        }
        Ok(stdout.flush()?)
    }

    /// The line of an entry; `None` for one that is no event or does not pass.
    fn line(&self, stream: &str, entry: &Entry, layout: &Layout, terminal: Terminal) -> Option<String> {
        match decode(stream, entry.fields()) {
            Ok(Decoded::Event(event)) if !self.filter.matches(&event) => None,
            Ok(Decoded::Event(event)) if self.json => Some(payload(stream, entry, event).to_string()),
            Ok(Decoded::Event(event)) => {
                Some(line::event_line(stream, entry.id.ms, &event, layout).render(terminal))
            }
            Ok(Decoded::Nameless) => None,
            Err(error) if self.json => {
                output::note(format_args!("synapse: {stream} {}: {error}", entry.id));
                None
            }
            Err(error) => {
                Some(line::unreadable_line(stream, entry.id.ms, &error.to_string(), layout).render(terminal))
            }
        }
    }
}

/// The event as clients of the gateway get it: with `event_id`, `id` and `stream`.
fn payload(stream: &str, entry: &Entry, event: Event) -> Value {
    let mut fields = event.into_fields();
    let id = entry.id.to_string();
    fields.entry("event_id").or_insert_with(|| Value::from(format!("{stream}/{id}")));
    fields.insert("id".to_owned(), Value::from(id));
    fields.insert("stream".to_owned(), Value::from(stream));
    Value::Object(fields)
}
