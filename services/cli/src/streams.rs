//! `synapse streams`: what there is, how long, how old, how large.

use std::{collections::HashMap, io::Write as _};

use jiff::Timestamp;
use serde_json::{Value, json};
use synapse_chassis::console::human;
use synapse_rs::{
    RedisSettings,
    stream::{Connection, DEAD_LETTER_SUFFIX, GroupInfo, StreamInfo},
};

use crate::{
    arguments::Listing,
    failure::Failure,
    output,
    table::{Column, Table},
    terminal::{Style, Terminal},
};

/// A stream and its groups.
#[derive(Debug)]
struct Row {
    name: String,
    info: StreamInfo,
    groups: Vec<GroupInfo>,
    dead_letters: u64,
}

impl Row {
    /// Whether it holds the dead letters of a stream that is listed: then they are a figure in its row.
    fn belongs_to_another(&self, rows: &[Self]) -> bool {
        self.name
            .strip_suffix(DEAD_LETTER_SUFFIX)
            .is_some_and(|stream| rows.iter().any(|row| row.name == stream))
    }
}

/// Prints all streams.
pub(crate) async fn run(
    options: &Listing,
    settings: &RedisSettings,
    terminal: Terminal,
) -> Result<(), Failure> {
    let connection = Connection::open(settings).await?;
    let mut rows = Vec::new();
    for name in connection.streams().await? {
        // It may have been deleted since it was listed.
        if let Some(info) = connection.info(&name).await? {
            let groups = connection.groups(&name).await?;
            rows.push(Row { name, info, groups, dead_letters: 0 });
        }
    }
    add_dead_letters(&mut rows);
    let mut stdout = output::stdout();
    if options.json {
        let rows: Vec<Value> = rows.iter().map(Row::as_json).collect();
        writeln!(stdout, "{}", Value::from(rows))?;
    } else if rows.is_empty() {
        output::note(format_args!("{settings} has no streams yet; `synapse publish` makes the first"));
    } else {
        stdout.write_all(table(&rows, Timestamp::now(), terminal).as_bytes())?;
    }
    Ok(stdout.flush()?)
}

/// Counts the dead letters of each stream.
fn add_dead_letters(rows: &mut [Row]) {
    let of_stream =
        |row: &Row| Some((row.name.strip_suffix(DEAD_LETTER_SUFFIX)?.to_owned(), row.info.length));
    let counts: HashMap<_, _> = rows.iter().filter_map(of_stream).collect();
    for row in rows {
        row.dead_letters = counts.get(&row.name).copied().unwrap_or(0);
    }
}

fn table(rows: &[Row], now: Timestamp, terminal: Terminal) -> String {
    use Column::{Left, Right};
    let columns = [
        Left("STREAM"),
        Right("EVENTS"),
        Right("FIRST"),
        Right("LAST"),
        Right("MEMORY"),
        Right("GROUPS"),
        Right("LAG"),
        Right("PENDING"),
        Right("DEAD LETTERS"),
    ];
    let mut table = Table::new(&columns, terminal);
    for row in rows.iter().filter(|row| !row.belongs_to_another(rows)) {
        table.row(&row.cells(now));
    }
    table.render()
}

impl Row {
    fn cells(&self, now: Timestamp) -> [(Style, String); 9] {
        let info = &self.info;
        let dead_letters = self.name.ends_with(DEAD_LETTER_SUFFIX) && info.length > 0;
        let age = |ms| human::ago(ms, now);
        let last = if info.last_generated_id.ms == 0 { dash() } else { age(info.last_generated_id.ms) };
        let (lag, pending) = (self.lag(), self.pending());
        [
            (if dead_letters { Style::Warning } else { Style::Bold }, self.name.clone()),
            (Style::Plain, human::count(info.length)),
            (Style::Plain, info.first_id.map_or_else(dash, |id| age(id.ms))),
            (Style::Plain, last),
            (Style::Plain, info.bytes.map_or_else(unknown, human::bytes)),
            (Style::Plain, human::count(info.groups)),
            (
                Style::Plain,
                if self.groups.is_empty() { dash() } else { lag.map_or_else(unknown, human::count) },
            ),
            (Style::Plain, if self.groups.is_empty() { dash() } else { human::count(pending) }),
            match self.dead_letters {
                0 => (Style::Plain, dash()),
                letters => (Style::Warning, human::count(letters)),
            },
        ]
    }

    /// The lag of the slowest group, if that of each is known.
    fn lag(&self) -> Option<u64> {
        self.groups.iter().map(|group| group.lag).try_fold(0, |most, lag| Some(lag?.max(most)))
    }

    fn pending(&self) -> u64 {
        self.groups.iter().map(|group| group.pending).sum()
    }

    fn as_json(&self) -> Value {
        json!({
            "stream": self.name,
            "length": self.info.length,
            "first_id": self.info.first_id.map(|id| id.to_string()),
            "last_id": self.info.last_generated_id.to_string(),
            "bytes": self.info.bytes,
            "dead_letters": self.dead_letters,
            "groups": self.groups,
        })
    }
}

/// What does not apply.
pub(crate) fn dash() -> String {
    "-".to_owned()
}

/// What the server does not tell.
pub(crate) fn unknown() -> String {
    "?".to_owned()
}

#[cfg(test)]
mod tests;
