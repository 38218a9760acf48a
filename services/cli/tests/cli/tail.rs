//! `synapse tail`: what it shows, that it misses nothing, and how it ends.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use synapse_test_support::RedisServer;

use crate::running::{Running, ended, output_of, stderr, stdout, synapse};
use crate::screen::Screen;

fn tail(server: &RedisServer, arguments: &[&str]) -> Command {
    let mut command = synapse();
    command.env("REDIS_URL", server.url()).arg("tail").args(arguments);
    command
}

fn append(server: &RedisServer, stream: &str, id: &str, fields: &[(&str, &str)]) -> String {
    redis::cmd("XADD").arg(stream).arg(id).arg(fields).query(&mut server.connection()).unwrap()
}

fn inference(server: &RedisServer, id: &str, model: &str, success: &str) -> String {
    let fields = [
        ("event", "inference-complete"),
        ("source", "cyrex"),
        ("model_name", model),
        ("version", "2.0"),
        ("latency_ms", "45.2"),
        ("success", success),
    ];
    append(server, "inference-events", id, &fields)
}

/// Waits until a tail that started at the end of a stream is there: from now on it sees everything.
fn watching(command: &mut Command, server: &RedisServer) -> Running {
    let tail = Running::start(command);
    let blocked = || -> bool {
        let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut server.connection()).unwrap();
        clients.contains("cmd=xread")
    };
    let deadline = std::time::Instant::now() + crate::running::PATIENCE;
    while !blocked() {
        assert!(std::time::Instant::now() < deadline, "it does not read:\n{}", tail.text());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    tail
}

#[test]
fn events_show_as_one_line_each_in_the_order_of_all_streams() {
    let server = RedisServer::new();
    inference(&server, "1577836800040-0", "llama3:8b", "True");
    append(
        &server,
        "model-events",
        "1577836800030-0",
        &[("event", "model-ready"), ("model_name", "m"), ("version", "1")],
    );
    append(&server, "model-events", "1577836800050-0", &[("created", "2026-11-23T09:04:54")]);
    append(
        &server,
        "inference-events",
        "1577836800060-0",
        &[("event", "inference-complete"), ("latency_ms", "fast")],
    );
    let arguments = ["inference-events", "model-events", "--after", "0", "--count", "3"];
    let shown = ended(&mut tail(&server, &arguments));
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    let text = stdout(&shown);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("2020-01-01 00:00:00.030  model-events      model-ready"), "{text}");
    assert!(lines[1].starts_with("2020-01-01 00:00:00.040  inference-events  inference-complete   model=llama3:8b  version=2.0  latency=45.2ms"), "{text}");
    assert!(lines[2].contains("(unreadable)") && lines[2].contains("latency_ms"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours into a pipe: {text}");
}

#[test]
fn programs_get_one_json_object_per_line_with_ids_and_stream() {
    let server = RedisServer::new();
    inference(&server, "1795424694440-0", "llama3:8b", "False");
    append(
        &server,
        "inference-events",
        "1795424694441-0",
        &[("event", "inference-complete"), ("latency_ms", "fast")],
    );
    append(
        &server,
        "inference-events",
        "1795424694442-0",
        &[("event", "x"), ("event_id", "own"), ("id", "7")],
    );
    let shown = ended(&mut tail(&server, &["inference-events", "--after", "0", "--json", "-n", "2"]));
    let text = stdout(&shown);
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2, "{text}");
    assert_eq!(events[0]["model_name"], "llama3:8b");
    assert_eq!(events[0]["success"], json!(false));
    assert_eq!(events[0]["event_id"], "inference-events/1795424694440-0");
    assert_eq!(events[0]["id"], "1795424694440-0");
    assert_eq!(events[0]["stream"], "inference-events");
    assert_eq!((&events[1]["event_id"], &events[1]["id"]), (&json!("own"), &json!("1795424694442-0")));
    let notes = stderr(&shown);
    assert!(notes.contains("inference-events 1795424694441-0") && notes.contains("latency_ms"), "{notes}");
}

#[test]
fn a_condition_lets_only_matching_events_pass() {
    let server = RedisServer::new();
    for (id, model, success) in
        [("1-1", "a", "True"), ("1-2", "b", "False"), ("1-3", "b", "True"), ("1-4", "b", "False")]
    {
        inference(&server, id, model, success);
    }
    let arguments = [
        "inference-events",
        "--after",
        "0",
        "--where",
        "success=false",
        "--where",
        "model_name=b",
        "--json",
        "-n",
        "2",
    ];
    let shown = stdout(&ended(&mut tail(&server, &arguments)));
    let ids: Vec<Value> =
        shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, ["1-2", "1-4"]);
}

#[test]
fn without_after_only_what_comes_is_shown_and_nothing_of_it_is_missed() {
    let server = RedisServer::new();
    inference(&server, "*", "before", "True");
    let tail = watching(&mut tail(&server, &["inference-events", "--json"]), &server);
    // In bursts, so that many of them come between two reads.
    for burst in 0..20 {
        let mut pipeline = redis::pipe();
        for number in 0..100 {
            let number = (burst * 100 + number).to_string();
            pipeline
                .cmd("XADD")
                .arg("inference-events")
                .arg("*")
                .arg("event")
                .arg("x")
                .arg("number")
                .arg(number)
                .ignore();
        }
        pipeline.query::<()>(&mut server.connection()).unwrap();
    }
    let lines = tail.lines_with("\"number\":", 2000);
    let numbers: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].clone()).collect();
    assert_eq!(numbers, (0..2000).map(Value::from).collect::<Vec<_>>());
    assert!(!tail.text().contains("before"));
}

#[test]
fn a_stream_that_does_not_exist_yet_is_waited_for() {
    let server = RedisServer::new();
    let tail = watching(&mut tail(&server, &["training-events", "--json"]), &server);
    tail.line("training-events does not exist yet");
    append(&server, "training-events", "*", &[("event", "x")]);
    tail.line("\"stream\":\"training-events\"");
}

#[test]
fn it_goes_on_over_a_restart_of_redis_without_gap_or_repeat() {
    let mut server = RedisServer::durable();
    let tail = watching(&mut tail(&server, &["inference-events", "--json"]), &server);
    inference(&server, "*", "first", "True");
    tail.line("\"first\"");
    server.kill();
    tail.line("trying again");
    server.start();
    inference(&server, "*", "second", "True");
    tail.line("\"second\"");
    assert_eq!(tail.lines_with("\"model_name\"", 2).len(), 2, "{}", tail.text());
}

#[test]
fn after_redis_lost_its_data_it_goes_on_with_what_is_new() {
    let mut server = RedisServer::new();
    // An id far in the future, as of a clock that was wrong.
    inference(&server, "9999999999999-0", "lost", "True");
    let tail = watching(&mut tail(&server, &["inference-events", "--json"]), &server);
    server.kill();
    tail.line("trying again");
    server.start();
    tail.line("redis has lost entries");
    inference(&server, "*", "new", "True");
    tail.line("\"new\"");
}

#[test]
fn on_a_terminal_lines_are_coloured_and_cut_to_its_width_also_when_that_changes() {
    let server = RedisServer::new();
    inference(&server, "1577836800040-0", "分類器分類器分類器", "False");
    let screen = Screen::start(&mut tail(&server, &["inference-events", "--after", "0", "-n", "2"]), 80);
    screen.until("…");
    screen.resize(70);
    inference(&server, "1577836800041-0", "分類器分類器分類器", "False");
    let (shown, status) = screen.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    let lines: Vec<_> = shown.lines().filter(|line| line.contains("inference-complete")).collect();
    assert!(lines.iter().all(|line| line.contains("\u{1b}[31m")), "a failure is red: {lines:?}");
    let columns = |line: &str| {
        let plain: String =
            line.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |(_, text)| text)).collect();
        plain.trim_end().chars().map(|c| if c.is_ascii() || c == '…' { 1 } else { 2 }).sum::<usize>()
    };
    // A character of two columns may not fit into the last one.
    assert!((79..=80).contains(&columns(lines[0])) && (69..=70).contains(&columns(lines[1])), "{lines:?}");
}

#[test]
fn ctrl_c_ends_it_quietly() {
    let server = RedisServer::new();
    inference(&server, "*", "m", "True");
    let mut tail = watching(&mut tail(&server, &["inference-events"]), &server);
    tail.signal(Signal::INT);
    assert_eq!(tail.end().code(), Some(0));
    assert_eq!(tail.text(), "");
}

#[test]
fn a_closed_pipe_ends_it_quietly_even_when_nothing_comes() {
    let server = RedisServer::new();
    inference(&server, "1-1", "m", "True");
    let mut command = tail(&server, &["inference-events", "--after", "0"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    drop(output);
    let end = output_of(child);
    assert_eq!(end.status.code(), Some(0));
    assert_eq!(stderr(&end), "");
}

#[test]
fn what_can_not_be_tailed_is_refused_with_the_reason() {
    let server = RedisServer::new();
    let _: () = redis::cmd("SET").arg("a-string").arg("x").query(&mut server.connection()).unwrap();
    for (arguments, status, reason) in [
        (vec!["a-string"], 1, "WRONGTYPE"),
        (vec!["s", "--after", "yesterday"], 64, "--after: \"yesterday\""),
        (vec!["s", "--where", "no-value"], 64, "--where"),
        (vec!["s", "--count", "0"], 64, "--count"),
        (vec![], 64, "STREAM"),
    ] {
        let refused = ended(&mut tail(&server, &arguments));
        assert_eq!(refused.status.code(), Some(status), "{arguments:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(reason), "{arguments:?}: {}", stderr(&refused));
        assert_eq!(stdout(&refused), "");
    }
}
