use synapse_rs::EntryId;

use super::*;

const PLAIN: Terminal = Terminal { colors: false, width: None };
const COLORED: Terminal = Terminal { colors: true, width: None };

fn row(consumers: u64, lag: Option<u64>, pending: u64, oldest: Option<Duration>) -> Row {
    let group = GroupInfo {
        name: "analytics-service".to_owned(),
        consumers,
        pending,
        last_delivered_id: EntryId::new(995_000, 0),
        lag,
        entries_read: None,
        oldest_pending_id: oldest.map(|_| EntryId::new(800_000, 0)),
        oldest_pending: oldest,
        oldest_pending_idle: oldest.map(|age| age / 2),
    };
    Row { stream: "inference-events".to_owned(), group }
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(1_000_000).unwrap()
}

#[test]
fn the_table_says_how_far_behind_and_what_hangs() {
    let rows = [row(2, Some(1_234), 3, Some(Duration::from_secs(200))), row(0, None, 0, None)];
    assert_eq!(
        table(&rows, now(), PLAIN),
        "\
STREAM            GROUP              CONSUMERS    LAG  PENDING  OLDEST  UNTOUCHED  DELIVERED
inference-events  analytics-service          2  1,234        3  3m 20s     1m 40s     5s ago
inference-events  analytics-service          0      ?        0       -          -     5s ago
"
    );
}

#[test]
fn a_group_that_nobody_reads_and_an_entry_that_hangs_stand_out() {
    let yellow = "\u{1b}[38;5;3m";
    let shown = |row: Row| table(&[row], now(), COLORED).contains(yellow);
    assert!(shown(row(0, Some(5), 0, None)));
    assert!(shown(row(1, Some(0), 1, Some((HANGS + Duration::from_secs(1)) * 2))));
    assert!(!shown(row(1, Some(5), 1, Some(HANGS + Duration::from_secs(1)))), "old, but worked on");
    assert!(!shown(row(0, Some(0), 0, None)));
}

#[test]
fn programs_get_the_stream_beside_the_group() {
    let json = row(2, Some(7), 1, Some(Duration::from_millis(1500))).as_json().unwrap();
    assert_eq!(json["stream"], "inference-events");
    assert_eq!(json["name"], "analytics-service");
    assert_eq!(json["lag"], 7);
    assert_eq!((&json["oldest_pending_ms"], &json["oldest_pending_idle_ms"]), (&1500.into(), &750.into()));
    assert_eq!(json["oldest_pending_id"], "800000-0");
}
