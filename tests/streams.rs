//! What is said to Redis about streams, against a real server.

#![expect(clippy::unwrap_used, reason = "a test states what must hold")]

use std::time::Duration;

use bytes::Bytes;
use synapse_rs::{
    EntryId, RedisSettings,
    stream::{
        BlockingConnection, Connection, SharedConnection, StreamError,
        dead_letter::{Buried, DeadLetter},
        pages::Pages,
        read::Member,
    },
};
use synapse_test_support::{RedisServer, free_port};

const GROUP: &str = "readers";

fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::from_url(&server.url()).unwrap()
}

async fn connect(server: &RedisServer) -> (Connection, BlockingConnection) {
    let settings = settings(server);
    (Connection::open(&settings).await.unwrap(), BlockingConnection::open(&settings).await.unwrap())
}

#[tokio::test]
async fn an_entry_is_appended_and_read_back() {
    let server = RedisServer::new();
    let (shared, mut reader) = connect(&server).await;
    let id = shared.append("s", [("event", "x"), ("n", "1")], None).await.unwrap();

    let ranged = shared.range("s", EntryId::MIN, EntryId::MAX, 10).await.unwrap();
    assert_eq!(ranged.len(), 1);
    assert_eq!(ranged[0].id, id);
    let fields: Vec<_> = ranged[0].fields().collect();
    assert_eq!(fields, [(&b"event"[..], &b"x"[..]), (b"n", b"1")]);

    let read = reader.read(&[("s".to_owned(), EntryId::MIN)], 10, Duration::from_millis(1)).await.unwrap();
    assert_eq!(read, [("s".to_owned(), ranged)]);
    assert_eq!(shared.last_id("s").await.unwrap(), id);
    assert_eq!(shared.last_id("nowhere").await.unwrap(), EntryId::MIN);
    assert_eq!(shared.streams().await.unwrap(), ["s"]);
}

#[tokio::test]
async fn a_read_tells_whether_anything_may_have_been_trimmed_before() {
    let server = RedisServer::new();
    let (shared, mut reader) = connect(&server).await;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(shared.append("s", [("n", n)], None).await.unwrap());
    }
    let mut watch = async |at: EntryId| {
        let positions = [("nowhere".to_owned(), EntryId::MIN), ("s".to_owned(), at)];
        let [nowhere, s] =
            reader.read_watching(&positions, 2, Duration::from_millis(1)).await.unwrap().try_into().unwrap();
        assert!(nowhere.stream == "nowhere" && nowhere.entries.is_empty() && !nowhere.is_whole);
        (s.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), s.is_whole)
    };
    assert_eq!(watch(EntryId::MIN).await, (ids[..2].to_vec(), false), "there may have been something before");
    assert_eq!(watch(ids[1]).await, (ids[2..].to_vec(), true));
    assert_eq!(watch(ids[3]).await, (vec![], true));
    redis::cmd("XTRIM").arg("s").arg("MAXLEN").arg(1).exec(&mut server.connection()).unwrap();
    assert_eq!(watch(ids[1]).await, (ids[3..].to_vec(), false), "one in between is gone");
    assert_eq!(watch(ids[3]).await, (vec![], true));
}

#[tokio::test]
async fn a_group_tells_its_lag_and_what_is_pending() {
    let server = RedisServer::new();
    let (shared, mut reader) = connect(&server).await;
    assert!(shared.create_group("s", GROUP, "0").await.unwrap());
    assert!(!shared.create_group("s", GROUP, "0").await.unwrap());
    for n in 0..5 {
        shared.append("s", [("n", n)], None).await.unwrap();
    }
    let member = Member { group: GROUP, consumer: "me" };
    let read = reader.read_group(member, &["s".to_owned()], 2, Duration::from_millis(1)).await.unwrap();
    let ids: Vec<_> = read[0].1.iter().map(|entry| entry.id).collect();
    let group = &shared.groups("s").await.unwrap()[0];
    assert_eq!((group.pending, group.lag, group.last_delivered_id), (2, Some(3), ids[1]));
    assert!(group.oldest_pending.is_some());

    assert!(!shared.delete_idle_consumer("s", GROUP, "me").await.unwrap());
    assert_eq!(shared.ack("s", GROUP, &ids).await.unwrap(), 2);
    assert!(shared.delete_idle_consumer("s", GROUP, "me").await.unwrap());
}

#[tokio::test]
async fn what_is_released_can_be_taken_over_at_once() {
    let server = RedisServer::new();
    let (shared, mut reader) = connect(&server).await;
    let min_idle = Duration::from_hours(1);
    shared.create_group("s", GROUP, "0").await.unwrap();
    let id = shared.append("s", [("n", 1)], None).await.unwrap();
    let dead = Member { group: GROUP, consumer: "dead" };
    let alive = Member { group: GROUP, consumer: "alive" };
    reader.read_group(dead, &["s".to_owned()], 1, Duration::from_millis(1)).await.unwrap();

    let taken = shared.take_over("s", alive, min_idle, EntryId::MIN, 10, 5).await.unwrap();
    assert!(taken.entries.is_empty());
    shared.release("s", dead, &[(id, 0)], min_idle).await.unwrap();
    let taken = shared.take_over("s", alive, min_idle, EntryId::MIN, 10, 5).await.unwrap();
    assert_eq!((taken.entries[0].0.id, taken.entries[0].1), (id, 1));
    assert_eq!((taken.cursor, taken.lost.len()), (EntryId::MIN, 0));
}

#[tokio::test]
async fn a_dead_letter_moves_once_with_its_reason() {
    let server = RedisServer::new();
    let (shared, mut reader) = connect(&server).await;
    shared.create_group("s", GROUP, "0").await.unwrap();
    let id = shared
        .append("s", [("event", "x"), ("dlq_reason", "its own"), ("dlq_mine", "kept")], None)
        .await
        .unwrap();
    let member = Member { group: GROUP, consumer: "me" };
    reader.read_group(member, &["s".to_owned()], 1, Duration::from_millis(1)).await.unwrap();

    let letter = DeadLetter {
        stream: "s",
        group: GROUP,
        is_pending: true,
        id,
        reason: "rejected",
        error: "not today",
        deliveries: 1,
    };
    assert_eq!(shared.bury(&letter).await.unwrap(), Buried::Moved { dropped: 0 });
    assert_eq!(shared.bury(&letter).await.unwrap(), Buried::NotPending);

    let dead = shared.range("s:dlq", EntryId::MIN, EntryId::MAX, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    let field = |name: &str| {
        let found = dead[0].fields().find(|(field, _)| *field == name.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    assert_eq!(field("event").as_deref(), Some("x"));
    assert_eq!(field("dlq_mine").as_deref(), Some("kept"));
    assert_eq!(field("dlq_field_dlq_reason").as_deref(), Some("its own"));
    assert_eq!(field("dlq_reason").as_deref(), Some("rejected"));
    assert_eq!(field("dlq_error").as_deref(), Some("not today"));
    assert_eq!(field("dlq_original_stream").as_deref(), Some("s"));
    assert_eq!(field("dlq_original_group").as_deref(), Some(GROUP));
    assert_eq!(field("dlq_original_id"), Some(id.to_string()));
    assert_eq!(field("dlq_retry_count").as_deref(), Some("1"));
    assert!(field("dlq_moved_at").is_some_and(|at| at.ends_with('Z')));
    assert_eq!(shared.groups("s").await.unwrap()[0].pending, 0);
}

#[tokio::test]
async fn an_entry_of_ten_thousand_fields_becomes_one_dead_letter() {
    let server = RedisServer::new();
    let (shared, mut reader) = connect(&server).await;
    shared.create_group("s", GROUP, "0").await.unwrap();
    let id = shared.append("s", (0..10_000).map(|n| (format!("f{n}"), n)), None).await.unwrap();
    let member = Member { group: GROUP, consumer: "me" };
    reader.read_group(member, &["s".to_owned()], 1, Duration::from_millis(1)).await.unwrap();
    let letter = DeadLetter {
        stream: "s",
        group: GROUP,
        is_pending: true,
        id,
        reason: "r",
        error: "e",
        deliveries: 1,
    };
    assert_eq!(shared.bury(&letter).await.unwrap(), Buried::Moved { dropped: 0 });
    let dead = shared.range("s:dlq", EntryId::MIN, EntryId::MAX, 10).await.unwrap();
    let (name, value) = dead[0].fields().next().unwrap();
    assert_eq!(name, b"dlq_original_fields");
    let fields: Vec<String> = serde_json::from_slice(value).unwrap();
    assert_eq!(fields.len(), 20_000);
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_written_stays_pending() {
    let server = RedisServer::new();
    let (shared, mut reader) = connect(&server).await;
    shared.create_group("s", GROUP, "0").await.unwrap();
    let id = shared.append("s", [("n", 1)], None).await.unwrap();
    let member = Member { group: GROUP, consumer: "me" };
    reader.read_group(member, &["s".to_owned()], 1, Duration::from_millis(1)).await.unwrap();
    redis::cmd("SET").arg("s:dlq").arg("a string").exec(&mut server.connection()).unwrap();

    let letter = DeadLetter {
        stream: "s",
        group: GROUP,
        is_pending: true,
        id,
        reason: "r",
        error: "e",
        deliveries: 1,
    };
    let error = shared.bury(&letter).await.unwrap_err().to_string();
    assert!(error.contains("WRONGTYPE") && error.contains(&id.to_string()), "{error}");
    assert_eq!(shared.groups("s").await.unwrap()[0].pending, 1);
}

#[tokio::test]
async fn a_closed_port_is_named_in_the_error() {
    let port = free_port();
    let settings = RedisSettings::from_url(&format!("redis://127.0.0.1:{port}")).unwrap();
    let error = Connection::open(&settings).await.unwrap_err();
    assert!(matches!(error, StreamError::Unreachable { .. }));
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        format!(
            "redis at redis://127.0.0.1:{port}/0: connection refused; is it running, and is the address right?"
        )
    );
}

#[tokio::test]
async fn a_missing_and_a_wrong_password_say_what_to_set() {
    let server = RedisServer::builder().set("requirepass", "right").start();
    let missing = Connection::open(&settings(&server)).await.unwrap_err();
    assert!(matches!(missing, StreamError::Unauthorized { .. }), "{missing:?}");
    assert!(missing.to_string().contains("REDIS_PASSWORD"), "{missing}");

    let url = format!("redis://:wrong@127.0.0.1:{}", server.port());
    let wrong = Connection::open(&RedisSettings::from_url(&url).unwrap()).await.unwrap_err();
    assert!(matches!(wrong, StreamError::Unauthorized { .. }), "{wrong:?}");
    assert!(!wrong.to_string().contains("wrong@"), "{wrong}");

    let url = format!("redis://:right@127.0.0.1:{}", server.port());
    Connection::open(&RedisSettings::from_url(&url).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_key_of_another_type_is_refused_and_the_connection_goes_on() {
    let server = RedisServer::new();
    let (shared, _) = connect(&server).await;
    redis::cmd("SET").arg("s").arg("a string").exec(&mut server.connection()).unwrap();
    let error = shared.append("s", [("n", 1)], None).await.unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
    assert!(!error.is_transient());
    assert!(error.to_string().contains("XADD s"), "{error}");
    shared.ping().await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_not_text_come_back_as_they_are() {
    let server = RedisServer::new();
    let (shared, _) = connect(&server).await;
    let value = Bytes::from_static(b"\xff\x00\r\n$5");
    shared.append("s", [(&b"f"[..], value.as_ref())], None).await.unwrap();
    let entries = shared.range("s", EntryId::MIN, EntryId::MAX, 1).await.unwrap();
    assert_eq!(entries[0].fields().next().unwrap(), (&b"f"[..], value.as_ref()));
}

#[tokio::test]
async fn a_lock_has_one_holder_until_it_is_released_or_its_time_is_up() {
    let server = RedisServer::new();
    let (shared, _) = connect(&server).await;
    let (long, short) = (Duration::from_hours(1), Duration::from_millis(20));
    assert!(shared.hold_lock("lock", "a", long).await.unwrap());
    assert!(!shared.hold_lock("lock", "b", long).await.unwrap());
    assert!(!shared.release_lock("lock", "b").await.unwrap());
    assert!(shared.hold_lock("lock", "a", short).await.unwrap(), "held on, for a shorter time");
    synapse_test_support::eventually("the lock is free", async || {
        shared.hold_lock("lock", "b", long).await.unwrap().then_some(())
    })
    .await;
    assert!(!shared.release_lock("lock", "a").await.unwrap());
    assert!(shared.release_lock("lock", "b").await.unwrap());
    assert!(shared.hold_lock("lock", "a", long).await.unwrap());
}

#[tokio::test]
async fn pages_give_a_range_once_in_either_direction_whatever_its_size() {
    let server = RedisServer::new();
    let (shared, _) = connect(&server).await;
    let mut ids = Vec::new();
    for n in 0..1_500 {
        let value = "x".repeat(if n == 700 { 6 << 20 } else { 10 });
        ids.push(shared.append("s", [("v", value)], None).await.unwrap());
    }
    let mut forth = Pages::new("s", ids[3], ids[1_400]);
    let mut back = Pages::newest_first("s", ids[1_400], ids[3]);
    for pages in [&mut forth, &mut back] {
        let mut found = Vec::new();
        while pages.position().is_some() {
            found.extend(pages.next(&shared).await.unwrap().into_iter().map(|entry| entry.id));
        }
        found.sort_unstable();
        assert_eq!(found, ids[3..=1_400]);
        assert!(pages.next(&shared).await.unwrap().is_empty());
    }
    assert_eq!(Pages::new("s", ids[5], ids[4]).position(), None);
}

#[tokio::test]
async fn a_page_has_no_more_bytes_than_it_may_whatever_came_before() {
    const BYTES: usize = 4 << 20;
    let server = RedisServer::new();
    let (shared, _) = connect(&server).await;
    let mut sizes = vec![10; 1_100];
    sizes.extend([1 << 20; 12]);
    sizes.extend([10 << 20, 10, 6 << 20, 10]);
    let mut ids = Vec::new();
    for size in &sizes {
        ids.push(shared.append("s", [("v", "x".repeat(*size))], None).await.unwrap());
    }
    let mut forth = Pages::new("s", EntryId::MIN, EntryId::MAX);
    let mut back = Pages::newest_first("s", EntryId::MAX, EntryId::MIN);
    for pages in [&mut forth, &mut back] {
        let mut found = 0;
        while pages.position().is_some() {
            let page = pages.next(&shared).await.unwrap();
            let bytes: usize = page.iter().map(synapse_rs::stream::Entry::size_bytes).sum();
            assert!(bytes <= BYTES || page.len() == 1, "{} entries of {bytes} bytes", page.len());
            found += page.len();
        }
        assert_eq!(found, sizes.len());
    }
    let mut few = Pages::new("s", ids[1_100], EntryId::MAX);
    assert_eq!(few.at_most(&shared, 512, 2_500_000).await.unwrap().len(), 2);
    assert_eq!(few.at_most(&shared, 1, 2_500_000).await.unwrap().len(), 1);
    assert_eq!(few.position(), Some(ids[1_102].next()));
}

#[tokio::test]
async fn a_shared_connection_outlives_a_restart_of_the_server() {
    let mut server = RedisServer::new();
    let shared = SharedConnection::new(settings(&server));
    shared.ask(|connection| async move { connection.ping().await }).await.unwrap();
    server.kill();
    let gone = shared.ask(|connection| async move { connection.ping().await }).await.unwrap_err();
    assert!(matches!(gone, StreamError::Unreachable { .. }));
    server.start();
    synapse_test_support::eventually("redis is reached again", async || {
        shared.ask(|connection| async move { connection.ping().await }).await.ok()
    })
    .await;
    // Killed and started while nobody asks: not noticed at all.
    server.kill();
    server.start();
    shared.ask(|connection| async move { connection.ping().await }).await.unwrap();
}

#[test]
fn next_and_previous_are_each_other_s_opposite_but_at_the_ends() {
    for id in [EntryId::new(1, 0), EntryId::new(1, 7), EntryId::new(2, u64::MAX)] {
        assert_eq!((id.next().previous(), id.previous().next()), (id, id));
    }
    assert_eq!((EntryId::MIN.previous(), EntryId::MAX.next()), (EntryId::MIN, EntryId::MAX));
}

#[tokio::test]
async fn a_shared_connection_that_leads_to_a_replica_is_left() {
    let server = RedisServer::new();
    let shared = SharedConnection::new(settings(&server));
    let mut own = server.connection();
    let mut opened = || {
        let info: String = redis::cmd("INFO").arg("stats").query(&mut own).unwrap();
        let count = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
        count.trim().parse::<u64>().unwrap()
    };
    shared.ask(|connection| async move { connection.ping().await }).await.unwrap();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec(&mut server.connection()).unwrap();
    let before = opened();
    let append = |connection: Connection| async move { connection.append("s", [("n", 1)], None).await };
    assert_eq!(shared.ask(append).await.unwrap_err().code(), Some("READONLY"));
    // The address may lead to the new master by now, which only a new connection finds out.
    shared.ask(|connection| async move { connection.ping().await }).await.unwrap();
    assert_eq!(opened() - before, 1);
}
