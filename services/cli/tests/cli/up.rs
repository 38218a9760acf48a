//! `synapse up`: what it starts, what it leaves behind, and what it says.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use synapse_test_support::{RedisServer, free_port};

use crate::{
    children::{child_of, children_of, wait_until_gone},
    running::{PATIENCE, Running, clean, ended, stderr, stdout},
    stand_in::Installation,
};

/// The port of the private server, from the line that tells how to reach it.
fn redis_port(up: &Running) -> u16 {
    let line = up.line("redis-cli -p ");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn connection(port: u16) -> redis::Connection {
    redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap().get_connection().unwrap()
}

fn append(port: u16, stream: &str) {
    let added: redis::RedisResult<String> =
        redis::cmd("XADD").arg(stream).arg("*").arg("event").arg("x").query(&mut connection(port));
    added.unwrap();
}

fn length(port: u16, stream: &str) -> u64 {
    redis::cmd("XLEN").arg(stream).query(&mut connection(port)).unwrap()
}

fn ready(command: &mut Command) -> Running {
    let up = Running::start(command);
    up.line("the platform is ready");
    up
}

#[test]
fn ctrl_c_stops_the_services_then_redis_and_the_data_is_there_the_next_time() {
    let installation = Installation::new();
    let mut up = ready(&mut installation.up("asks-redis"));
    append(redis_port(&up), "model-events");
    let children = children_of(up.pid());
    assert_eq!(children.len(), 2, "redis-server and one service: {children:?}");
    up.signal(Signal::INT);
    assert_eq!(up.end().code(), Some(0), "{}", up.text());
    assert!(up.text().contains("redis says +PONG"), "redis outlives the services:\n{}", up.text());
    wait_until_gone(&children);

    let mut again = ready(&mut installation.up(""));
    assert_eq!(length(redis_port(&again), "model-events"), 1);
    again.signal(Signal::TERM);
    assert_eq!(again.end().code(), Some(0), "{}", again.text());
}

#[test]
fn after_kill_9_nothing_is_left_running_and_the_next_up_works_on_the_same_data() {
    let installation = Installation::new();
    let mut up = ready(&mut installation.up("stays"));
    append(redis_port(&up), "model-events");
    let children = children_of(up.pid());
    assert_eq!(children.len(), 2, "{children:?}");
    up.signal(Signal::KILL);
    up.end();
    // At once: what is left of the first is waited for by the second, not stumbled over.
    let again = ready(&mut installation.up(""));
    wait_until_gone(&children);
    assert_eq!(length(redis_port(&again), "model-events"), 1);
}

#[test]
fn a_signal_to_the_whole_terminal_does_not_reach_the_children() {
    let installation = Installation::new();
    let up = ready(&mut installation.up(""));
    for child in children_of(up.pid()) {
        let group = rustix::process::getpgid(Some(child.pid)).unwrap();
        assert_eq!(group, child.pid, "{child:?} leads a group of its own");
    }
}

#[test]
fn the_end_of_the_terminal_stops_everything_unless_nohup_was_asked_for() {
    let installation = Installation::new();
    // Whoever runs the tests may have been started by nohup: that would be inherited.
    let mut up = ready(&mut through(&["env", "--default-signal=HUP"], &installation.up("")));
    up.signal(Signal::HUP);
    assert_eq!(up.end().code(), Some(0), "{}", up.text());

    let mut up = ready(&mut through(&["nohup"], &installation.up("")));
    up.signal(Signal::HUP);
    append(redis_port(&up), "model-events");
    up.signal(Signal::TERM);
    assert_eq!(up.end().code(), Some(0), "{}", up.text());
    assert!(!up.text().contains("SIGHUP: stopping"), "{}", up.text());
    up.line("SIGTERM: stopping");
}

/// A command run by another, in the same environment.
fn through(runner: &[&str], plain: &Command) -> Command {
    let mut command = Command::new(runner[0]);
    command.args(&runner[1..]).arg(plain.get_program()).args(plain.get_args()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn a_second_up_on_the_same_data_is_refused_and_the_first_goes_on() {
    let installation = Installation::new();
    let up = ready(&mut installation.up(""));
    let refused = ended(&mut installation.up(""));
    assert_eq!(refused.status.code(), Some(1));
    let reason = stderr(&refused);
    assert!(reason.contains(&format!("process {}", up.pid().as_raw_nonzero())), "{reason}");
    assert!(reason.contains("DATA_DIR"), "{reason}");
    assert_eq!(length(redis_port(&up), "model-events"), 0);
}

#[test]
fn the_private_redis_keeps_what_it_is_given_and_listens_on_loopback_only() {
    let installation = Installation::new();
    let up = ready(&mut installation.up(""));
    let mut connection = connection(redis_port(&up));
    let mut setting = |name: &str| -> String {
        let (_, value): (String, String) =
            redis::cmd("CONFIG").arg("GET").arg(name).query(&mut connection).unwrap();
        value
    };
    assert_eq!(setting("appendonly"), "yes");
    assert_eq!(setting("maxmemory-policy"), "noeviction");
    assert_eq!(setting("bind"), "127.0.0.1");
    let data = installation.data_dir().join("redis");
    assert_eq!(Path::new(&setting("dir")), fs::canonicalize(data).unwrap());
}

#[test]
fn a_redis_that_dies_comes_back_on_the_same_port_with_its_data() {
    let installation = Installation::new();
    let up = ready(&mut installation.up(""));
    let port = redis_port(&up);
    append(port, "model-events");
    kill_process(child_of(up.pid(), "redis-server"), Signal::KILL).unwrap();
    up.line("redis was ended by signal 9; starting it again");
    up.line("redis is ready again");
    assert_eq!(length(port, "model-events"), 1);
}

#[test]
fn a_redis_that_is_given_is_used_and_none_is_started() {
    let server = RedisServer::new();
    let installation = Installation::new();
    let up = ready(installation.up("").env("REDIS_URL", server.url()));
    up.line(&format!("uses {}", server.url()));
    assert_eq!(children_of(up.pid()).len(), 1, "{}", up.text());
    assert!(!installation.data_dir().join("redis").exists());
}

#[test]
fn a_service_that_exits_is_started_again_and_said_so() {
    let installation = Installation::new();
    let up = ready(&mut installation.up(&format!("crashes-once {}", installation.flag().display())));
    let line = up.line("gateway exited with status 3; starting it again in ");
    assert!(line.contains("ERROR"), "{line}");
    up.line("out of luck");
}

#[test]
fn a_service_that_refuses_its_settings_ends_the_platform_with_its_words() {
    let installation = Installation::new();
    let mut up = Running::start(&mut installation.up("refuses"));
    assert_eq!(up.end().code(), Some(64), "{}", up.text());
    up.line("synapse: gateway refuses its settings: OUTBOX_BYTES is \"lots\"");
    up.line("everything has stopped");
}

#[test]
fn a_service_that_does_not_leave_is_killed_when_its_grace_is_over() {
    let installation = Installation::new();
    let mut up = ready(installation.up("stays").env("SHUTDOWN_GRACE", "10ms"));
    up.signal(Signal::TERM);
    assert_eq!(up.end().code(), Some(0), "{}", up.text());
    assert!(up.text().contains("gateway did not leave within"), "{}", up.text());
}

#[test]
fn a_second_ctrl_c_kills_what_is_left_at_once() {
    let installation = Installation::new();
    let mut up = ready(installation.up("stays").env("SHUTDOWN_GRACE", "10m"));
    let children = children_of(up.pid());
    up.signal(Signal::INT);
    up.line("not yet");
    let asked = Instant::now();
    up.signal(Signal::INT);
    assert_eq!(up.end().code(), Some(1), "{}", up.text());
    assert!(asked.elapsed().as_secs() < 10, "{:?}", asked.elapsed());
    wait_until_gone(&children);
}

#[test]
fn a_port_that_is_taken_is_named_with_the_variable_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let installation = Installation::new();
    let refused = ended(installation.up("").env("SYNAPSE_GATEWAY_PORT", port.to_string()));
    assert_eq!(refused.status.code(), Some(1));
    let reason = stderr(&refused);
    assert!(reason.contains(&format!("port {port}")) && reason.contains("SYNAPSE_GATEWAY_PORT"), "{reason}");
}

#[test]
fn bad_settings_are_told_before_anything_is_started() {
    let installation = Installation::new();
    for (name, value, named) in [
        ("SYNAPSE_GATEWAY_PORT", "http", "PORT is \"http\""),
        ("SHUTDOWN_GRACE", "soon", "SHUTDOWN_GRACE is \"soon\""),
        ("LOG_FORMAT", "xml", "LOG_FORMAT is \"xml\""),
        ("REDIS_URL", "redis+sentinel://a,b/mymaster", "not supported yet"),
        ("HOST", "0.0.0.0", "JWT_SECRET"),
    ] {
        let refused = ended(installation.up("").env(name, value));
        assert_eq!(refused.status.code(), Some(64), "{name}={value}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(named), "{name}={value}: {}", stderr(&refused));
    }
    assert!(!installation.data_dir().exists());
}

#[test]
fn without_a_redis_server_the_command_that_installs_it_is_named() {
    let installation = Installation::new();
    let refused = ended(installation.up("").env("PATH", installation.folder()));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("apt-get install redis-server"), "{}", stderr(&refused));
}

#[test]
fn without_any_service_it_says_where_it_looked() {
    let installation = Installation::new();
    fs::remove_file(installation.folder().join("synapse-gateway")).unwrap();
    let refused = ended(&mut installation.up(""));
    assert_eq!(refused.status.code(), Some(1));
    let reason = stderr(&refused);
    assert!(
        reason.contains("synapse-gateway") && reason.contains(installation.folder().to_str().unwrap()),
        "{reason}"
    );
}

#[test]
fn data_that_redis_can_not_read_is_quoted_and_ends_the_platform() {
    let installation = Installation::new();
    let data = installation.data_dir().join("redis/appendonlydir");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("appendonly.aof.manifest"), "this is no manifest\n").unwrap();
    let mut up = Running::start(&mut installation.up(""));
    assert_eq!(up.end().code(), Some(1), "{}", up.text());
    up.line("synapse: redis ended before it was ready (exited with status 1)");
}

#[test]
fn every_line_of_a_log_for_programs_is_json_and_says_whose_it_is() {
    let installation = Installation::new();
    let mut command = installation.up("logs");
    let child = command.env("LOG_FORMAT", "json").stdin(Stdio::null()).stdout(Stdio::piped());
    let child = child.stderr(Stdio::null()).spawn().unwrap();
    let mut up = Guard(child);
    let mut records = Vec::new();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(up.0.stdout.take().unwrap()));
    for line in lines.map_while(Result::ok) {
        let record: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        records.push(record);
        if line.contains("the platform is ready") {
            kill_process(Pid::from_child(&up.0), Signal::TERM).unwrap();
        }
    }
    let slow =
        records.iter().find(|record| record["message"] == "redis is slow").expect("the service's own line");
    assert_eq!(
        (&slow["service"], &slow["level"], &slow["took_ms"]),
        (&"gateway".into(), &"WARN".into(), &12.into())
    );
    assert!(records.iter().all(|record| record["service"].is_string() && record["timestamp"].is_string()));
}

/// A child that does not outlive the test.
struct Guard(std::process::Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reader_that_leaves_does_not_stop_the_platform() {
    let installation = Installation::new();
    let port = free_port();
    let mut command = installation.up("");
    let command = command.env("SYNAPSE_GATEWAY_PORT", port.to_string()).stdin(Stdio::null());
    let mut up = Guard(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    drop((up.0.stdout.take(), up.0.stderr.take()));
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert_eq!(up.0.try_wait().unwrap(), None, "it goes on");
        assert!(Instant::now() < deadline, "the service was not started");
        thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&up.0), Signal::TERM).unwrap();
    assert_eq!(up.0.wait().unwrap().code(), Some(0));
}

#[test]
fn several_platforms_that_start_at_once_find_ports_of_their_own() {
    let installations: Vec<_> = (0..4).map(|_| Installation::new()).collect();
    let started: Vec<_> = installations.iter().map(|each| Running::start(&mut each.up(""))).collect();
    let mut ports: Vec<_> = started.iter().map(redis_port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), started.len(), "{ports:?}");
}

#[test]
fn help_needs_no_redis() {
    let help = ended(clean(Path::new(env!("CARGO_BIN_EXE_synapse"))).args(["up", "--help"]));
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("SYNAPSE_GATEWAY_PORT=5009"));
}
