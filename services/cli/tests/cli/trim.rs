//! `synapse trim`: what goes, what keeps the rest, and that it asks before it takes what was not read.

use std::process::Command;

use serde_json::{Value, json};
use synapse_test_support::RedisServer;

use crate::{
    running::{ended, stderr, stdout, synapse},
    screen::Screen,
};

fn trim(server: &RedisServer, arguments: &[&str]) -> Command {
    let mut command = synapse();
    command.env("REDIS_URL", server.url()).arg("trim").args(arguments);
    command
}

/// Ten entries of 2020 and five of now on each stream; a group has read none of model-events.
fn filled() -> RedisServer {
    let server = RedisServer::new();
    let mut pipe = redis::pipe();
    for stream in ["inference-events", "model-events", "somebody-elses"] {
        for number in 0..10 {
            pipe.cmd("XADD").arg(stream).arg(format!("1577836800000-{number}")).arg("event").arg("x");
        }
        for _ in 0..5 {
            pipe.cmd("XADD").arg(stream).arg("*").arg("event").arg("x");
        }
    }
    pipe.cmd("XGROUP").arg("CREATE").arg("model-events").arg("slow").arg("0");
    let _: redis::Value = pipe.query(&mut server.connection()).unwrap();
    server
}

fn lengths(server: &RedisServer) -> [u64; 3] {
    ["inference-events", "model-events", "somebody-elses"]
        .map(|stream| redis::cmd("XLEN").arg(stream).query(&mut server.connection()).unwrap())
}

#[test]
fn what_is_old_and_needed_by_no_group_goes_and_what_keeps_the_rest_is_said() {
    let server = filled();
    let planned = stdout(&ended(&mut trim(&server, &["--dry-run"])));
    let expected = |title: &str| {
        format!(
            "\
STREAM            ENTRIES  {title}  LEFT  WHAT KEEPS THEM
inference-events       15  {:>width$}     5  younger than 1d
model-events           15  {:>width$}    15  group slow still needs them
",
            10,
            0,
            width = title.len()
        )
    };
    assert_eq!(planned, expected("WOULD GO"));
    assert_eq!(lengths(&server), [15, 15, 15], "nothing was removed");
    let done = ended(&mut trim(&server, &[]));
    assert_eq!((done.status.code(), stdout(&done)), (Some(0), expected("REMOVED")), "{}", stderr(&done));
    assert_eq!(
        lengths(&server),
        [5, 15, 15],
        "a stream of somebody else's is not touched unless it is named"
    );
    ended(&mut trim(&server, &["somebody-elses"]));
    assert_eq!(lengths(&server), [5, 15, 5]);
}

#[test]
fn programs_get_the_report_of_each_stream() {
    let server = filled();
    let report: Value = serde_json::from_str(&stdout(&ended(&mut trim(&server, &["--json"])))).unwrap();
    assert_eq!(report.as_array().unwrap().len(), 2);
    assert_eq!(
        (&report[0]["stream"], &report[0]["removed"]["age"]),
        (&json!("inference-events"), &json!(10))
    );
    assert_eq!(report[1]["kept_by"], json!({ "group": "slow" }));
}

#[test]
fn flags_win_over_variables_and_variables_over_defaults() {
    let server = filled();
    let mut kept = trim(&server, &["--dry-run", "inference-events"]);
    assert!(stdout(&ended(kept.env("RETENTION", "9000d"))).contains("younger than 9000d"));
    let mut flagged = trim(&server, &["--dry-run", "inference-events", "--retention", "1h"]);
    assert!(stdout(&ended(flagged.env("RETENTION", "9000d"))).contains("younger than 1h"));
    let refused = ended(trim(&server, &[]).env("RETENTION", "soon"));
    assert_eq!(refused.status.code(), Some(64));
    assert!(stderr(&refused).contains("RETENTION is \"soon\""), "{}", stderr(&refused));
    assert_eq!(lengths(&server), [15, 15, 15]);
}

#[test]
fn entries_that_a_group_has_not_read_go_by_maxlen_only_and_only_when_agreed() {
    let server = filled();
    let arguments = ["model-events", "--maxlen", "4"];
    let refused = ended(&mut trim(&server, &arguments));
    assert_eq!(refused.status.code(), Some(64));
    assert!(stderr(&refused).contains("remove its oldest 11 entries") && stderr(&refused).contains("--yes"));
    let mut screen = Screen::start(&mut trim(&server, &arguments), 100);
    screen.until("[y/N]");
    screen.type_in("n\n");
    let (shown, status) = screen.end();
    assert_eq!(status.code(), Some(1), "{shown}");
    assert_eq!(lengths(&server), [15, 15, 15]);
    let agreed = ended(&mut trim(&server, &[&arguments[..], &["--yes"]].concat()));
    assert_eq!(agreed.status.code(), Some(0), "{}", stderr(&agreed));
    assert!(stdout(&agreed).contains("the newest 4, read or not"), "{}", stdout(&agreed));
    assert!(stderr(&agreed).contains("group slow has lost 11 entries unread"), "{}", stderr(&agreed));
    assert_eq!(lengths(&server), [15, 4, 15]);
}

#[test]
fn a_limit_of_bytes_takes_the_oldest_and_says_about_how_many_beforehand() {
    let server = RedisServer::new();
    let mut pipe = redis::pipe();
    for _ in 0..5_000 {
        pipe.cmd("XADD").arg("inference-events").arg("*").arg("event").arg("x".repeat(100));
    }
    let _: redis::Value = pipe.query(&mut server.connection()).unwrap();
    let limit = ["inference-events", "--retention-bytes", "100KiB"];
    let planned = stdout(&ended(&mut trim(&server, &[&limit[..], &["--dry-run"]].concat())));
    assert!(planned.contains("about "), "{planned}");
    let done = stdout(&ended(&mut trim(&server, &limit)));
    let bytes: u64 =
        redis::cmd("MEMORY").arg("USAGE").arg("inference-events").query(&mut server.connection()).unwrap();
    assert!(bytes <= 100 << 10, "{bytes}: {done}");
    let left: u64 = redis::cmd("XLEN").arg("inference-events").query(&mut server.connection()).unwrap();
    assert!(left > 200, "{left}");
}

#[test]
fn what_can_not_be_trimmed_is_refused() {
    let server = filled();
    for (arguments, status, reason) in [
        (&["model-events:dlq"][..], 64, "synapse dlq purge"),
        (&["model-event"], 1, "no stream \"model-event\""),
        (&["--retention", "0"], 64, "duration"),
        (&["--maxlen", "0"], 64, "maxlen"),
        (&["--retention-bytes", "lots"], 64, "size"),
    ] {
        let refused = ended(&mut trim(&server, arguments));
        assert_eq!(refused.status.code(), Some(status), "{arguments:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(reason), "{arguments:?}: {}", stderr(&refused));
    }
    assert_eq!(lengths(&server), [15, 15, 15]);
    let none = RedisServer::new();
    assert!(stderr(&ended(&mut trim(&none, &[]))).contains("none of the platform's streams"));
}
