//! `synapse doctor`: every fault is planted in a real Redis, and that finding is seen, and no other.

mod groups;

use std::{process::Output, time::Duration};

use redis::Value as Answer;
use serde_json::Value;
use synapse_test_support::{RedisServer, RedisServerBuilder, free_port};

use crate::{
    liar::{Lies, wire_to},
    running::{PATIENCE, ended, stderr, stdout, synapse},
};

/// A server that nothing is wrong with.
fn healthy() -> RedisServerBuilder {
    RedisServer::builder().set("appendonly", "yes").set("maxmemory", "1gb")
}

fn doctor(url: &str, arguments: &[&str]) -> Output {
    ended(synapse().env("REDIS_URL", url).arg("doctor").args(arguments))
}

/// Each finding as `severity check place`, and the exit status.
fn findings_with(url: &str, arguments: &[&str]) -> (Vec<String>, i32) {
    let output = doctor(url, &[arguments, &["--json"]].concat());
    let found: Vec<Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    let text = |finding: &Value| {
        let parts = ["severity", "check", "stream", "group", "consumer"].map(|name| finding[name].as_str());
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    (found.iter().map(text).collect(), output.status.code().unwrap())
}

#[track_caller]
fn assert_finds(server: &RedisServer, expected: &[&str]) {
    assert_finds_with(&server.url(), &[], expected);
}

#[track_caller]
fn assert_finds_with(url: &str, arguments: &[&str], expected: &[&str]) {
    let (found, status) = findings_with(url, arguments);
    assert_eq!(found, expected, "{}", stdout(&doctor(url, arguments)));
    let fails = expected.iter().any(|finding| !finding.starts_with("note"));
    assert_eq!(status, if fails { 2 } else { 0 }, "{expected:?}");
}

fn run(server: &RedisServer, command: &str) -> Answer {
    let mut words = command.split(' ');
    let mut request = redis::cmd(words.next().unwrap());
    let answer = request.arg(words.collect::<Vec<_>>()).query(&mut server.connection());
    answer.unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// Waits until the server answers a command with this text in it.
fn until(server: &RedisServer, command: &str, is_so: impl Fn(&str) -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_so(&format!("{:?}", run(server, command))) {
        assert!(std::time::Instant::now() < deadline, "{command}: {:?}", run(server, command));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the server's clock has gone on by so much.
fn let_pass(server: &RedisServer, span: Duration) {
    let time = || {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut server.connection()).unwrap();
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    };
    let end = time() + span;
    while time() < end {}
}

/// Ten events with a group that has read them all, and one that waits for the next.
fn well_used(server: &RedisServer) {
    for _ in 0..10 {
        run(server, "XADD inference-events * event x");
    }
    run(server, "XGROUP CREATE inference-events readers 0");
    run(server, "XREADGROUP GROUP readers one COUNT 10 STREAMS inference-events >");
    let Answer::Array(entries) = run(server, "XRANGE inference-events - +") else { panic!("no entries") };
    for entry in entries {
        let (id, _): (String, Vec<String>) = redis::from_redis_value(entry).unwrap();
        run(server, &format!("XACK inference-events readers {id}"));
    }
    run(server, "XGROUP CREATE model-events others $ MKSTREAM");
}

#[test]
fn a_healthy_server_has_no_findings() {
    let server = healthy().start();
    assert_finds(&server, &[]);
    well_used(&server);
    assert_finds(&server, &[]);
    let said = doctor(&server.url(), &[]);
    assert_eq!((said.status.code(), stderr(&said).as_str()), (Some(0), ""));
    assert!(stdout(&said).starts_with("Redis "), "{}", stdout(&said));
    assert!(stdout(&said).ends_with("2 streams, 2 groups: all is well\n"), "{}", stdout(&said));
}

#[test]
fn a_server_that_would_forget_is_found() {
    let server = RedisServer::builder().set("maxmemory", "1gb").start();
    assert_finds(&server, &["error append-only"]);
}

#[test]
fn a_server_that_keeps_snapshots_alone_is_warned_of() {
    let server = RedisServer::builder().set("maxmemory", "1gb").set("save", "3600 1").start();
    assert_finds(&server, &["warning append-only"]);
}

#[test]
fn a_file_that_is_left_to_the_system_to_write_is_warned_of() {
    assert_finds(&healthy().set("appendfsync", "no").start(), &["warning appendfsync"]);
    assert_finds(&healthy().set("appendfsync", "always").start(), &[]);
}

#[test]
fn a_snapshot_that_failed_is_found_and_worse_where_writes_are_refused_for_it() {
    let server = healthy().set("save", "3600 1").set("enable-protected-configs", "yes").start();
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().to_str().unwrap().to_owned();
    redis::cmd("CONFIG").arg("SET").arg("dir").arg(&path).query::<()>(&mut server.connection()).unwrap();
    drop(directory);
    run(&server, "BGSAVE");
    until(&server, "INFO persistence", |info| info.contains("rdb_last_bgsave_status:err"));
    assert_finds(&server, &["error snapshot-failing"]);
    run(&server, "CONFIG SET stop-writes-on-bgsave-error no");
    assert_finds(&server, &["warning snapshot-failing"]);
}

#[test]
fn an_eviction_policy_that_deletes_streams_is_found_with_the_line_that_mends_it() {
    let server = healthy().start();
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        run(&server, &format!("CONFIG SET maxmemory-policy {policy}"));
        assert_finds(&server, &["error eviction-policy"]);
    }
    for policy in ["volatile-lru", "volatile-ttl"] {
        run(&server, &format!("CONFIG SET maxmemory-policy {policy}"));
        assert_finds(&server, &["warning eviction-policy"]);
    }
    let said = stdout(&doctor(&server.url(), &[]));
    let mends = format!("redis-cli -p {} CONFIG SET maxmemory-policy noeviction\n", server.port());
    assert!(said.contains(&mends) && said.contains("redis.conf: maxmemory-policy noeviction\n"), "{said}");
    run(&server, "CONFIG SET maxmemory-policy noeviction");
    assert_finds(&server, &[]);
}

#[test]
fn keys_that_were_evicted_are_found() {
    let server = healthy().set("maxmemory-policy", "allkeys-random").start();
    for number in 0..100 {
        run(&server, &format!("SET filler-{number} {}", "x".repeat(10_000)));
    }
    run(&server, "CONFIG SET maxmemory 1mb");
    until(&server, "INFO stats", |info| !info.contains("evicted_keys:0\\r"));
    run(&server, "CONFIG SET maxmemory-policy noeviction");
    run(&server, "CONFIG SET maxmemory 1gb");
    assert_finds(&server, &["warning evicted"]);
    run(&server, "CONFIG RESETSTAT");
    assert_finds(&server, &[]);
}

#[test]
fn memory_that_runs_out_is_found_and_no_limit_at_all_noted() {
    let server = healthy().start();
    run(&server, "CONFIG SET maxmemory 1");
    assert_finds(&server, &["error memory"]);
    run(&server, "CONFIG SET maxmemory 0");
    assert_finds(&server, &["note no-maxmemory"]);
    run(&server, &format!("SET filler {}", "x".repeat(9_000_000)));
    run(&server, "CONFIG SET maxmemory 12mb");
    assert_finds(&server, &["warning memory"]);
}

#[test]
fn connections_that_run_out_are_found() {
    let server = healthy().set("maxclients", "10").start();
    let _others: Vec<_> = (0..8).map(|_| server.connection()).collect();
    assert_finds(&server, &["warning connections"]);
}

#[test]
fn clocks_that_differ_are_found() {
    let server = healthy().start();
    let ahead = |seconds| Lies { clock_ahead: Some(Duration::from_secs(seconds)), ..Lies::default() };
    assert_finds_with(&wire_to(server.port(), ahead(0)), &[], &[]);
    let url = wire_to(server.port(), ahead(200));
    assert_finds_with(&url, &[], &["warning clock"]);
    assert!(stdout(&doctor(&url, &[])).contains("3m 20s ahead of this machine's"));
}

#[test]
fn a_server_that_is_too_old_is_found() {
    let server = healthy().start();
    run(&server, "SET model-events x");
    let version = run(&server, "INFO server");
    let version: String = redis::from_redis_value(version).unwrap();
    let version = version.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap();
    let (_, rest) = version.split_once('.').unwrap();
    let old = |major: u32| format!("redis_version:{major}.{rest}").leak() as &'static str;
    let told = format!("redis_version:{version}").leak();
    assert_eq!(told.len(), old(5).len(), "the wire can't tell a longer version");
    let lies = Lies { replaced: vec![(told, old(5))], ..Lies::default() };
    assert_finds_with(&wire_to(server.port(), lies), &[], &["error too-old"]);
}

#[test]
fn a_replica_and_a_master_that_does_not_wait_for_one_are_found() {
    let master = healthy().start();
    let replica = healthy().set("replicaof", &format!("127.0.0.1 {}", master.port())).start();
    until(&master, "INFO replication", |info| info.contains("state=online"));
    assert_finds(&replica, &["error replica"]);
    assert!(stdout(&doctor(&replica.url(), &[])).contains(&format!("127.0.0.1:{}", master.port())));
    assert_finds(&master, &["note fail-over"]);
    run(&master, "CONFIG SET min-replicas-to-write 1");
    assert_finds(&master, &[]);
    let lies = Lies { replaced: vec![("state=online", "state=wait__")], ..Lies::default() };
    assert_finds_with(&wire_to(master.port(), lies), &[], &["warning replica-behind"]);
}

#[test]
fn a_server_that_is_open_to_all_is_noted() {
    let server = healthy().start();
    run(&server, "CONFIG SET protected-mode no");
    assert_finds(&server, &[]);
    let lies = Lies { replaced: vec![("127.0.0.1\r\n", "0.0.0.0  \r\n")], ..Lies::default() };
    assert_finds_with(&wire_to(server.port(), lies), &[], &["note no-password"]);
}

#[test]
fn a_key_of_another_kind_where_a_stream_should_be_is_found() {
    let server = healthy().start();
    run(&server, "SET model-events x");
    run(&server, "LPUSH error-events:dlq x");
    assert_finds(&server, &["error wrong-type model-events", "error wrong-type error-events:dlq"]);
}

#[test]
fn a_stream_with_an_expiry_is_found() {
    let server = healthy().start();
    run(&server, "XADD model-events * event x");
    run(&server, "EXPIRE model-events 5000");
    assert_finds(&server, &["error expires model-events"]);
}

#[test]
fn ids_ahead_of_the_clock_are_found() {
    let server = healthy().start();
    run(&server, "XADD model-events 9999999999999-0 event x");
    assert_finds(&server, &["warning future-ids model-events"]);
}

#[test]
fn dead_letters_that_wait_are_found_at_their_stream() {
    let server = healthy().start();
    run(&server, "XADD model-events:dlq * event x");
    assert_finds(&server, &["warning dead-letters model-events"]);
    run(&server, "XTRIM model-events:dlq MAXLEN 0");
    assert_finds(&server, &[]);
}

#[test]
fn a_stream_near_its_limit_or_at_it_is_found() {
    let server = healthy().start();
    well_used(&server);
    assert_finds_with(&server.url(), &["--maxlen", "12"], &[]);
    assert_finds_with(&server.url(), &["--maxlen", "11"], &["warning full inference-events"]);
    assert_finds_with(&server.url(), &["--maxlen", "10"], &["error full inference-events"]);
}

#[test]
fn a_stream_that_nobody_trims_is_found_unless_a_group_needs_it() {
    let server = healthy().start();
    run(&server, "XADD model-events 1577836800000-0 event x");
    run(&server, "XADD model-events * event x");
    assert_finds(&server, &["warning untrimmed model-events"]);
    assert_finds_with(&server.url(), &["--retention", "9000d"], &[]);
    run(&server, "XGROUP CREATE model-events readers 0");
    assert_finds(&server, &["warning no-consumers model-events readers"]);
}

#[test]
fn what_a_managed_server_forbids_to_ask_is_noted_and_the_rest_examined() {
    let server = healthy().set("rename-command", "CONFIG out-of-reach").start();
    assert_finds(&server, &["note unchecked"]);
    run(&server, "XADD model-events:dlq * event x");
    assert_finds(&server, &["warning dead-letters model-events", "note unchecked"]);

    let server = healthy().start();
    let allowed = "resetkeys ~model-events ~model-events:dlq";
    run(&server, &format!("ACL SETUSER default -info -config -time -acl -pttl {allowed}"));
    let (found, status) = findings_with(&server.url(), &[]);
    assert!(found.iter().all(|finding| finding.starts_with("note unchecked")), "{found:?}");
    assert_eq!(status, 0);
    let said = stdout(&doctor(&server.url(), &[]));
    for what in ["INFO", "CONFIG", "TIME"] {
        assert!(said.contains(what) && said.contains("could not be checked"), "{said}");
    }
}

#[test]
fn an_unreachable_server_is_1_and_bad_arguments_are_64() {
    let nobody = doctor(&format!("redis://127.0.0.1:{}", free_port()), &["--json"]);
    assert_eq!((nobody.status.code(), stdout(&nobody).as_str()), (Some(1), ""));
    assert!(stderr(&nobody).contains("is it running"), "{}", stderr(&nobody));
    for arguments in [&["--hangs-after", "soon"][..], &["--maxlen", "0"], &["now"]] {
        assert_eq!(doctor("redis://127.0.0.1:1", arguments).status.code(), Some(64), "{arguments:?}");
    }
}
