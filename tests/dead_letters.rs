//! Looking at dead letters, putting them back and throwing them away, against a real server.

#![expect(clippy::unwrap_used, reason = "a test states what must hold")]

use std::{collections::HashSet, time::Duration};

use synapse_rs::{
    EntryId, RedisSettings,
    dead_letters::{self, Selection, Sorting, Task},
    stream::{
        BlockingConnection, Connection, Entry,
        dead_letter::{Buried, DeadLetter},
        read::Member,
    },
};
use synapse_test_support::RedisServer;

const STREAM: &str = "platform-events";
const DEAD: &str = "platform-events:dlq";

struct Setup {
    server: RedisServer,
    connection: Connection,
}

impl Setup {
    async fn new() -> Self {
        let server = RedisServer::new();
        let settings = RedisSettings::from_url(&server.url()).unwrap();
        Self { connection: Connection::open(&settings).await.unwrap(), server }
    }

    /// Appends an entry and moves it to the dead letters as a consumer would; gives its id.
    async fn bury(&self, group: &str, reason: &str, fields: &[(&str, &str)]) -> EntryId {
        self.connection.create_group(STREAM, group, "$").await.unwrap();
        let id = self.connection.append(STREAM, fields.iter().copied(), None).await.unwrap();
        self.read_and_bury(group, reason, id).await;
        id
    }

    async fn read_and_bury(&self, group: &str, reason: &str, id: EntryId) {
        let settings = RedisSettings::from_url(&self.server.url()).unwrap();
        let mut reader = BlockingConnection::open(&settings).await.unwrap();
        let member = Member { group, consumer: "me" };
        reader.read_group(member, &[STREAM.to_owned()], 1_000, Duration::from_millis(1)).await.unwrap();
        let letter =
            DeadLetter { stream: STREAM, group, is_pending: true, id, reason, error: "why", deliveries: 5 };
        assert_eq!(self.connection.bury(&letter).await.unwrap(), Buried::Moved { dropped: 0 });
    }

    /// Dead letters as a consumer leaves them, many at once.
    fn many(&self, count: usize) {
        let mut redis = self.server.connection();
        for chunk in (0..count).collect::<Vec<_>>().chunks(1_000) {
            let mut pipe = redis::pipe();
            for n in chunk {
                pipe.cmd("XADD").arg(DEAD).arg("*").arg("event").arg("task-failed").arg("n").arg(n);
                pipe.arg("dlq_original_stream").arg(STREAM).arg("dlq_original_group").arg("g");
                pipe.arg("dlq_original_id").arg(format!("{}-0", n + 1)).arg("dlq_reason").arg("rejected");
            }
            pipe.exec(&mut redis).unwrap();
        }
    }

    async fn entries(&self, stream: &str) -> Vec<Entry> {
        self.connection.range(stream, EntryId::MIN, EntryId::MAX, 1_000_000).await.unwrap()
    }

    async fn sort(&self, selection: Selection, task: Task) -> dead_letters::Progress {
        let mut sorting = Sorting::begin(&self.connection, STREAM, selection, task).await.unwrap();
        while sorting.advance(&self.connection).await.unwrap() {}
        sorting.progress()
    }
}

fn fields(entry: &Entry) -> Vec<String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    entry.fields().map(|(field, value)| format!("{}={}", text(field), text(value))).collect()
}

#[tokio::test]
async fn dead_letters_are_counted_by_group_and_reason() {
    let setup = Setup::new().await;
    assert_eq!(dead_letters::list(&setup.connection).await.unwrap(), []);
    setup.bury("a", "rejected", &[("event", "x")]).await;
    setup.bury("a", "undecodable", &[("event", "x")]).await;
    setup.bury("b", "rejected", &[("event", "x")]).await;
    let heaps = dead_letters::list(&setup.connection).await.unwrap();
    let shown: Vec<_> =
        heaps.iter().map(|heap| (&*heap.stream, &*heap.group, heap.count, heap.complete)).collect();
    assert_eq!(shown, [(STREAM, "a", 2, true), (STREAM, "b", 1, true)]);
    assert_eq!(
        heaps[0].reasons.clone().into_iter().collect::<Vec<_>>(),
        [("rejected".to_owned(), 1), ("undecodable".to_owned(), 1)]
    );
    assert!(heaps[0].oldest < heaps[0].newest && heaps[1].oldest == heaps[1].newest);
}

#[tokio::test]
async fn many_dead_letters_are_counted_once_each() {
    let setup = Setup::new().await;
    setup.many(2_500);
    setup.bury("late", "undecodable", &[("event", "x")]).await;
    let heaps = dead_letters::list(&setup.connection).await.unwrap();
    let shown: Vec<_> = heaps.iter().map(|heap| (&*heap.group, heap.count, heap.complete)).collect();
    assert_eq!(shown, [("g", 2_500, true), ("late", 1, true)]);
    let entries = setup.entries(DEAD).await;
    assert_eq!((heaps[0].oldest, heaps[0].newest), (entries[0].id, entries[2_499].id));
    for (group, is_there) in [("g", true), ("late", true), ("nobody", false)] {
        assert_eq!(dead_letters::knows(&setup.connection, STREAM, group).await.unwrap(), is_there, "{group}");
    }
}

#[tokio::test]
async fn pages_show_the_letters_of_a_group_and_what_they_held() {
    let setup = Setup::new().await;
    for n in 0..25 {
        let group = if n % 5 == 0 { "b" } else { "a" };
        let fields = [("event", "task-failed"), ("service", "s"), ("action", "a"), ("n", &n.to_string())];
        setup.bury(group, "rejected", &fields).await;
    }
    let (mut after, mut seen) = (EntryId::MIN, Vec::new());
    loop {
        let page =
            dead_letters::page(&setup.connection, STREAM, &Selection::of_group("a"), after, 7).await.unwrap();
        assert!(page.letters.len() <= 7);
        seen.extend(page.letters);
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    let numbers: Vec<_> = seen
        .iter()
        .map(|letter| letter.event().unwrap().unwrap().get("n").unwrap().as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..25).filter(|n| n % 5 != 0).collect::<Vec<_>>());
    assert_eq!((seen[0].deliveries, seen[0].error.as_str()), (Some(5), "why"));
    let nowhere =
        dead_letters::page(&setup.connection, "nowhere", &Selection::default(), EntryId::MIN, 7).await;
    assert_eq!(nowhere.unwrap().letters, []);
}

#[tokio::test]
async fn a_letter_goes_back_as_it_was_with_the_id_it_first_had() {
    let setup = Setup::new().await;
    let own = [
        ("event", "x"),
        ("event_id", "e1"),
        ("dlq_reason", "its own"),
        ("dlq_mine", "kept"),
        ("dlq_field_dlq_reason", "its own as well"),
        ("dlq_field_mine", "and this"),
        ("dlq_original_fields", "[\"a\", \"b\"]"),
    ];
    let first = setup.bury("g", "rejected", &own).await;
    let progress = setup.sort(Selection::of_group("g"), Task::Replay).await;
    assert_eq!((progress.total, progress.examined, progress.done), (1, 1, 1));
    assert_eq!(setup.entries(DEAD).await.len(), 0);
    let back = setup.entries(STREAM).await.pop().unwrap();
    assert!(back.id > first);
    let mut expected: Vec<_> = own.iter().map(|(field, value)| format!("{field}={value}")).collect();
    expected.push(format!("replay_of={first}"));
    assert_eq!(fields(&back), expected);

    // It fails again, and goes back once more: the first id stays.
    setup.read_and_bury("g", "rejected", back.id).await;
    setup.sort(Selection::default(), Task::Replay).await;
    assert_eq!(fields(&setup.entries(STREAM).await.pop().unwrap()), expected);
}

#[tokio::test]
async fn only_the_selected_letters_go() {
    let setup = Setup::new().await;
    for (group, reason) in [("a", "rejected"), ("a", "undecodable"), ("b", "rejected"), ("a", "rejected")] {
        setup.bury(group, reason, &[("event", "x")]).await;
    }
    let selection =
        Selection { reason: Some("rejected".to_owned()), limit: Some(1), ..Selection::of_group("a") };
    assert_eq!(setup.sort(selection, Task::Replay).await.done, 1);
    let left = setup.entries(DEAD).await;
    assert_eq!(left.len(), 3);
    let ids = vec![left[0].id, EntryId::new(1, 1), left[2].id, left[2].id];
    let selection = Selection { ids: Some(ids), ..Selection::of_group("a") };
    assert_eq!(setup.sort(selection, Task::Purge).await.done, 2);
    assert_eq!(setup.entries(DEAD).await, [left[1].clone()]);
    assert_eq!(setup.sort(Selection::default(), Task::Purge).await.done, 1);
    assert_eq!(setup.entries(DEAD).await, []);
}

#[tokio::test]
async fn ten_thousand_fields_go_back_as_ten_thousand_fields() {
    let setup = Setup::new().await;
    setup.connection.create_group(STREAM, "g", "$").await.unwrap();
    let mut own: Vec<_> =
        (0..10_000).map(|n| (format!("f{n}").into_bytes(), n.to_string().into_bytes())).collect();
    own[7].1 = b"\xff\x00\"\\".to_vec();
    let fields = own.iter().map(|(field, value)| (field.as_slice(), value.as_slice()));
    let id = setup.connection.append(STREAM, fields, None).await.unwrap();
    setup.read_and_bury("g", "rejected", id).await;
    assert_eq!(setup.sort(Selection::default(), Task::Replay).await.done, 1);
    assert_eq!(setup.entries(DEAD).await, []);
    let back = setup.entries(STREAM).await.pop().unwrap();
    assert_eq!(back.fields().len(), 10_001);
    assert!(back.fields().zip(&own).all(|(back, own)| back == (&*own.0, &*own.1)));
}

#[tokio::test]
async fn a_letter_that_cannot_go_back_stays_however_many_fields_it_has() {
    let setup = Setup::new().await;
    setup.bury("g", "rejected", &[("event", "x")]).await;
    setup.connection.create_group(STREAM, "g", "$").await.unwrap();
    let id = setup.connection.append(STREAM, (0..10_000).map(|n| (format!("f{n}"), n)), None).await.unwrap();
    setup.read_and_bury("g", "rejected", id).await;
    let mut redis = setup.server.connection();
    redis::cmd("SET").arg(STREAM).arg("a string").exec(&mut redis).unwrap();
    for limit in [1, 2] {
        let ids = setup.entries(DEAD).await.into_iter().map(|entry| entry.id).skip(limit - 1).collect();
        let selection = Selection { ids: Some(ids), ..Selection::default() };
        let mut sorting = Sorting::begin(&setup.connection, STREAM, selection, Task::Replay).await.unwrap();
        while sorting.advance(&setup.connection).await.unwrap() {}
        let refused = sorting.refused().unwrap();
        assert_eq!((refused.count, sorting.progress().refused), (3 - limit as u64, 3 - limit as u64));
        assert!(refused.to_string().contains("WRONGTYPE Operation against"), "{refused}");
        assert!(!refused.to_string().contains("script"), "{refused}");
    }
    assert_eq!(setup.entries(DEAD).await.len(), 2);
}

#[tokio::test]
async fn letters_that_no_stream_takes_hold_up_nobody() {
    let setup = Setup::new().await;
    let mut redis = setup.server.connection();
    setup.many(3);
    redis::cmd("SET").arg("text").arg("a string").exec(&mut redis).unwrap();
    let mut pipe = redis::pipe();
    for _ in 0..2 {
        pipe.cmd("XADD").arg(DEAD).arg("*").arg("event").arg("x").arg("dlq_original_stream").arg("text");
    }
    pipe.exec(&mut redis).unwrap();
    setup.many(300);
    let stay = setup.entries(DEAD).await[3].id;
    let mut sorting =
        Sorting::begin(&setup.connection, STREAM, Selection::default(), Task::Replay).await.unwrap();
    while sorting.advance(&setup.connection).await.unwrap() {}
    let progress = sorting.progress();
    assert_eq!((progress.examined, progress.done, progress.refused), (305, 303, 2));
    let refused = sorting.refused().unwrap();
    assert_eq!((refused.count, refused.first), (2, stay));
    assert_eq!(setup.entries(DEAD).await.len(), 2);
    assert_eq!(setup.entries(STREAM).await.len(), 303);
}

#[tokio::test]
async fn replays_at_the_same_time_put_each_letter_back_once() {
    let setup = Setup::new().await;
    setup.many(2_000);
    setup.connection.create_group(STREAM, "g", "$").await.unwrap();
    let large =
        setup.connection.append(STREAM, (0..10_000).map(|n| (format!("f{n}"), n)), None).await.unwrap();
    setup.read_and_bury("g", "rejected", large).await;
    setup.connection.delete(STREAM, &[large]).await.unwrap();
    let (one, other) = tokio::join!(
        setup.sort(Selection::default(), Task::Replay),
        setup.sort(Selection::default(), Task::Replay)
    );
    assert_eq!(one.done + other.done, 2_001);
    let back = setup.entries(STREAM).await;
    let origins: HashSet<_> = back.iter().filter_map(|entry| fields(entry).pop()).collect();
    assert_eq!((back.len(), origins.len()), (2_001, 2_001));
    assert_eq!(setup.entries(DEAD).await, []);
}

#[tokio::test]
async fn ten_thousand_letters_go_back_in_order_and_what_comes_meanwhile_stays() {
    let setup = Setup::new().await;
    setup.many(10_000);
    let mut sorting =
        Sorting::begin(&setup.connection, STREAM, Selection::default(), Task::Replay).await.unwrap();
    setup.many(1);
    while sorting.advance(&setup.connection).await.unwrap() {}
    assert_eq!(sorting.progress().done, 10_000);
    assert_eq!(setup.entries(DEAD).await.len(), 1);
    let back: Vec<_> = setup.entries(STREAM).await.iter().map(|entry| fields(entry)[1].clone()).collect();
    assert_eq!(back, (0..10_000).map(|n| format!("n={n}")).collect::<Vec<_>>());
}
