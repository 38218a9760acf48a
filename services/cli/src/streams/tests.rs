use std::time::Duration;

use synapse_rs::EntryId;

use super::*;

const PLAIN: Terminal = Terminal { colors: false, width: None };

fn group(name: &str, lag: Option<u64>, pending: u64) -> GroupInfo {
    GroupInfo {
        name: name.to_owned(),
        consumers: 1,
        pending,
        last_delivered_id: EntryId::new(1_000_000, 0),
        lag,
        entries_read: None,
        oldest_pending_id: (pending > 0).then_some(EntryId::new(992_000, 0)),
        oldest_pending: (pending > 0).then_some(Duration::from_secs(8)),
        oldest_pending_idle: (pending > 0).then_some(Duration::from_secs(3)),
    }
}

fn row(name: &str, length: u64, groups: Vec<GroupInfo>) -> Row {
    let info = StreamInfo {
        length,
        first_id: (length > 0).then(|| EntryId::new(400_000, 0)),
        last_generated_id: EntryId::new(if length > 0 { 995_000 } else { 0 }, 7),
        bytes: Some(1_468_006),
        entries_added: Some(length),
        max_deleted_id: Some(EntryId::MIN),
        groups: groups.len() as u64,
    };
    Row { name: name.to_owned(), info, groups, dead_letters: 0 }
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(1_000_000).unwrap()
}

#[test]
fn the_table_says_how_long_how_old_how_large() {
    let mut rows = [
        row("gone:dlq", 2, vec![]),
        row("inference-events", 12_345, vec![group("a", Some(3), 2), group("b", Some(40), 1)]),
        row("inference-events:dlq", 1_700, vec![]),
        row("model-events", 0, vec![]),
    ];
    add_dead_letters(&mut rows);
    assert_eq!(
        table(&rows, now(), PLAIN),
        "\
STREAM            EVENTS    FIRST    LAST   MEMORY  GROUPS  LAG  PENDING  DEAD LETTERS
gone:dlq               2  10m ago  5s ago  1.4 MiB       0    -        -             -
inference-events  12,345  10m ago  5s ago  1.4 MiB       2   40        3         1,700
model-events           0        -       -  1.4 MiB       0    -        -             -
"
    );
}

#[test]
fn a_lag_that_one_group_does_not_know_is_unknown() {
    let row = row("x", 1, vec![group("a", Some(3), 0), group("b", None, 0)]);
    assert_eq!(row.lag(), None);
    assert!(table(&[row], now(), PLAIN).contains(" ? "));
}

#[test]
fn programs_get_ids_and_numbers_and_the_groups() {
    let json = row("x", 1, vec![group("a", None, 2)]).as_json();
    assert_eq!(
        json,
        json!({
            "stream": "x", "length": 1, "first_id": "400000-0", "last_id": "995000-7", "bytes": 1_468_006,
            "dead_letters": 0,
            "groups": [{
                "name": "a", "consumers": 1, "pending": 2, "last_delivered_id": "1000000-0", "lag": null,
                "oldest_pending_id": "992000-0", "oldest_pending_ms": 8000, "oldest_pending_idle_ms": 3000
            }],
        })
    );
}

#[test]
fn a_narrow_terminal_and_colours_change_no_figure() {
    let rows = [row("inference-events:dlq", 2, vec![])];
    let colored = table(&rows, now(), Terminal { colors: true, width: Some(200) });
    assert!(colored.contains("\u{1b}["), "{colored:?}");
    assert!(colored.contains("1.4 MiB"));
}
