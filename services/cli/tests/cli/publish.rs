//! `synapse publish`: what reaches the stream, and what is said of the rest.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use rustix::process::Signal;
use synapse_test_support::{RedisServer, free_port};

use crate::running::{Running, ended, output_of, stderr, stdout, synapse};

fn publish(server: &RedisServer, arguments: &[&str]) -> Command {
    let mut command = synapse();
    command.env("REDIS_URL", server.url()).arg("publish").args(arguments);
    command
}

fn fed(command: &mut Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may stop reading at a bad line.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = output_of(child);
    writer.join().unwrap();
    output
}

/// All entries of a stream as their ids and fields.
fn entries(server: &RedisServer, stream: &str) -> Vec<(String, Vec<(String, String)>)> {
    let entries: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut server.connection()).unwrap();
    let pairs =
        |fields: Vec<String>| fields.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    entries.into_iter().map(|(id, fields)| (id, pairs(fields))).collect()
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
}

const LOGIN: &str =
    r#"{"event":"user-login","service":"auth","action":"login","user_id":"42","data":{"ip":"::1"}}"#;

#[test]
fn one_event_is_on_its_stream_and_its_id_is_printed() {
    let server = RedisServer::new();
    let published = ended(&mut publish(&server, &["platform-events", LOGIN, "--source", "a-test"]));
    assert_eq!(published.status.code(), Some(0), "{}", stderr(&published));
    let entries = entries(&server, "platform-events");
    assert_eq!(stdout(&published), format!("{}\n", entries[0].0));
    let fields = &entries[0].1;
    assert_eq!(field(fields, "event"), "user-login");
    assert_eq!(field(fields, "source"), "a-test");
    assert_eq!(field(fields, "data"), r#"{"ip":"::1"}"#);
    assert!(!field(fields, "event_id").is_empty());
    assert!(field(fields, "timestamp").ends_with('Z'));
}

#[test]
fn many_events_keep_the_order_of_their_lines() {
    let server = RedisServer::new();
    let lines: Vec<_> = (0..10_000)
        .map(|number| {
            format!(
                "{{\"event\":\"x\",\"number\":{number}}}

"
            )
        })
        .collect();
    let lines = lines.concat();
    let published = fed(&mut publish(&server, &["inference-events", "-"]), &lines);
    assert_eq!(stdout(&published), "10,000 events published to inference-events\n", "{}", stderr(&published));
    assert_eq!(stderr(&published), "", "no bar where nobody looks");
    let entries = entries(&server, "inference-events");
    let numbers: Vec<usize> =
        entries.iter().map(|(_, fields)| field(fields, "number").parse().unwrap()).collect();
    assert_eq!(numbers, (0..10_000).collect::<Vec<_>>());
}

#[test]
fn with_ids_every_events_id_is_printed() {
    let server = RedisServer::new();
    let published = fed(&mut publish(&server, &["s", "--ids"]), "{\"event\":\"a\"}\n{\"event\":\"b\"}");
    let ids: Vec<_> = entries(&server, "s").into_iter().map(|(id, _)| id).collect();
    assert_eq!(stdout(&published).lines().collect::<Vec<_>>(), ids);
    assert_eq!(ids.len(), 2);
}

#[test]
fn a_bad_line_is_named_and_those_before_it_are_published() {
    let server = RedisServer::new();
    let good = r#"{"event":"inference-complete","model_name":"m","version":"1","latency_ms":1.5}"#;
    for (bad, reason) in [
        (good.replace("1.5", "\"fast\""), "latency_ms"),
        (good.replace("\"version\":\"1\",", ""), "version"),
        ("{\"event\":".to_owned(), "not a JSON object"),
        ("[1]".to_owned(), "not a JSON object"),
    ] {
        let _: () = redis::cmd("FLUSHALL").query(&mut server.connection()).unwrap();
        let input = format!("{good}\n{good}\n{bad}\n{good}\n");
        let refused = fed(&mut publish(&server, &["inference-events"]), &input);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.starts_with("synapse: line 3: ") && said.contains(reason), "{said}");
        assert!(said.contains("2 events published"), "{said}");
        assert_eq!(entries(&server, "inference-events").len(), 2);
        assert_eq!(stdout(&refused), "");
    }
}

#[test]
fn a_bad_event_names_the_field_and_writes_nothing() {
    let server = RedisServer::new();
    let bad = r#"{"event":"inference-complete","model_name":"m","version":"1","latency_ms":"fast"}"#;
    let refused = ended(&mut publish(&server, &["inference-events", bad]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("latency_ms"), "{}", stderr(&refused));
    assert!(entries(&server, "inference-events").is_empty());
}

#[test]
fn a_key_of_another_kind_is_refused_by_redis_and_said_so() {
    let server = RedisServer::new();
    let _: () = redis::cmd("SET").arg("s").arg("x").query(&mut server.connection()).unwrap();
    let refused = ended(&mut publish(&server, &["s", "{\"event\":\"x\"}"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("WRONGTYPE"), "{}", stderr(&refused));
    let refused = fed(&mut publish(&server, &["s"]), "{\"event\":\"x\"}\n{\"event\":\"y\"}\n");
    assert!(
        stderr(&refused).contains("line 1") && stderr(&refused).contains("0 events"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_redis_that_is_not_there_is_said_at_once() {
    let mut command = synapse();
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let refused = ended(command.args(["--redis-url", &nobody, "publish", "s", "{\"event\":\"x\"}"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("is it running"), "{}", stderr(&refused));
}

#[test]
fn a_redis_that_does_not_answer_any_more_is_waited_for_and_then_given_up() {
    let server = RedisServer::builder().set("maxmemory", "1").set("maxmemory-policy", "noeviction").start();
    let refused = ended(&mut publish(&server, &["s", "{\"event\":\"x\"}", "--timeout", "300ms"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("not acknowledged the event in time"), "{}", stderr(&refused));
}

#[test]
fn events_over_a_restart_of_redis_all_arrive() {
    let mut server = RedisServer::durable();
    let mut command = publish(&server, &["s"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{{\"event\":\"x\",\"number\":1}}").unwrap();
    let deadline = std::time::Instant::now() + crate::running::PATIENCE;
    while entries(&server, "s").is_empty() {
        assert!(std::time::Instant::now() < deadline, "a line is published when it comes, not at the end");
    }
    server.kill();
    writeln!(stdin, "{{\"event\":\"x\",\"number\":2}}").unwrap();
    server.start();
    drop(stdin);
    let output = output_of(child);
    assert_eq!(stdout(&output), "2 events published to s\n", "{}", stderr(&output));
    // At least once: what was on its way when the connection broke may be there twice, under the same event id.
    let mut events: Vec<_> =
        entries(&server, "s").into_iter().map(|(_, fields)| field(&fields, "event_id").to_owned()).collect();
    events.sort_unstable();
    events.dedup();
    assert_eq!(events.len(), 2);
}

#[test]
fn ctrl_c_says_how_much_was_published() {
    let server = RedisServer::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut publishing = Running::start_with(&mut publish(&server, &["s", "--ids"]), reader.into());
    writeln!(writer, "{{\"event\":\"x\"}}").unwrap();
    publishing.line("-0");
    publishing.signal(Signal::INT);
    assert_eq!(publishing.end().code(), Some(1));
    publishing.line("synapse: interrupted; 1 event published");
}

#[test]
fn what_was_tailed_can_be_published_again() {
    let server = RedisServer::new();
    ended(&mut publish(&server, &["platform-events", LOGIN]));
    let mut tail = synapse();
    tail.env("REDIS_URL", server.url()).args([
        "tail",
        "platform-events",
        "--after",
        "0",
        "--json",
        "-n",
        "1",
    ]);
    let line = stdout(&ended(&mut tail));
    let again = fed(&mut publish(&server, &["platform-events"]), &line);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let entries = entries(&server, "platform-events");
    assert_eq!(field(&entries[0].1, "event_id"), field(&entries[1].1, "event_id"));
    assert_eq!(field(&entries[1].1, "user_id"), "42");
}

#[test]
fn streams_that_only_the_platform_writes_and_names_of_no_stream_are_refused() {
    let server = RedisServer::new();
    let long = "n".repeat(513);
    for (name, why) in [
        ("synapse:trimmer", "platform's own keys"),
        ("model-events:dlq", "dead letters"),
        ("", "0 bytes"),
        (long.as_str(), "513 bytes"),
    ] {
        let refused = ended(&mut publish(&server, &[name, LOGIN]));
        assert_eq!(refused.status.code(), Some(64), "{name}");
        assert!(stderr(&refused).contains(why), "{}", stderr(&refused));
        assert_eq!(fed(&mut publish(&server, &[name, "-"]), LOGIN).status.code(), Some(64), "{name}");
    }
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut server.connection()).unwrap();
    assert!(keys.is_empty(), "{keys:?}");
}
