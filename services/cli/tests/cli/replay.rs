//! `synapse replay`: which events are copied, how fast, and how it is gone on with.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use synapse_test_support::RedisServer;

use crate::{
    running::{Running, ended, stderr, stdout, synapse},
    screen::Screen,
};

fn replay(server: &RedisServer, arguments: &[&str]) -> Command {
    let mut command = synapse();
    command.env("REDIS_URL", server.url()).arg("replay").args(arguments);
    command
}

/// Entries with the ids 1000-0, 2000-0 and so on, of two models in turn.
fn with_entries(count: usize) -> RedisServer {
    let server = RedisServer::new();
    let mut pipe = redis::pipe();
    for number in 1..=count {
        pipe.cmd("XADD").arg("training-events").arg(format!("{}-0", number * 1000)).arg(&[
            ("event", "training-progress"),
            ("model_name", if number % 2 == 0 { "even" } else { "odd" }),
            ("event_id", &number.to_string()),
        ]);
    }
    let _: redis::Value = pipe.query(&mut server.connection()).unwrap();
    server
}

/// `replay_of` of every entry of a stream.
fn origins(server: &RedisServer, stream: &str) -> Vec<String> {
    let range: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut server.connection()).unwrap();
    let origin =
        |fields: &[String]| fields.chunks(2).find(|pair| pair[0] == "replay_of").map(|pair| pair[1].clone());
    range.iter().map(|(_, fields)| origin(fields).unwrap_or_default()).collect()
}

#[test]
fn a_range_goes_onto_another_stream_with_where_each_came_from() {
    let server = with_entries(10);
    let copied = ended(&mut replay(
        &server,
        &["training-events", "--from", "3000-0", "--to", "6000", "--onto", "again"],
    ));
    assert_eq!(stdout(&copied), "4 events of training-events copied onto again\n", "{}", stderr(&copied));
    assert_eq!(stderr(&copied), "", "no bar where nobody looks");
    assert_eq!(origins(&server, "again"), ["3000-0", "4000-0", "5000-0", "6000-0"]);
    assert_eq!(origins(&server, "training-events").len(), 10);
}

#[test]
fn times_conditions_and_counts_select() {
    let server = with_entries(10);
    let run = |arguments: &[&str]| {
        stdout(&ended(&mut replay(&server, &[&["training-events"], arguments].concat())))
    };
    let dry = run(&[
        "--from",
        "1970-01-01T00:00:02Z",
        "--to",
        "1970-01-01T00:00:09Z",
        "--where",
        "model_name=even",
        "--dry-run",
    ]);
    assert_eq!(dry, "4 events of training-events would be copied onto training-events\n");
    assert_eq!(origins(&server, "training-events").len(), 10, "nothing was copied");
    run(&["--from", "0", "--where", "model_name=even", "-n", "2", "--onto", "again"]);
    assert_eq!(origins(&server, "again"), ["2000-0", "4000-0"]);
}

#[test]
fn onto_the_same_stream_it_ends_with_what_was_there_at_the_beginning() {
    let server = with_entries(10);
    let copied = ended(&mut replay(&server, &["training-events", "--from", "0"]));
    assert_eq!(
        stdout(&copied),
        "10 events of training-events copied onto training-events\n",
        "{}",
        stderr(&copied)
    );
    assert_eq!(origins(&server, "training-events").len(), 20);
}

#[test]
fn a_rate_is_kept_to() {
    let server = with_entries(100);
    let begun = Instant::now();
    let copied = ended(&mut replay(
        &server,
        &["training-events", "--from", "0", "--onto", "again", "--rate", "200/s"],
    ));
    assert_eq!(copied.status.code(), Some(0), "{}", stderr(&copied));
    // The first piece goes at once.
    assert!(begun.elapsed() > Duration::from_millis(440), "{:?}", begun.elapsed());
    assert_eq!(origins(&server, "again").len(), 100);
}

#[test]
fn ctrl_c_says_how_to_go_on_and_going_on_that_way_copies_the_rest_once() {
    stopped_by(Signal::INT);
}

#[test]
fn sigterm_says_how_to_go_on_as_well() {
    stopped_by(Signal::TERM);
}

fn stopped_by(signal: Signal) {
    let server = with_entries(400);
    let arguments = [
        "training-events",
        "--from",
        "2000",
        "--onto",
        "it's again",
        "--where",
        "event=training-progress",
        "--rate",
        "100/s",
    ];
    let mut replaying = Running::start(&mut replay(&server, &arguments));
    let deadline = Instant::now() + crate::running::PATIENCE;
    while origins(&server, "it's again").len() < 20 {
        assert!(Instant::now() < deadline, "{}", replaying.text());
    }
    replaying.signal(signal);
    assert_eq!(replaying.end().code(), Some(1));
    let told = replaying.text();
    assert!(told.contains("interrupted; ") && told.contains("copied onto it's again. Go on with:"), "{told}");
    let done = origins(&server, "it's again").len();
    assert!(done < 399, "it was stopped");

    // As a shell would run the line that it was told.
    let line = told.lines().last().unwrap().trim().replacen("synapse", env!("CARGO_BIN_EXE_synapse"), 1);
    let rest = line.replace("--rate 100/s", "--rate 10000/s");
    let went_on = ended(Command::new("sh").arg("-c").arg(rest).env("REDIS_URL", server.url()));
    assert_eq!(went_on.status.code(), Some(0), "{line}: {}", stderr(&went_on));
    let all: Vec<_> = (2..=400).map(|number| format!("{}-0", number * 1000)).collect();
    assert_eq!(origins(&server, "it's again"), all);
}

#[test]
fn what_was_sent_and_never_answered_is_said() {
    let server = with_entries(400);
    let mut replaying = Running::start(&mut replay(
        &server,
        &["training-events", "--from", "0", "--onto", "again", "--rate", "100/s"],
    ));
    let deadline = Instant::now() + crate::running::PATIENCE;
    while origins(&server, "again").len() < 20 {
        assert!(Instant::now() < deadline, "{}", replaying.text());
    }
    // Longer than a command is waited for.
    redis::cmd("CLIENT").arg("PAUSE").arg(60_000).exec(&mut server.connection()).unwrap();
    assert_eq!(replaying.end().code(), Some(1));
    let told = replaying.text();
    assert!(told.contains("copied onto again, maybe 5 more: no answer came"), "{told}");
    assert!(told.contains("Going on sends them again") && told.contains("Go on with:"), "{told}");
}

#[test]
fn a_bar_is_shown_on_a_terminal() {
    let server = with_entries(60);
    let screen = Screen::start(
        &mut replay(&server, &["training-events", "--from", "0", "--onto", "again", "--rate", "100/s"]),
        100,
    );
    screen.until("events copied");
    screen.until("█");
    let (shown, status) = screen.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains("60 events of training-events copied onto again"), "{shown}");
}

#[test]
fn what_can_not_be_meant_is_refused() {
    let server = with_entries(1);
    for (arguments, status, reason) in [
        (&["training-events"][..], 64, "--from"),
        (&["training-events", "--from", "soon"], 64, "--from: \"soon\""),
        (&["training-events", "--from", "0", "--to", "noon"], 64, "--to: \"noon\""),
        (&["training-events", "--from", "5", "--to", "4"], 64, "behind"),
        (&["training-events", "--from", "0", "--rate", "0"], 64, "each second"),
        (&["training-events", "--from", "0", "--where", "x"], 64, "--where"),
        (&["training-events:dlq", "--from", "0"], 64, "synapse dlq replay"),
        (&["training-events", "--from", "0", "--onto", "synapse:trimmer"], 64, "the platform's own keys"),
        (&["training-events", "--from", "0", "--onto", "q:dlq"], 64, "dead letters"),
        (&["training-event", "--from", "0"], 1, "no stream \"training-event\""),
    ] {
        let refused = ended(&mut replay(&server, arguments));
        assert_eq!(refused.status.code(), Some(status), "{arguments:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(reason), "{arguments:?}: {}", stderr(&refused));
    }
}
