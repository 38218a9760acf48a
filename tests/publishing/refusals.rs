//! Servers that take no events for the moment: they are waited out, and nothing is doubled.

use synapse_rs::{Publisher, RedisSettings, publisher::PublisherConfig};
use synapse_test_support::{Cut, Fault, Gate, Plan, Proxy, RedisServer, eventually, free_port};

use crate::support::*;

/// Publishes while the server refuses everything, and then lets it go on.
async fn is_waited_out(
    server: &RedisServer,
    reason: &str,
    refuse: impl AsyncFnOnce(),
    relent: impl AsyncFnOnce(),
) {
    let mut ledger = Ledger::new(start(server));
    ledger.send(&["a", "b"], 0..10);
    ledger.flush("before").await;
    refuse().await;
    ledger.send(&["a", "b"], 10..500);
    waits(&ledger.publisher, reason).await;
    ledger.send(&["a", "b"], 500..1_000);
    relent().await;
    let repeats = ledger.repeats(&eventually_connected(server).await, reason).await;
    assert_eq!((repeats, ledger.publisher.stats().possible_duplicates), (0, 0), "{reason}");
}

fn set(server: &RedisServer, name: &str, value: &str) {
    admin::<()>(server, &["CONFIG", "SET", name, value]);
}

#[tokio::test]
async fn a_server_out_of_memory() {
    let server = RedisServer::builder().set("maxmemory-policy", "noeviction").start();
    is_waited_out(
        &server,
        "OOM",
        async || set(&server, "maxmemory", "1"),
        async || set(&server, "maxmemory", "0"),
    )
    .await;
}

#[tokio::test]
async fn a_server_that_is_a_replica_for_a_while() {
    let server = RedisServer::new();
    let nobody = free_port().to_string();
    let follow = async |host: &str, port: &str| admin::<()>(&server, &["REPLICAOF", host, port]);
    is_waited_out(&server, "READONLY", || follow("127.0.0.1", &nobody), || follow("NO", "ONE")).await;
}

#[tokio::test]
async fn a_server_without_the_replicas_that_it_needs() {
    let server = RedisServer::new();
    let need = async |replicas: &str| set(&server, "min-replicas-to-write", replicas);
    is_waited_out(&server, "NOREPLICAS", || need("1"), || need("0")).await;
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script() {
    let server = RedisServer::new();
    set(&server, "busy-reply-threshold", "1");
    let mut connection = server.connection();
    let mut script = None;
    let keep_busy = async || {
        script = Some(std::thread::spawn(move || {
            redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut connection).unwrap_err();
        }));
    };
    let kill = async || admin::<()>(&server, &["SCRIPT", "KILL"]);
    is_waited_out(&server, "BUSY", keep_busy, kill).await;
    script.unwrap().join().unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_persist() {
    let server = RedisServer::new();
    set(&server, "save", "3600 1");
    // A snapshot can't be put where there is a directory.
    let dump = server.directory().join("dump.rdb");
    let save = async |outcome: &str| {
        admin::<()>(&server, &["BGSAVE"]);
        let status = format!("rdb_last_bgsave_status:{outcome}");
        eventually("the snapshot has ended", || async {
            let info: String = admin(&server, &["INFO", "persistence"]);
            (info.contains(&status) && info.contains("rdb_bgsave_in_progress:0")).then_some(())
        })
        .await;
    };
    let fail = async || {
        std::fs::create_dir(&dump).unwrap();
        save("err").await;
    };
    let succeed = async || {
        std::fs::remove_dir(&dump).unwrap();
        save("ok").await;
    };
    is_waited_out(&server, "MISCONF", fail, succeed).await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_password_for_a_while() {
    let server = RedisServer::new();
    let mut admin = server.connection();
    let mut set_password = |password: &str| {
        redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(password).exec(&mut admin).unwrap();
        // Who is logged in stays so.
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut admin).unwrap();
    };
    let mut ledger = Ledger::new(start(&server));
    ledger.send(&["a", "b"], 0..10);
    ledger.flush("before").await;
    set_password("secret");
    ledger.send(&["a", "b"], 10..500);
    waits(&ledger.publisher, "REDIS_PASSWORD").await;
    ledger.send(&["a", "b"], 500..1_000);
    set_password("");
    ledger.arrived_once(&connect(&server).await, "NOAUTH").await;
}

#[tokio::test]
async fn a_server_with_too_many_clients() {
    let server = RedisServer::new();
    let mut admin = server.connection();
    let mut allow = |clients: u32| {
        redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(clients).exec(&mut admin).unwrap();
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut admin).unwrap();
    };
    let mut ledger = Ledger::new(start(&server));
    ledger.send(&["a", "b"], 0..10);
    ledger.flush("before").await;
    allow(1);
    ledger.send(&["a", "b"], 10..500);
    waits(&ledger.publisher, "max number of clients").await;
    allow(1_000);
    ledger.arrived_once(&connect(&server).await, "too many clients").await;
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_nothing_is_lost_meanwhile() {
    let server = RedisServer::builder().set("requirepass", "right").start();
    let publisher = start(&server);
    publisher.publish(STREAM, &numbered(1)).unwrap();
    waits(&publisher, "REDIS_PASSWORD").await;
    assert_eq!(publisher.stats().outstanding, 1);
}

/// So many keys are loaded that it takes longer than any test waits, unless it is told to hurry.
const KEYS: &str = "100000";

/// A server that takes a millisecond to load a key, with [`KEYS`] of them in its snapshot.
fn slow_to_load() -> RedisServer {
    let server = RedisServer::builder()
        .set("enable-debug-command", "local")
        .set("key-load-delay", "1000")
        .set("loading-process-events-interval-bytes", "1024")
        .start();
    admin::<()>(&server, &["DEBUG", "POPULATE", KEYS]);
    server
}

#[tokio::test]
async fn a_server_that_is_loading_its_data() {
    let mut server = slow_to_load();
    let mut ledger = Ledger::new(start(&server));
    ledger.send(&["a", "b"], 0..10);
    ledger.flush("before").await;
    admin::<()>(&server, &["SAVE"]);
    server.kill();
    server.launch();
    ledger.send(&["a", "b"], 10..500);
    waits(&ledger.publisher, "LOADING").await;
    ledger.send(&["a", "b"], 500..1_000);
    set(&server, "key-load-delay", "0");
    ledger.arrived_once(&eventually_connected(&server).await, "LOADING").await;
}

#[tokio::test]
async fn a_server_that_loads_its_data_again_under_an_open_connection() {
    let server = slow_to_load();
    let mut ledger = Ledger::new(start(&server));
    ledger.send(&["a", "b"], 0..10);
    ledger.flush("before").await;
    let mut connection = server.connection();
    let reload = std::thread::spawn(move || redis::cmd("DEBUG").arg("RELOAD").exec(&mut connection).unwrap());
    eventually("it is loading", || async {
        let info: String = admin(&server, &["INFO", "persistence"]);
        info.contains("\nloading:1").then_some(())
    })
    .await;
    ledger.send(&["a", "b"], 10..500);
    waits(&ledger.publisher, "LOADING").await;
    set(&server, "key-load-delay", "0");
    let repeats = ledger.repeats(&eventually_connected(&server).await, "LOADING").await;
    assert_eq!((repeats, ledger.publisher.stats().possible_duplicates), (0, 0));
    reload.join().unwrap();
}

async fn eventually_connected(server: &RedisServer) -> synapse_rs::stream::Connection {
    let settings = settings(server);
    eventually("the server answers", || async { synapse_rs::stream::Connection::open(&settings).await.ok() })
        .await
}

#[tokio::test]
async fn what_was_refused_before_a_cut_goes_again_and_what_arrived_does_not() {
    half_is_refused(None).await;
}

#[tokio::test]
async fn events_that_share_an_event_id_are_told_apart_where_some_were_refused() {
    half_is_refused(Some("0199c9bb-0000-7000-8000-000000000000")).await;
}

/// The first half of a batch is refused, the second arrives, and nobody is told: what is absent was refused.
async fn half_is_refused(event_id: Option<&'static str>) {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    let mut measure = Ledger::new(start_through(&proxy, PublisherConfig::default()));
    measure.event_id = event_id;
    measure.send(&["measure"], 10..30);
    measure.flush("nothing is wrong").await;
    let request = proxy.passed().request_bytes;
    measure.publisher.close(PATIENCE).await.unwrap();

    let gate = Gate::new();
    let plan = Plan::new()
        .requests(request / 2, Fault::Hold(gate.clone()))
        .requests(request, Fault::Cut(Cut::Reset));
    proxy.plan(plan.replies(0, Fault::Swallow));
    let (before, mut ledger) =
        (proxy.passed(), Ledger::new(start_through(&proxy, PublisherConfig::default())));
    ledger.event_id = event_id;
    set(&server, "maxmemory", "1");
    ledger.send(&["refused"], 10..30);
    proxy.until("the first half was answered", |passed| passed.faults == before.faults + 2).await;
    set(&server, "maxmemory", "0");
    gate.open();
    ledger.flush("refused, then cut").await;
    let found: Vec<_> = ledger.found(&connection, "refused").await.iter().filter_map(number).collect();
    assert_eq!(found, (20..30).chain(10..20).collect::<Vec<_>>());
    ledger.receipts_are_true(&connection, "refused, then cut").await;
    assert_eq!(ledger.publisher.stats().possible_duplicates, 0);
}

#[tokio::test]
async fn the_least_that_a_publisher_may_do_is_enough() {
    let server = RedisServer::new();
    admin::<()>(&server, &["ACL", "SETUSER", "least", "on", ">pw", "~*", "-@all", "+xadd", "+ping"]);
    let url = format!("redis://least:pw@127.0.0.1:{}", server.port());
    let publisher = Publisher::start(RedisSettings::from_url(&url).unwrap(), PublisherConfig::default());
    let mut ledger = Ledger::new(publisher);
    ledger.send(&["a", "b"], 0..100);
    ledger.arrived_once(&connect(&server).await, "with XADD and PING alone").await;
}
