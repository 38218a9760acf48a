//! `synapse dlq`: what is listed and shown, that replay loses and doubles nothing, that purge asks.

use std::{collections::BTreeSet, process::Command};

use rustix::process::Signal;
use serde_json::{Value, json};
use synapse_test_support::RedisServer;

use crate::{
    running::{Running, ended, stderr, stdout, synapse},
    screen::Screen,
};

type Entries = Vec<(String, Vec<(String, String)>)>;

fn dlq(server: &RedisServer, arguments: &[&str]) -> Command {
    let mut command = synapse();
    command.env("REDIS_URL", server.url()).arg("dlq").args(arguments);
    command
}

/// Dead letters of inference-events: every fourth of notification-service, every third delivered too often.
fn with_letters(count: usize) -> RedisServer {
    let server = RedisServer::new();
    let mut pipe = redis::pipe();
    for number in 0..count {
        let number_text = number.to_string();
        pipe.cmd("XADD").arg("inference-events:dlq").arg("*").arg(&[
            ("event", "inference-complete"),
            ("model_name", "llama3:8b"),
            ("version", "2.0"),
            ("latency_ms", "45.2"),
            ("event_id", &number_text),
            ("dlq_original_stream", "inference-events"),
            (
                "dlq_original_group",
                if number % 4 == 0 { "notification-service" } else { "analytics-service" },
            ),
            ("dlq_original_id", &format!("1600000000000-{number}")),
            ("dlq_reason", if number % 3 == 0 { "max_deliveries" } else { "rejected" }),
            ("dlq_error", "no such\ntable"),
            ("dlq_retry_count", "5"),
            ("dlq_moved_at", "2026-11-24T09:00:00.000000Z"),
        ]);
    }
    let _: redis::Value = pipe.query(&mut server.connection()).unwrap();
    server
}

fn entries(server: &RedisServer, stream: &str) -> Entries {
    let range: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut server.connection()).unwrap();
    let pairs =
        |fields: Vec<String>| fields.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    range.into_iter().map(|(id, fields)| (id, pairs(fields))).collect()
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
}

fn letters(server: &RedisServer) -> usize {
    entries(server, "inference-events:dlq").len()
}

#[test]
fn list_counts_by_stream_group_and_reason() {
    let server = with_letters(12);
    let table = stdout(&ended(&mut dlq(&server, &["list"])));
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert_eq!(rows[1][..3], ["inference-events", "analytics-service", "9"], "{table}");
    assert!(table.lines().nth(1).unwrap().ends_with("rejected 6, max_deliveries 3"), "{table}");

    let listed: Value =
        serde_json::from_str(&stdout(&ended(&mut dlq(&server, &["list", "--json"])))).unwrap();
    assert_eq!((&listed[1]["group"], &listed[1]["count"]), (&json!("notification-service"), &json!(3)));
    assert_eq!(listed[1]["reasons"], json!({ "max_deliveries": 1, "rejected": 2 }));

    let none = RedisServer::new();
    let said = ended(&mut dlq(&none, &["list"]));
    assert_eq!((said.status.code(), stdout(&said).as_str()), (Some(0), ""));
    assert!(stderr(&said).contains("has no dead letters"), "{}", stderr(&said));
    assert_eq!(stdout(&ended(&mut dlq(&none, &["list", "--json"]))), "[]\n");
}

#[test]
fn show_says_what_happened_and_what_the_event_was() {
    let server = with_letters(12);
    let shown = stdout(&ended(&mut dlq(&server, &["show", "inference-events", "-n", "1"])));
    let id = entries(&server, "inference-events:dlq")[0].0.clone();
    assert!(
        shown.starts_with(&format!("{id}  now  max_deliveries in group notification-service")),
        "{shown}"
    );
    for text in
        ["after 5 deliveries\n", "no such\\ntable", "1600000000000-0 on inference-events", "latency_ms: 45.2"]
    {
        assert!(shown.contains(text), "{text:?} in {shown}");
    }
    assert!(!shown.contains("dlq_"), "its own fields alone: {shown}");
}

#[test]
fn show_selects_by_group_reason_and_id_and_goes_on_after_an_id() {
    let server = with_letters(12);
    let ids = |arguments: &[&str]| -> Vec<String> {
        let shown =
            ended(&mut dlq(&server, &[&["show", "inference-events:dlq", "--json"], arguments].concat()));
        let letters = stdout(&shown);
        letters
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|letter| {
                assert_eq!(letter["event"]["latency_ms"], 45.2);
                letter["event"]["event_id"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    assert_eq!(ids(&["-n", "3"]), ["0", "1", "2"]);
    assert_eq!(ids(&["notification-service"]), ["0", "4", "8"]);
    assert_eq!(ids(&["notification-service", "--reason", "rejected"]), ["4", "8"]);
    let entries = entries(&server, "inference-events:dlq");
    assert_eq!(ids(&["--after", &entries[9].0]), ["10", "11"]);
    assert_eq!(ids(&["--id", &entries[7].0, "--id", &entries[5].0]), ["7", "5"]);
}

#[test]
fn names_and_ids_that_are_slips_are_said_to_be_so() {
    let server = with_letters(1);
    for (arguments, reason) in [
        (&["show", "inference-event"][..], "no stream \"inference-event\""),
        (&["replay", "inference-event", "--all"], "no stream \"inference-event\""),
        (&["show", "inference-events", "--id", "5-5"], "no dead letter of inference-events has the id 5-5"),
        (&["replay", "inference-events", "--id", "5-5"], "1 id not found"),
    ] {
        let refused = ended(&mut dlq(&server, arguments));
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&refused).contains(reason), "{}", stderr(&refused));
    }
    for arguments in [
        &["replay", "inference-events"][..],
        &["purge", "inference-events"],
        &["replay", "inference-events", "--all", "-n", "3"],
        &["replay", "inference-events", "--id", "yesterday"],
        &["show", "inference-events", "-n", "0"],
    ] {
        assert_eq!(ended(&mut dlq(&server, arguments)).status.code(), Some(64), "{arguments:?}");
    }
    let none = ended(&mut dlq(&server, &["show", "inference-events", "nobody"]));
    assert_eq!((none.status.code(), stdout(&none).as_str()), (Some(0), ""));
    assert!(stderr(&none).contains("no dead letters of inference-events, group nobody"), "{}", stderr(&none));
    assert_eq!(letters(&server), 1);
}

#[test]
fn replaying_ten_thousand_puts_each_back_once_and_shows_how_far_it_is() {
    let server = with_letters(10_000);
    let screen = Screen::start(&mut dlq(&server, &["replay", "inference-events", "--all"]), 100);
    let (shown, status) = screen.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains("10,000 dead letters of inference-events replayed"), "{shown}");
    let bars: BTreeSet<_> =
        shown.match_indices('%').map(|(at, _)| shown[..at].rsplit(' ').next().unwrap()).collect();
    assert!(shown.contains('█') && shown.contains('░') && bars.len() > 1, "a bar that moves: {shown:?}");

    assert_eq!(letters(&server), 0);
    let entries = entries(&server, "inference-events");
    assert_eq!(entries.len(), 10_000);
    for (number, (_, fields)) in entries.iter().enumerate() {
        assert_eq!(field(fields, "event_id"), number.to_string());
        assert_eq!(field(fields, "replay_of"), format!("1600000000000-{number}"));
        assert!(fields.iter().all(|(name, _)| !name.starts_with("dlq_")), "{fields:?}");
    }
}

#[test]
fn replay_takes_those_that_are_meant_and_leaves_the_rest() {
    let server = with_letters(24);
    let run = |arguments: &[&str]| {
        let ended = ended(&mut dlq(&server, &[&["replay", "inference-events"], arguments].concat()));
        assert_eq!((ended.status.code(), stderr(&ended).as_str()), (Some(0), ""));
        stdout(&ended)
    };
    let selection = ["notification-service", "--reason", "rejected", "--all"];
    let what = "4 dead letters of inference-events, group notification-service, reason rejected";
    assert_eq!(run(&[&selection[..], &["--dry-run"]].concat()), format!("{what} would be replayed\n"));
    assert_eq!(letters(&server), 24, "nothing was changed");
    assert_eq!(run(&selection), format!("{what} replayed\n"));
    let ids: Vec<_> = entries(&server, "inference-events")
        .iter()
        .map(|(_, fields)| field(fields, "event_id").to_owned())
        .collect();
    assert_eq!(ids, ["4", "8", "16", "20"]);
    assert_eq!(run(&["-n", "3"]), "3 dead letters of inference-events replayed\n");
    let id = entries(&server, "inference-events:dlq")[5].0.clone();
    assert_eq!(run(&["--id", &id]), "1 dead letter of inference-events replayed\n");
    assert_eq!(letters(&server), 16);
}

#[test]
fn a_group_that_is_not_there_is_a_failure() {
    let server = with_letters(3);
    for command in ["replay", "purge"] {
        let refused = ended(&mut dlq(&server, &[command, "inference-events", "nosuchgroup", "--all"]));
        assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("nosuchgroup"), "{}", stderr(&refused));
    }
}

#[test]
fn letters_that_no_stream_takes_are_passed_over_and_told_of() {
    let server = with_letters(3);
    let mut redis = server.connection();
    redis::cmd("SET").arg("text").arg("a string").exec(&mut redis).unwrap();
    let fields = [("event", "x"), ("dlq_original_stream", "text")];
    let mut bury = || -> String {
        redis::cmd("XADD").arg("inference-events:dlq").arg("*").arg(&fields).query(&mut redis).unwrap()
    };
    let (first, _) = (bury(), bury());
    let replayed = ended(&mut dlq(&server, &["replay", "inference-events", "--all"]));
    assert_eq!(replayed.status.code(), Some(1));
    assert_eq!(stdout(&replayed), "3 dead letters of inference-events replayed\n");
    let told = stderr(&replayed);
    assert!(told.contains(&format!("2 of the dead letters could not be put back (first {first})")), "{told}");
    assert!(told.contains("WRONGTYPE") && !told.contains("user_script"), "{told}");
}

#[test]
fn a_letter_without_an_event_stays_and_is_told_of() {
    let server = with_letters(1);
    let fields = [("dlq_original_stream", "inference-events"), ("dlq_reason", "max_deliveries")];
    let _: String = redis::cmd("XADD")
        .arg("inference-events:dlq")
        .arg("*")
        .arg(&fields)
        .query(&mut server.connection())
        .unwrap();
    let replayed = ended(&mut dlq(&server, &["replay", "inference-events", "--all"]));
    assert_eq!(stdout(&replayed), "1 dead letter of inference-events replayed\n");
    assert!(stderr(&replayed).contains("1 dead letter stayed: its event was"), "{}", stderr(&replayed));
    assert_eq!(letters(&server), 1);
}

#[test]
fn ctrl_c_stops_a_replay_between_two_steps_and_the_same_command_goes_on() {
    let server = with_letters(20_000);
    let mut replay = dlq(&server, &["replay", "inference-events", "--all"]);
    let screen = Screen::start(&mut replay, 100);
    screen.until("dead letters replayed");
    screen.signal(Signal::INT);
    let (shown, status) = screen.end();
    assert_eq!(status.code(), Some(1), "{shown}");
    assert!(shown.contains("interrupted; ") && shown.contains("the same command goes on"), "{shown}");
    let (back, left) = (entries(&server, "inference-events").len(), letters(&server));
    assert_eq!(back + left, 20_000, "nothing is lost or doubled");
    assert!(left > 0, "it was stopped");
    let told: String =
        shown.split("interrupted; ").nth(1).unwrap().chars().take_while(|c| *c != ' ').collect();
    assert_eq!(told.replace(',', ""), back.to_string());
    ended(&mut dlq(&server, &["replay", "inference-events", "--all"]));
    assert_eq!((entries(&server, "inference-events").len(), letters(&server)), (20_000, 0));
}

#[test]
fn purge_asks_at_a_terminal_and_wants_yes_elsewhere() {
    let server = with_letters(6);
    let purge = ["purge", "inference-events", "--reason", "rejected", "--all"];
    let refused = ended(&mut dlq(&server, &purge));
    assert_eq!(refused.status.code(), Some(64));
    assert!(stderr(&refused).contains("Delete 4 dead letters") && stderr(&refused).contains("--yes"));
    for answer in ["\n", "n\n", "\u{4}"] {
        let mut screen = Screen::start(&mut dlq(&server, &purge), 100);
        screen.until("Delete 4 dead letters of inference-events, reason rejected for good? [y/N]");
        screen.type_in(answer);
        let (shown, status) = screen.end();
        assert_eq!(status.code(), Some(1), "{answer:?}: {shown}");
        assert!(shown.contains("nothing was done"), "{shown}");
    }
    assert_eq!(letters(&server), 6);
    let mut screen = Screen::start(&mut dlq(&server, &purge), 100);
    screen.until("[y/N]");
    screen.type_in("y\n");
    let (shown, status) = screen.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert_eq!(letters(&server), 2);
    let purged = ended(&mut dlq(&server, &["purge", "inference-events", "--all", "--yes"]));
    assert_eq!(stdout(&purged), "2 dead letters of inference-events deleted\n");
    assert_eq!((letters(&server), entries(&server, "inference-events").len()), (0, 0));
}

#[test]
fn a_redis_that_goes_away_says_how_far_it_was() {
    let mut server = with_letters(20_000);
    let replay = Running::start(&mut dlq(&server, &["replay", "inference-events", "--all"]));
    let deadline = std::time::Instant::now() + crate::running::PATIENCE;
    while entries(&server, "inference-events").is_empty() {
        assert!(std::time::Instant::now() < deadline);
    }
    server.kill();
    let mut replay = replay;
    assert_eq!(replay.end().code(), Some(1));
    assert!(replay.text().contains("the same command goes on"), "{}", replay.text());
}
