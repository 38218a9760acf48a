//! `synapse dlq list`.

use std::io::Write as _;

use jiff::Timestamp;
use synapse_chassis::console::{Progress, human};
use synapse_rs::{
    RedisSettings,
    dead_letters::{self, Heap},
    stream::Connection,
};

use crate::{
    failure::Failure,
    output,
    table::{Column, Table},
    terminal::{Style, Terminal},
};

/// Prints how many there are, by stream and group.
pub(super) async fn run(json: bool, settings: &RedisSettings, terminal: Terminal) -> Result<(), Failure> {
    let connection = Connection::open(settings).await?;
    let progress = Progress::waiting("counting dead letters");
    let heaps = dead_letters::list(&connection).await;
    progress.finish();
    let heaps = heaps?;
    let mut stdout = output::stdout();
    if json {
        let text = serde_json::to_string(&heaps).map_err(|error| Failure::Other(error.to_string()))?;
        writeln!(stdout, "{text}")?;
    } else if heaps.is_empty() {
        output::note(format_args!("{settings} has no dead letters"));
    } else {
        stdout.write_all(table(&heaps, Timestamp::now(), terminal).as_bytes())?;
    }
    Ok(stdout.flush()?)
}

fn table(heaps: &[Heap], now: Timestamp, terminal: Terminal) -> String {
    use Column::{Left, Right, Words};
    let columns =
        [Left("STREAM"), Left("GROUP"), Right("LETTERS"), Right("OLDEST"), Right("NEWEST"), Words("REASONS")];
    let mut table = Table::new(&columns, terminal);
    for heap in heaps {
        table.row(&cells(heap, now));
    }
    table.render()
}

fn cells(heap: &Heap, now: Timestamp) -> [(Style, String); 6] {
    let mut reasons: Vec<_> = heap.reasons.iter().collect();
    // The most frequent first.
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let named = |name: &str| if name.is_empty() { "(none)".to_owned() } else { name.to_owned() };
    let reasons: Vec<_> = reasons
        .into_iter()
        .map(|(reason, count)| format!("{} {}", named(reason), human::count(*count)))
        .collect();
    // What was not counted is more.
    let more = if heap.complete { "" } else { "+" };
    [
        (Style::Bold, heap.stream.clone()),
        (Style::Plain, named(&heap.group)),
        (Style::Warning, human::count(heap.count) + more),
        (Style::Plain, human::age(heap.oldest.ms, now)),
        (Style::Plain, human::age(heap.newest.ms, now)),
        (Style::Plain, reasons.join(", ")),
    ]
}

#[cfg(test)]
mod tests {
    use synapse_rs::EntryId;

    use super::*;

    #[test]
    fn the_table_says_how_many_of_which_group_and_why() {
        let heap = Heap {
            stream: "inference-events".to_owned(),
            group: "analytics-service".to_owned(),
            count: 1_234,
            oldest: EntryId::new(700_000, 0),
            newest: EntryId::new(995_000, 3),
            reasons: [("max_deliveries".to_owned(), 34), ("rejected".to_owned(), 1_200)].into(),
            complete: true,
        };
        let unknown = Heap {
            group: String::new(),
            reasons: [(String::new(), 7)].into(),
            complete: false,
            ..heap.clone()
        };
        let now = Timestamp::from_millisecond(1_000_000).unwrap();
        assert_eq!(
            table(&[heap, unknown], now, Terminal { colors: false, width: None }),
            "\
STREAM            GROUP              LETTERS  OLDEST  NEWEST  REASONS
inference-events  analytics-service    1,234      5m      5s  rejected 1,200, max_deliveries 34
inference-events  (none)              1,234+      5m      5s  (none) 7
"
        );
    }
}
