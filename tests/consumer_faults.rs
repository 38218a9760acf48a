//! What a consumer does when something is in its way: each event is handled or set aside, and the others go on.

#![expect(clippy::unwrap_used, reason = "a test states what must hold")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use synapse_rs::{
    EntryId, Filter, RedisSettings,
    consumer::{Answer, ConsumerConfig, ConsumerRuntime, Delivery, Handler, Kind, Settler, Subscription},
    shutdown::Shutdown,
    stream::{Connection, GroupInfo},
};
use synapse_test_support::{RedisServer, eventually};
use tokio::task::JoinHandle;

const STREAM: &str = "numbers";
const GROUP: &str = "workers";

fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::from_url(&server.url()).unwrap()
}

async fn connect(server: &RedisServer) -> Connection {
    Connection::open(&settings(server)).await.unwrap()
}

fn config() -> ConsumerConfig {
    ConsumerConfig {
        backoff: (Duration::from_millis(1), Duration::from_millis(5)),
        ..ConsumerConfig::new(GROUP, [STREAM])
    }
}

async fn append(connection: &Connection, stream: &str, numbers: std::ops::Range<u64>) -> Vec<EntryId> {
    let mut ids = Vec::new();
    for number in numbers {
        let fields = [
            ("event", "counted".to_owned()),
            ("number", number.to_string()),
            ("key", format!("k{}", number % 3)),
        ];
        ids.push(connection.append(stream, fields, None).await.unwrap());
    }
    ids
}

fn number(delivery: &Delivery) -> u64 {
    delivery.event.get("number").and_then(serde_json::Value::as_u64).unwrap()
}

async fn group(connection: &Connection, stream: &str) -> GroupInfo {
    connection.groups(stream).await.unwrap().remove(0)
}

async fn settled(connection: &Connection, stream: &str) {
    eventually("nothing is pending", || async {
        (group(connection, stream).await.pending == 0).then_some(())
    })
    .await;
}

/// The numbers and reasons of the dead letters of a stream.
async fn dead(connection: &Connection, stream: &str) -> Vec<(String, String)> {
    let entries = connection.range(&format!("{stream}:dlq"), EntryId::MIN, EntryId::MAX, 1000).await.unwrap();
    let field = |entry: &synapse_rs::stream::Entry, name: &str| {
        let found = entry.fields().find(|(field, _)| *field == name.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    };
    entries.iter().map(|entry| (field(entry, "number"), field(entry, "dlq_reason"))).collect()
}

/// A handler that is a function.
struct Each<F>(F);

impl<F: AsyncEach> Handler for Each<F> {
    async fn handle(&self, delivery: &Delivery) -> Answer {
        self.0.call(delivery).await
    }
}

trait AsyncEach: Send + Sync {
    fn call(&self, delivery: &Delivery) -> impl Future<Output = Answer> + Send;
}

impl<F, A> AsyncEach for F
where
    F: Fn(u64, u32) -> A + Send + Sync,
    A: Future<Output = Answer> + Send,
{
    fn call(&self, delivery: &Delivery) -> impl Future<Output = Answer> + Send {
        self(number(delivery), delivery.deliveries)
    }
}

/// A runtime at work, until it is stopped.
struct Running {
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Running {
    fn start<F, A>(server: &RedisServer, config: ConsumerConfig, handler: F) -> Self
    where
        F: Fn(u64, u32) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let shutdown = Shutdown::new();
        let runtime = ConsumerRuntime::new(settings(server), config, Each(handler));
        let task = runtime.run(shutdown.clone());
        Self { shutdown, task: tokio::spawn(async move { task.await.unwrap() }) }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

async fn ack_all(subscription: &Subscription, count: usize) -> Vec<u64> {
    let settler = subscription.settler();
    let mut found = Vec::new();
    while found.len() < count {
        for delivery in subscription.next(1000).await.unwrap() {
            found.push(number(&delivery));
            settler.ack(&delivery);
        }
    }
    found
}

async fn pending_is(connection: &Connection, count: u64) {
    eventually("the acknowledgements have arrived", || async {
        (group(connection, STREAM).await.pending == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_group_goes_on_where_all_is_acknowledged_and_keeps_what_is_in_hand() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    assert_eq!(ack_all(&subscription, 10).await, (0..10).collect::<Vec<_>>());
    pending_is(&connection, 0).await;
    append(&connection, STREAM, 10..11).await;
    let held = subscription.next(10).await.unwrap();

    redis::cmd("XGROUP").arg("DESTROY").arg(STREAM).arg(GROUP).exec(&mut server.connection()).unwrap();
    append(&connection, STREAM, 11..13).await;
    // Nothing that was acknowledged comes again, and what is in hand does not come twice.
    assert_eq!(ack_all(&subscription, 2).await, [11, 12]);
    pending_is(&connection, 1).await;
    subscription.settler().ack(&held[0]);
    settled(&connection, STREAM).await;
    subscription.close().await;
}

#[tokio::test]
async fn what_two_members_have_in_hand_outlives_their_group() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..20).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(300), batch: 10, ..config() };
    let left = Subscription::open(settings(&server), config.clone()).await.unwrap();
    let right = Subscription::open(settings(&server), config).await.unwrap();
    let held = left.next(5).await.unwrap();
    // All of them are in hand, with handlers or waiting for them.
    let all_read = || async { (group(&connection, STREAM).await.lag == Some(0)).then_some(()) };
    eventually("all are read", all_read).await;
    redis::cmd("XGROUP").arg("DESTROY").arg(STREAM).arg(GROUP).exec(&mut server.connection()).unwrap();
    // Made again by one of them; each renews what it has, which is pending for it again.
    eventually("all is pending again", || async {
        let groups = connection.groups(STREAM).await.unwrap();
        groups.first().filter(|group| group.pending == 20).map(|_| ())
    })
    .await;
    let mut handled: Vec<_> = held.iter().map(number).collect();
    for delivery in &held {
        left.settler().ack(delivery);
    }
    for subscription in [&left, &right] {
        let next = || tokio::time::timeout(Duration::from_millis(200), subscription.next(20));
        while let Ok(Some(batch)) = next().await {
            handled.extend(batch.iter().map(number));
            for delivery in &batch {
                subscription.settler().ack(delivery);
            }
        }
    }
    settled(&connection, STREAM).await;
    handled.sort_unstable();
    handled.dedup();
    assert_eq!(handled, (0..20).collect::<Vec<_>>());
    left.close().await;
    right.close().await;
}

#[tokio::test]
async fn connections_that_break_count_as_no_delivery() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..3).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(200), max_deliveries: 2, ..config() };
    let subscription = Subscription::open(settings(&server), config.clone()).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 3 {
        held.extend(subscription.next(3).await.unwrap());
    }
    for broken in 1..=4 {
        eventually("it waits for news", || async {
            let info: String = redis::cmd("INFO").arg("clients").query(&mut server.connection()).unwrap();
            info.contains("blocked_clients:1").then_some(())
        })
        .await;
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut server.connection()).unwrap();
        eventually("it reads again", || async {
            (subscription.settler().stats().lost_connections >= broken).then_some(())
        })
        .await;
    }
    subscription.abandon();
    // Two of them were delivered once, as far as anybody can tell: they are delivered again, not given up.
    let heir = Subscription::open(settings(&server), config).await.unwrap();
    let mut found = ack_all(&heir, 3).await;
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2]);
    heir.close().await;
    let connection = connect(&server).await;
    assert_eq!(dead(&connection, STREAM).await, []);
}

#[tokio::test]
async fn what_others_have_counted_up_is_tried_alone_before_it_is_given_up() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1).await;
    connection.create_group(STREAM, GROUP, "0").await.unwrap();
    let claim = "redis.call('XREADGROUP', 'GROUP', 'workers', 'old', 'STREAMS', 'numbers', '>') \
                 local id = redis.call('XRANGE', 'numbers', '-', '+')[1][1] \
                 redis.call('XCLAIM', 'numbers', 'workers', 'old', 0, id, 'IDLE', 99999999, 'RETRYCOUNT', 8, 'JUSTID')";
    redis::cmd("EVAL").arg(claim).arg(0).exec(&mut server.connection()).unwrap();
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    let batch = subscription.next(1).await.unwrap();
    assert_eq!(batch[0].deliveries, 9);
    subscription.settler().ack(&batch[0]);
    settled(&connection, STREAM).await;
    subscription.close().await;
    assert_eq!(dead(&connection, STREAM).await, []);
}

#[tokio::test]
async fn a_lone_entry_that_cannot_be_buried_holds_up_nothing() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    redis::cmd("SET").arg("numbers:dlq").arg("a string").exec(&mut server.connection()).unwrap();
    append(&connection, STREAM, 0..1).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(50), max_deliveries: 1, ..config() };
    let dying = Subscription::open(settings(&server), config.clone()).await.unwrap();
    dying.next(1).await.unwrap();
    dying.abandon();
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    let batch = subscription.next(1).await.unwrap();
    subscription.settler().fail(&batch[0], "no", None);
    append(&connection, STREAM, 1..10).await;
    assert_eq!(ack_all(&subscription, 9).await, (1..10).collect::<Vec<_>>());
    subscription.close().await;
}

#[tokio::test]
async fn entries_trimmed_away_while_they_wait_are_counted() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..5).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(150), ..config() };
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 5 {
        held.extend(subscription.next(5).await.unwrap());
    }
    for delivery in &held {
        subscription.settler().fail(delivery, "later", Some(Duration::from_hours(1)));
    }
    redis::cmd("XTRIM").arg(STREAM).arg("MAXLEN").arg(0).exec(&mut server.connection()).unwrap();
    eventually("they are counted as lost", || async {
        (subscription.settler().stats().lost == 5).then_some(())
    })
    .await;
    subscription.close().await;
}

#[tokio::test]
async fn a_subscription_that_is_dropped_gives_back_what_it_has() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..200).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    subscription.next(10).await.unwrap();
    drop(subscription);
    let left = || async { (group(&connection, STREAM).await.pending > 0).then_some(()) };
    eventually("it had read", left).await;
    let heir = Subscription::open(settings(&server), config()).await.unwrap();
    let mut found = ack_all(&heir, 200).await;
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 200);
    heir.close().await;
}

#[tokio::test]
async fn a_deleted_stream_is_read_from_its_new_beginning() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    ack_all(&subscription, 10).await;
    redis::cmd("DEL").arg(STREAM).exec(&mut server.connection()).unwrap();
    let add = |id: &str| {
        let mut command = redis::cmd("XADD");
        command.arg(STREAM).arg(id).arg("event").arg("counted").arg("number").arg(99);
        command.exec(&mut server.connection()).unwrap();
    };
    add("5-0");
    assert_eq!(ack_all(&subscription, 1).await, [99]);
    subscription.close().await;
}

#[tokio::test]
async fn a_group_ahead_of_its_stream_is_set_back_to_its_end() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1).await;
    connection.create_group(STREAM, GROUP, "9999999999999-0").await.unwrap();
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    append(&connection, STREAM, 1..2).await;
    assert_eq!(ack_all(&subscription, 1).await, [1]);
    subscription.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_a_group_at_work_sets_nothing_back() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let handled: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
    let noted = handled.clone();
    let running = Running::start(&server, config(), move |number, _| {
        *noted.lock().entry(number).or_default() += 1;
        async { Answer::Done }
    });
    let writer = tokio::spawn(async move { append(&connection, STREAM, 0..4_000).await });
    while !writer.is_finished() {
        Subscription::open(settings(&server), ConsumerConfig { batch: 1, ..config() })
            .await
            .unwrap()
            .close()
            .await;
    }
    writer.await.unwrap();
    eventually("all are handled", || async { (handled.lock().len() == 4_000).then_some(()) }).await;
    running.stop().await;
    assert_eq!(handled.lock().iter().filter(|(_, times)| **times > 1).collect::<Vec<_>>(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_holds_per_key_and_a_retry_holds_up_its_own_key_alone() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..60).await;
    let order: Arc<Mutex<Vec<(u64, u32)>>> = Arc::default();
    let seen = order.clone();
    let config = ConsumerConfig { concurrency: 8, ordered_by: Some("key".to_owned()), ..config() };
    let running = Running::start(&server, config, move |number, deliveries| {
        let seen = seen.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3))).await;
            seen.lock().push((number, deliveries));
            // The key of 6 stands still until all others are through.
            let others = seen.lock().iter().filter(|(other, _)| other % 3 != 0).count();
            if number == 6 && others < 40 { Answer::Failed("not yet".to_owned()) } else { Answer::Done }
        }
    });
    let with_patience = order.clone();
    eventually("all are handled", || async {
        let done =
            with_patience.lock().iter().map(|(number, _)| *number).collect::<std::collections::BTreeSet<_>>();
        (done.len() == 60).then_some(())
    })
    .await;
    running.stop().await;
    let order = order.lock().clone();
    for key in 0..3 {
        let mut of_key: Vec<_> = order.iter().map(|(number, _)| *number).filter(|n| n % 3 == key).collect();
        of_key.dedup();
        assert_eq!(of_key, (0..60).filter(|n| n % 3 == key).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_ends_its_process_each_time_is_tried_alone_and_set_aside_without_its_neighbours() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..5).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(60), max_deliveries: 2, ..config() };
    let poison = 2;
    let mut rounds = Vec::new();
    loop {
        let subscription = Subscription::open(settings(&server), config.clone()).await.unwrap();
        let settler = subscription.settler();
        // As a handler of batches would, it acknowledges none before it has handled them all.
        let next = || async {
            let news = tokio::time::timeout(Duration::from_millis(20), subscription.next(10)).await;
            match news {
                Ok(batch) => batch,
                Err(_) if !dead(&connection, STREAM).await.is_empty() => Some(Vec::new()),
                Err(_) => None,
            }
        };
        let batch = eventually("entries are taken over", next).await;
        rounds.push(batch.iter().map(number).collect::<Vec<_>>());
        if batch.is_empty() {
            subscription.close().await;
            break;
        }
        if batch.iter().any(|delivery| number(delivery) == poison) {
            subscription.abandon();
            continue;
        }
        for delivery in &batch {
            settler.ack(delivery);
        }
        subscription.close().await;
    }
    assert_eq!(rounds[..2], [vec![0, 1, 2, 3, 4], vec![0, 1, 2, 3, 4]]);
    assert!(rounds[2..].iter().all(|round| round.len() <= 1), "not alone: {rounds:?}");
    assert_eq!(dead(&connection, STREAM).await, [("2".to_owned(), "max_deliveries".to_owned())]);
    assert_eq!(group(&connection, STREAM).await.pending, 0);
}

#[tokio::test]
async fn a_handler_that_blocks_its_runtime_is_not_robbed() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(300), ..config() };
    let (url, thief_config) = (server.url(), config.clone());
    let (is_held, held) = std::sync::mpsc::channel();
    // In a runtime of its own: this one will be blocked.
    let thief = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        held.recv().unwrap();
        runtime.block_on(async {
            let settings = RedisSettings::from_url(&url).unwrap();
            let thief = Subscription::open(settings, thief_config).await.unwrap();
            let stolen = tokio::time::timeout(Duration::from_millis(1200), thief.next(1)).await;
            thief.close().await;
            stolen.is_ok()
        })
    });
    let is_over = Arc::new(Mutex::new(Some(thief)));
    let running = Running::start(&server, config, move |_, deliveries| {
        assert_eq!(deliveries, 1);
        is_held.send(()).unwrap();
        let thief = is_over.lock().take().unwrap();
        assert!(!thief.join().unwrap(), "the entry was taken from a live handler");
        async { Answer::Done }
    });
    eventually("it is handled", || async {
        let groups = connection.groups(STREAM).await.unwrap();
        groups.first().filter(|group| group.lag == Some(0) && group.pending == 0).map(|_| ())
    })
    .await;
    running.stop().await;
    assert_eq!(dead(&connection, STREAM).await, []);
}

#[tokio::test]
async fn what_is_unavailable_counts_no_attempt_and_lets_nothing_else_through() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..4).await;
    let calls: Arc<Mutex<BTreeMap<u64, Vec<u32>>>> = Arc::default();
    let is_up = Arc::new(AtomicBool::new(false));
    let (noted, up) = (calls.clone(), is_up.clone());
    let config = ConsumerConfig { max_deliveries: 1, ..config() };
    let running = Running::start(&server, config, move |number, deliveries| {
        noted.lock().entry(number).or_default().push(deliveries);
        let up = up.load(Ordering::Relaxed);
        async move { if up { Answer::Done } else { Answer::Unavailable(Duration::from_millis(5)) } }
    });
    eventually("it was tried often", || async { (calls.lock().get(&0)?.len() > 20).then_some(()) }).await;
    assert_eq!(calls.lock().len(), 1, "another entry was handed out meanwhile");
    is_up.store(true, Ordering::Relaxed);
    settled(&connection, STREAM).await;
    running.stop().await;
    assert!(calls.lock().values().flatten().all(|deliveries| *deliveries == 1));
    assert_eq!(dead(&connection, STREAM).await, []);
}

#[tokio::test]
async fn a_handler_that_hangs_has_failed_and_the_others_go_on() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..3).await;
    let config =
        ConsumerConfig { handler_timeout: Some(Duration::from_millis(20)), max_deliveries: 2, ..config() };
    let running = Running::start(&server, config, |number, _| async move {
        if number == 1 {
            std::future::pending::<()>().await;
        }
        Answer::Done
    });
    let is_dead = || async { (!dead(&connection, STREAM).await.is_empty()).then_some(()) };
    eventually("it was given up", is_dead).await;
    settled(&connection, STREAM).await;
    running.stop().await;
    assert_eq!(dead(&connection, STREAM).await, [("1".to_owned(), "max_deliveries".to_owned())]);
}

#[tokio::test]
async fn a_stream_that_is_none_holds_up_no_other_and_is_read_once_it_is_one() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let config = ConsumerConfig { streams: vec!["a".to_owned(), "b".to_owned()], ..config() };
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    redis::cmd("SET").arg("a").arg("a string").exec(&mut server.connection()).unwrap();
    append(&connection, "b", 0..100).await;
    assert_eq!(ack_all(&subscription, 100).await.len(), 100);
    // Nothing is lost while it is looked, every few seconds, whether the other one can be read by now.
    let mut found = 0;
    let begin = std::time::Instant::now();
    let mut sent = 100;
    while begin.elapsed() < Duration::from_millis(5_500) {
        append(&connection, "b", sent..sent + 20).await;
        sent += 20;
        found += ack_all(&subscription, 20).await.len();
    }
    assert_eq!(found as u64, sent - 100);
    redis::cmd("DEL").arg("a").exec(&mut server.connection()).unwrap();
    append(&connection, "a", 0..1).await;
    assert_eq!(ack_all(&subscription, 1).await, [0]);
    subscription.close().await;
}

#[tokio::test]
async fn dead_letters_that_cannot_be_written_wait_and_hold_up_nothing() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    redis::cmd("SET").arg("numbers:dlq").arg("a string").exec(&mut server.connection()).unwrap();
    append(&connection, STREAM, 0..3).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    let batch = subscription.next(3).await.unwrap();
    subscription.settler().reject(&batch[0], "rejected", "no");
    append(&connection, STREAM, 3..10).await;
    for delivery in &batch[1..] {
        subscription.settler().ack(delivery);
    }
    ack_all(&subscription, 7).await;
    pending_is(&connection, 1).await;
    redis::cmd("DEL").arg("numbers:dlq").exec(&mut server.connection()).unwrap();
    // Closing tries once more.
    subscription.close().await;
    assert_eq!(dead(&connection, STREAM).await, [("0".to_owned(), "rejected".to_owned())]);
    assert_eq!(group(&connection, STREAM).await.pending, 0);
}

#[tokio::test]
async fn without_memory_dead_letters_wait_while_acknowledgements_go_on() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let subscription = Subscription::open(settings(&server), config()).await.unwrap();
    let batch = subscription.next(10).await.unwrap();
    let set = |limit: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).exec(&mut server.connection()).unwrap();
    };
    set("1");
    subscription.settler().reject(&batch[0], "rejected", "no");
    for delivery in &batch[1..] {
        subscription.settler().ack(delivery);
    }
    pending_is(&connection, 1).await;
    set("0");
    settled(&connection, STREAM).await;
    assert_eq!(dead(&connection, STREAM).await.len(), 1);
    subscription.close().await;
}

#[tokio::test]
async fn entries_trimmed_away_before_they_were_handled_are_counted_and_acknowledged() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let config = ConsumerConfig { min_idle: Duration::from_millis(50), ..config() };
    let gone = Subscription::open(settings(&server), config.clone()).await.unwrap();
    gone.next(10).await.unwrap();
    gone.abandon();
    redis::cmd("XTRIM").arg(STREAM).arg("MAXLEN").arg(4).exec(&mut server.connection()).unwrap();
    let heir = Subscription::open(settings(&server), config).await.unwrap();
    assert_eq!(ack_all(&heir, 4).await, [6, 7, 8, 9]);
    settled(&connection, STREAM).await;
    assert_eq!(heir.settler().stats().lost, 6);
    heir.close().await;
}

#[tokio::test]
async fn bad_entries_among_good_ones_are_set_aside_with_the_reason() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let stream = "inference-events";
    let good =
        [("event", "inference-complete"), ("model_name", "m"), ("version", "1"), ("latency_ms", "1.5")];
    let add = async |fields: &[(&[u8], &[u8])]| {
        connection.append(stream, fields.iter().copied(), None).await.unwrap();
    };
    let large = vec![b'x'; 1 << 20];
    add(&[
        (b"event", b"inference-complete"),
        (b"model_name", b"m"),
        (b"version", b"\xff\xfe"),
        (b"latency_ms", b"1"),
    ])
    .await;
    add(&[(b"event", b"inference-complete"), (b"model_name", b"m")]).await;
    add(&[(b"", b"")]).await;
    add(&[(b"event", b"other"), (b"number", b"1"), (b"large", &large)]).await;
    let many: Vec<_> = (0..10_000).map(|n| format!("f{n}")).collect();
    connection
        .append(stream, many.iter().map(|name| (name, "v")).chain([(&"event".to_owned(), "other")]), None)
        .await
        .unwrap();
    connection.append(stream, good, None).await.unwrap();
    let config = ConsumerConfig { streams: vec![stream.to_owned()], ..config() };
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    let mut names = Vec::new();
    while names.len() < 3 {
        for delivery in subscription.next(10).await.unwrap() {
            names.push(delivery.event.name().to_owned());
            subscription.settler().ack(&delivery);
        }
    }
    assert_eq!(names, ["other", "other", "inference-complete"]);
    settled(&connection, stream).await;
    let reasons: Vec<_> = dead(&connection, stream).await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["undecodable", "undecodable"]);
    assert_eq!(subscription.settler().stats().nameless, 1);
    subscription.close().await;
}

#[tokio::test]
async fn reading_waits_when_the_events_in_memory_are_large() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let payload = "x".repeat(10_000);
    for number in 0..400 {
        let fields = [("event", "counted"), ("number", &number.to_string()), ("payload", &payload)];
        connection.append(STREAM, fields, None).await.unwrap();
    }
    let config = ConsumerConfig { max_in_hand_bytes: 200_000, batch: 20, ..config() };
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    let settler = subscription.settler();
    let most = AtomicUsize::new(0);
    let mut handled = 0;
    while handled < 400 {
        let batch = subscription.next(1).await.unwrap();
        let bytes = usize::try_from(settler.stats().in_hand_bytes).unwrap();
        most.fetch_max(bytes, Ordering::Relaxed);
        settler.ack(&batch[0]);
        handled += 1;
    }
    // The limit and one read.
    assert!(most.load(Ordering::Relaxed) <= 2 * 200_000 + 10_100, "{most:?} bytes in hand");
    subscription.close().await;
}

#[tokio::test]
async fn a_condition_keeps_the_others_away_and_acknowledges_them() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..9).await;
    let condition = Filter::from_pairs(["key=k1"]).unwrap();
    let config = ConsumerConfig { condition: Some(condition), ..config() };
    let subscription = Subscription::open(settings(&server), config).await.unwrap();
    assert_eq!(ack_all(&subscription, 3).await, [1, 4, 7]);
    settled(&connection, STREAM).await;
    subscription.close().await;
}

fn broadcast(name: &str) -> ConsumerConfig {
    ConsumerConfig { group: name.to_owned(), kind: Kind::Broadcast, ..config() }
}

async fn fail_once(subscription: &Subscription, settler: &Settler) -> Delivery {
    let mut batch = subscription.next(1).await.unwrap();
    settler.fail(&batch[0], "again", None);
    batch.remove(0)
}

#[tokio::test]
async fn every_broadcast_consumer_gets_every_event_and_a_named_one_goes_on_where_it_was() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..10).await;
    let left = Subscription::open(settings(&server), broadcast("left")).await.unwrap();
    let right = Subscription::open(settings(&server), broadcast("")).await.unwrap();
    let failed = fail_once(&right, &right.settler()).await;
    assert_eq!((number(&failed), failed.deliveries), (0, 1));
    let mut found = ack_all(&right, 10).await;
    found.sort_unstable();
    assert_eq!(found, (0..10).collect::<Vec<_>>());
    assert_eq!(ack_all(&left, 10).await, (0..10).collect::<Vec<_>>());
    left.close().await;
    append(&connection, STREAM, 10..12).await;
    let again = Subscription::open(settings(&server), broadcast("left")).await.unwrap();
    assert_eq!(ack_all(&again, 2).await, [10, 11]);
    let rejected = append(&connection, STREAM, 12..13).await[0];
    let batch = again.next(1).await.unwrap();
    again.settler().reject(&batch[0], "rejected", "no");
    again.close().await;
    assert_eq!(dead(&connection, STREAM).await, [("12".to_owned(), "rejected".to_owned())]);
    assert_eq!(connection.positions("left").await.unwrap(), [(STREAM.to_owned(), rejected)]);
    assert_eq!(connection.groups(STREAM).await.unwrap(), []);
    right.close().await;
}

#[tokio::test]
async fn consumers_that_are_gone_are_removed_unless_they_hold_something() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    append(&connection, STREAM, 0..1).await;
    let holding = Subscription::open(settings(&server), config()).await.unwrap();
    holding.next(1).await.unwrap();
    let idle = Subscription::open(settings(&server), config()).await.unwrap();
    eventually("both read", || async { (group(&connection, STREAM).await.consumers == 2).then_some(()) })
        .await;
    let (holder, gone) = (holding.consumer().to_owned(), idle.consumer().to_owned());
    holding.abandon();
    idle.abandon();
    let removed = eventually("the idle one is gone", || async {
        let removed =
            connection.delete_dead_consumers(STREAM, GROUP, Duration::from_millis(20)).await.unwrap();
        (!removed.is_empty()).then_some(removed)
    })
    .await;
    assert_eq!(removed, [gone]);
    let left: Vec<_> = connection.consumers(STREAM, GROUP).await.unwrap();
    assert_eq!(left.iter().map(|consumer| consumer.name.as_str()).collect::<Vec<_>>(), [holder]);
}
