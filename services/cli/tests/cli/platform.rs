//! `synapse up` with the services there really are.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    children::{children_of, wait_until_gone},
    running::{Running, clean, ended, stderr, stdout, synapse},
};

/// The packages of all services, named as their binaries.
const SERVICES: [&str; 2] = ["synapse-gateway", "synapse-hub"];

/// The folder of the binary under test, with every service built there.
fn built() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_synapse")).parent().unwrap();
    // Tests of the whole workspace have built them; tests of this package alone have not.
    if !SERVICES.iter().all(|service| folder.join(service).exists()) {
        let mut build = Command::new(env!("CARGO"));
        build.arg("build").args(SERVICES.iter().flat_map(|service| ["--package", service]));
        build.arg("--target-dir").arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the services can't be built");
    }
    folder.to_owned()
}

fn up(data: &TempDir) -> Command {
    let mut command = clean(&built().join("synapse"));
    command.arg("up").arg("--data-dir").arg(data.path());
    for service in ["GATEWAY", "HUB", "TASKS", "NOTIFICATIONS"] {
        command.env(format!("SYNAPSE_{service}_PORT"), "0");
    }
    command
}

/// Waits until all is ready; gives the address of Redis as a URL and that of the gateway.
fn ready(up: &Running) -> (String, String) {
    let redis = up.line("redis-cli -p ");
    let gateway = up.line("starting the gateway on ");
    up.line("the platform is ready");
    let last = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
    (format!("redis://127.0.0.1:{}", last(&redis)), last(&gateway))
}

fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_event_goes_through_the_platform_and_survives_its_end() {
    let data = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut first = Running::start(&mut up(&data));
    let (redis, gateway) = ready(&first);
    assert!(get(&gateway, "/ready").starts_with("HTTP/1.1 200"));
    let event = r#"{"event":"inference-complete","model_name":"demo","version":"1","latency_ms":45.2}"#;
    let published = ended(synapse().args(["--redis-url", &redis, "publish", "inference-events", event]));
    let id = stdout(&published);
    assert_eq!(published.status.code(), Some(0), "{}", stderr(&published));
    let children = children_of(first.pid());
    first.signal(Signal::INT);
    assert_eq!(first.end().code(), Some(0), "{}", first.text());
    assert!(!first.text().contains("ERROR"), "{}", first.text());
    wait_until_gone(&children);

    let second = Running::start(&mut up(&data));
    let (redis, _) = ready(&second);
    let tail = ["tail", "inference-events", "--after", "0", "-n", "1", "--json"];
    let seen = stdout(&ended(synapse().env("REDIS_URL", redis).args(tail)));
    assert!(seen.contains(id.trim()) && seen.contains("45.2"), "{seen}");
}

#[test]
fn after_kill_9_the_real_services_are_gone_and_the_next_up_takes_their_ports() {
    let data = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut first = Running::start(&mut up(&data));
    let (_, gateway) = ready(&first);
    let children = children_of(first.pid());
    assert!(children.iter().any(|child| child.name.starts_with("synapse-gateway")), "{children:?}");
    first.signal(Signal::KILL);
    first.end();
    let port = gateway.rsplit(':').next().unwrap();
    let second = Running::start(up(&data).env("SYNAPSE_GATEWAY_PORT", port));
    let (_, again) = ready(&second);
    assert_eq!(gateway, again);
    wait_until_gone(&children);
}

#[test]
fn a_setting_that_the_real_gateway_refuses_ends_the_platform() {
    let data = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let refused = ended(up(&data).env("SYNAPSE_GATEWAY_OUTBOX_BYTES", "lots"));
    assert_eq!(refused.status.code(), Some(64), "{}", stderr(&refused));
    let said = stderr(&refused);
    assert!(said.contains("OUTBOX_BYTES") && said.contains("\"lots\""), "{said}");
    assert!(fs::read_dir(data.path()).unwrap().count() > 0, "redis had begun, and has stopped");
}
