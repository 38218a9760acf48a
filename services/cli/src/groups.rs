//! `synapse groups`: who reads, how far behind, and what hangs.

use std::{io::Write as _, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use synapse_chassis::console::human;
use synapse_rs::{
    RedisSettings,
    stream::{Connection, GroupInfo},
};

use crate::{
    arguments,
    failure::Failure,
    output,
    streams::{dash, unknown},
    table::{Column, Table},
    terminal::{Style, Terminal},
};

/// A pending entry that nobody has touched for longer hangs: a live consumer renews what it works on, retries or gives up.
const HANGS: Duration = Duration::from_mins(5);

/// A group and its stream.
#[derive(Debug)]
struct Row {
    stream: String,
    group: GroupInfo,
}

/// Prints the groups of one stream or of all.
pub(crate) async fn run(
    options: &arguments::Groups,
    settings: &RedisSettings,
    terminal: Terminal,
) -> Result<(), Failure> {
    let connection = Connection::open(settings).await?;
    let streams = match &options.stream {
        Some(stream) if connection.info(stream).await?.is_none() => {
            return Err(Failure::Other(format!(
                "{settings} has no stream {stream:?}; `synapse streams` lists those there are"
            )));
        }
        Some(stream) => vec![stream.clone()],
        None => connection.streams().await?,
    };
    let mut rows = Vec::new();
    for stream in streams {
        let groups = connection.groups(&stream).await?;
        rows.extend(groups.into_iter().map(|group| Row { stream: stream.clone(), group }));
    }
    let mut stdout = output::stdout();
    if options.json {
        let rows = rows.iter().map(Row::as_json).collect::<Result<Vec<Value>, _>>();
        let rows = rows.map_err(|error| Failure::Other(error.to_string()))?;
        writeln!(stdout, "{}", Value::from(rows))?;
    } else if rows.is_empty() {
        output::note(format_args!(
            "{settings} has no consumer groups yet; a consumer makes its own when it starts"
        ));
    } else {
        stdout.write_all(table(&rows, Timestamp::now(), terminal).as_bytes())?;
    }
    Ok(stdout.flush()?)
}

fn table(rows: &[Row], now: Timestamp, terminal: Terminal) -> String {
    use Column::{Left, Right};
    let columns = [
        Left("STREAM"),
        Left("GROUP"),
        Right("CONSUMERS"),
        Right("LAG"),
        Right("PENDING"),
        Right("OLDEST"),
        Right("UNTOUCHED"),
        Right("DELIVERED"),
    ];
    let mut table = Table::new(&columns, terminal);
    for row in rows {
        table.row(&row.cells(now));
    }
    table.render()
}

impl Row {
    fn cells(&self, now: Timestamp) -> [(Style, String); 8] {
        let group = &self.group;
        let behind = group.lag.is_none_or(|lag| lag > 0) || group.pending > 0;
        let abandoned = group.consumers == 0 && behind;
        let hangs = group.oldest_pending_idle.is_some_and(|idle| idle > HANGS);
        let delivered = match group.last_delivered_id.ms {
            0 => dash(),
            ms => human::ago(ms, now),
        };
        let warning = |warns| if warns { Style::Warning } else { Style::Plain };
        [
            (Style::Plain, self.stream.clone()),
            (Style::Bold, group.name.clone()),
            (warning(abandoned), human::count(group.consumers)),
            (warning(abandoned), group.lag.map_or_else(unknown, human::count)),
            (warning(hangs), human::count(group.pending)),
            (warning(hangs), group.oldest_pending.map_or_else(dash, human::span)),
            (warning(hangs), group.oldest_pending_idle.map_or_else(dash, human::span)),
            (Style::Plain, delivered),
        ]
    }

    /// The group's own fields after its stream.
    fn as_json(&self) -> serde_json::Result<Value> {
        let mut row = serde_json::Map::new();
        row.insert("stream".to_owned(), Value::from(self.stream.clone()));
        if let Value::Object(group) = serde_json::to_value(&self.group)? {
            row.extend(group);
        }
        Ok(Value::Object(row))
    }
}

#[cfg(test)]
mod tests;
