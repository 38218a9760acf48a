//! `synapse streams` and `synapse groups`, and what all commands share.

use serde_json::{Value, json};
use synapse_test_support::{RedisServer, free_port};

use crate::running::{ended, stderr, stdout, synapse};

/// Two streams: one with a group that has read two of its three entries and acknowledged one.
fn filled() -> RedisServer {
    let server = RedisServer::new();
    let mut redis = server.connection();
    let mut run = |command: &str| {
        let mut words = command.split(' ');
        let mut request = redis::cmd(words.next().unwrap());
        request.arg(words.collect::<Vec<_>>()).query::<redis::Value>(&mut redis).unwrap();
    };
    for id in ["1-1", "1-2", "1-3"] {
        run(&format!("XADD inference-events {id} event x"));
    }
    run("XADD model-events 5-0 event x");
    run("SET not-a-stream x");
    run("XGROUP CREATE inference-events analytics-service 0");
    run("XREADGROUP GROUP analytics-service one COUNT 2 STREAMS inference-events >");
    run("XACK inference-events analytics-service 1-1");
    server
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn streams_lists_every_stream_for_people_and_programs() {
    let server = filled();
    let table = stdout(&ended(synapse().args(["--redis-url", &server.url(), "streams"])));
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("STREAM"), "{table}");
    let words: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!((words[0], words[1]), ("inference-events", "3"), "{table}");
    assert_eq!(words[words.len() - 4..], ["1", "1", "1", "-"], "groups, lag, pending, dead letters: {table}");

    let listed = json(&stdout(&ended(synapse().args(["streams", "--json", "--redis-url", &server.url()]))));
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["stream"], "inference-events");
    assert_eq!(
        (&listed[0]["length"], &listed[0]["first_id"], &listed[0]["last_id"]),
        (&json!(3), &json!("1-1"), &json!("1-3"))
    );
    assert!(listed[0]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(listed[0]["groups"][0]["lag"], 1);
    assert_eq!(listed[1]["groups"], json!([]));
}

#[test]
fn groups_says_how_far_behind_each_is() {
    let server = filled();
    let listed = json(&stdout(&ended(synapse().env("REDIS_URL", server.url()).args(["groups", "--json"]))));
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let group = &listed[0];
    assert_eq!((&group["stream"], &group["name"]), (&json!("inference-events"), &json!("analytics-service")));
    assert_eq!((&group["lag"], &group["pending"], &group["consumers"]), (&json!(1), &json!(1), &json!(1)));
    assert!(group["oldest_pending_ms"].is_u64());

    let table = stdout(&ended(synapse().env("REDIS_URL", server.url()).args(["groups", "inference-events"])));
    assert!(table.lines().nth(1).unwrap().starts_with("inference-events  analytics-service"), "{table}");
}

#[test]
fn an_empty_server_and_an_unknown_stream_are_said_to_be_so() {
    let server = RedisServer::new();
    let run = |arguments: &[&str]| ended(synapse().env("REDIS_URL", server.url()).args(arguments));
    let none = run(&["streams"]);
    assert_eq!((none.status.code(), stdout(&none).as_str()), (Some(0), ""));
    assert!(stderr(&none).contains("no streams yet"), "{}", stderr(&none));
    assert_eq!(stdout(&run(&["streams", "--json"])), "[]\n");
    assert!(stderr(&run(&["groups"])).contains("no consumer groups yet"));
    let unknown = run(&["groups", "inference-event"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("no stream \"inference-event\""), "{}", stderr(&unknown));
}

#[test]
fn a_redis_that_can_not_be_used_is_named_with_what_to_do() {
    let locked = RedisServer::builder().set("requirepass", "secret").start();
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    for (url, reason) in [
        (nobody.clone(), "is it running"),
        (locked.url(), "REDIS_PASSWORD"),
        (locked.url().replace("redis://", "redis://:wrong@"), "REDIS_PASSWORD"),
    ] {
        for command in [&["streams"][..], &["groups"], &["tail", "inference-events"]] {
            let refused = ended(synapse().env("REDIS_URL", &url).args(command));
            let said = stderr(&refused);
            assert_eq!(refused.status.code(), Some(1), "{command:?}: {said}");
            assert!(said.starts_with("synapse: ") && said.contains(reason), "{command:?} at {url}: {said}");
            assert!(!said.contains("wrong@"), "{said}");
        }
    }
    let fine = ended(synapse().env("REDIS_URL", locked.url()).env("REDIS_PASSWORD", "secret").arg("streams"));
    assert_eq!(fine.status.code(), Some(0), "{}", stderr(&fine));
}

#[test]
fn bad_settings_and_arguments_exit_with_64_and_help_with_0() {
    for (name, value, reason) in [
        ("REDIS_URL", "http://localhost", "REDIS_URL"),
        ("REDIS_PORT", "99999", "REDIS_PORT is \"99999\""),
        ("REDIS_DB", "x", "REDIS_DB"),
    ] {
        let refused = ended(synapse().env(name, value).arg("streams"));
        assert_eq!(refused.status.code(), Some(64), "{name}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(reason), "{}", stderr(&refused));
    }
    for arguments in [&["frobnicate"][..], &["streams", "--no-such-flag"], &[]] {
        assert_eq!(ended(synapse().args(arguments)).status.code(), Some(64), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["publish", "--help"], &["completions", "bash"]] {
        let help = ended(synapse().args(arguments));
        assert_eq!(help.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&help).contains("synapse"), "{arguments:?}");
    }
}

#[test]
fn completions_know_every_command_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&ended(synapse().args(["completions", shell])));
        for command in
            ["up", "publish", "tail", "streams", "groups", "dlq", "purge", "replay", "trim", "doctor"]
        {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let commands = [
        &["up"][..],
        &["publish"],
        &["tail"],
        &["streams"],
        &["groups"],
        &["dlq", "list"],
        &["dlq", "show"],
        &["dlq", "replay"],
        &["dlq", "purge"],
        &["replay"],
        &["trim"],
        &["doctor"],
        &["completions"],
    ];
    for command in commands {
        let help = ended(synapse().args(command).arg("--help"));
        assert_eq!(help.status.code(), Some(0), "{command:?}");
        let example = format!("  synapse {}", command.join(" "));
        assert!(stdout(&help).contains(&example), "{command:?}: {}", stdout(&help));
    }
}

#[test]
fn a_flag_wins_over_the_variables() {
    let server = filled();
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let listed = ended(synapse().env("REDIS_URL", &nobody).env("REDIS_HOST", "nowhere").args([
        "streams",
        "--redis-url",
        &server.url(),
    ]));
    assert_eq!(listed.status.code(), Some(0), "{}", stderr(&listed));
}
