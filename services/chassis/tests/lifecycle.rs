//! A whole service as a process of its own: `examples/hello.rs`, its settings, signals and exit status.

#![expect(clippy::unwrap_used, reason = "a test states what must hold by unwrapping")]

use std::{
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use synapse_test_support::{eventually, free_port};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command as TokioCommand},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// The example, which `cargo test` has built unless only this file was asked for.
static HELLO: LazyLock<PathBuf> = LazyLock::new(|| {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join("examples/hello");
    let built = path.metadata().and_then(|file| file.modified()).ok();
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let changed = [package.join("src"), package.join("examples")].iter().map(|path| last_change(path)).max();
    assert!(built >= changed, "{} is out of date: run cargo test -p synapse-chassis", path.display());
    path
});

/// When a source in this folder was written last.
fn last_change(folder: &Path) -> SystemTime {
    let changes = folder.read_dir().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let is_source = entry.path().extension().is_some_and(|extension| extension == "rs");
        match entry.file_type().unwrap().is_dir() {
            true => last_change(&entry.path()),
            // Tests of units are not in the example.
            false if is_source && entry.file_name() != "tests.rs" => {
                entry.metadata().unwrap().modified().unwrap()
            }
            false => SystemTime::UNIX_EPOCH,
        }
    });
    changes.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

struct Process {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut child = TokioCommand::new(&*HELLO)
            .env_clear()
            .envs(variables.iter().copied())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdout }
    }

    /// The address in the next line on stdout, which must say this.
    async fn address(&mut self, line_start: &str) -> SocketAddr {
        let line = timeout(PATIENCE, self.stdout.next_line()).await.expect("a line").unwrap();
        let line = line.unwrap_or_default();
        line.strip_prefix(line_start).unwrap_or_else(|| panic!("unexpected line {line:?}")).parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Its exit status and all of stderr.
    async fn end(mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        let all =
            async { (self.child.wait().await.unwrap(), stderr.read_to_string(&mut text).await.unwrap()) };
        let (status, _) = timeout(PATIENCE, all).await.expect("it ends");
        (status, text)
    }
}

const LISTENS: &str = "hello listens on http://";

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("{request}\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1")).await
}

#[tokio::test]
async fn port_0_takes_a_free_port_and_serves_health_readiness_and_metrics() {
    let mut process = Process::start(&[("PORT", "1")], &["--port", "0"]);
    let address = process.address(LISTENS).await;
    assert!(get(address, "/").await.ends_with("\r\n\r\nhello"));
    assert!(get(address, "/health").await.contains("\"status\":\"healthy\",\"service\":\"hello\""));
    assert!(get(address, "/ready").await.starts_with("HTTP/1.1 200"));
    let missing = get(address, "/nowhere?token=hunter2").await;
    assert!(
        missing.starts_with("HTTP/1.1 404") && missing.contains("\"code\":\"route_not_found\""),
        "{missing}"
    );
    ask(address, "HACK / HTTP/1.1").await;
    let metrics = get(address, "/metrics").await;
    for line in [
        "http_requests_total{method=\"GET\",route=\"/\",status=\"200\"} 1",
        "http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1",
        "method=\"other\"",
        "http_request_duration_seconds_bucket{method=\"GET\",route=\"/\",le=\"0.0001\"}",
        "synapse_build_info{service=\"hello\",version=",
        "\nprocess_cpu_seconds_total ",
        "\nprocess_resident_memory_bytes ",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    assert!(!metrics.contains("nowhere"));
}

#[tokio::test]
async fn an_admin_port_takes_readiness_and_metrics_off_the_public_one() {
    let mut process = Process::start(&[], &["--port=0", "--admin-port=0"]);
    let public = process.address(LISTENS).await;
    let admin = process.address("hello serves /ready and /metrics on http://").await;
    for path in ["/ready", "/metrics"] {
        assert!(get(public, path).await.starts_with("HTTP/1.1 404"), "{path}");
        assert!(get(admin, path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(get(admin, "/").await.starts_with("HTTP/1.1 404"));
    for address in [public, admin] {
        assert!(get(address, "/health").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_request_for_another_host_is_refused_while_there_is_no_key() {
    let mut process = Process::start(&[("PORT", "0")], &[]);
    let address = process.address(LISTENS).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: rebound.example\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("\"host_refused\""), "{answer}");
}

#[tokio::test]
async fn sigterm_and_sigint_finish_the_request_in_hand_and_exit_0() {
    for signal in ["TERM", "INT"] {
        let variables = [("PORT", "0"), ("ANSWER_TIME", "1s"), ("RUST_LOG", "debug")];
        let mut process = Process::start(&variables, &[]);
        let address = process.address(LISTENS).await;
        let request = tokio::spawn(async move { get(address, "/").await });
        eventually("the request in hand", async || {
            get(address, "/metrics").await.contains("\nhttp_connections 2").then_some(())
        })
        .await;
        process.signal(signal);
        assert!(request.await.unwrap().ends_with("\r\n\r\nhello"), "{signal}");
        let (status, log) = process.end().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("draining"), "{log}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let mut process = Process::start(&[("PORT", "0"), ("ANSWER_TIME", "1h"), ("SHUTDOWN_GRACE", "1h")], &[]);
    let address = process.address(LISTENS).await;
    let _waiting = tokio::spawn(async move { get(address, "/").await });
    eventually("the request in hand", async || {
        get(address, "/metrics").await.contains("\nhttp_connections 2").then_some(())
    })
    .await;
    process.signal("TERM");
    eventually("the drain", async || TcpStream::connect(address).err().map(drop)).await;
    process.signal("TERM");
    let (status, log) = process.end().await;
    assert_eq!(status.code(), Some(1), "{log}");
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cut() {
    let mut process =
        Process::start(&[("PORT", "0"), ("ANSWER_TIME", "1h"), ("SHUTDOWN_GRACE", "200ms")], &[]);
    let address = process.address(LISTENS).await;
    let waiting = tokio::spawn(async move { get(address, "/").await });
    eventually("the request in hand", async || {
        get(address, "/metrics").await.contains("\nhttp_connections 2").then_some(())
    })
    .await;
    process.signal("TERM");
    let (status, log) = process.end().await;
    assert!(log.contains("connections were cut") && status.code() == Some(0), "{log}");
    assert_eq!(waiting.await.unwrap(), "");
}

#[tokio::test]
async fn bad_settings_exit_64_before_a_port_is_bound() {
    let port = free_port().to_string();
    for (name, value, message) in [
        ("ANSWER_TIME", "soon", "hello: ANSWER_TIME is \"soon\"; allowed: a duration"),
        ("HOST", "0.0.0.0", "hello: HOST is \"0.0.0.0\"; allowed: a loopback address"),
        ("REDIS_URL", "redis-sentinel://a/m", "not supported yet"),
        ("JWT_PUBLIC_KEY", "x", "hello: JWT_PUBLIC_KEY is \"***\"; allowed: a public key"),
        ("JWKS_FILE", "/nowhere", "hello: JWKS_FILE is \"/nowhere\", which can't be read"),
        ("RUST_LOG", "a=b=c", "hello: RUST_LOG is \"a=b=c\""),
    ] {
        let (status, stderr) = Process::start(&[("PORT", &port), (name, value)], &[]).end().await;
        assert_eq!(status.code(), Some(64), "{stderr}");
        assert!(stderr.contains(message) && stderr.lines().count() == 1, "{stderr}");
        assert!(TcpStream::connect(("127.0.0.1", port.parse::<u16>().unwrap())).is_err());
    }
    let (status, stderr) = Process::start(&[], &["--prot", "1"]).end().await;
    assert_eq!(
        (status.code(), stderr.as_str()),
        (Some(64), "hello: unknown argument \"--prot\"; --help lists them all\n")
    );
}

#[tokio::test]
async fn a_port_that_is_taken_exits_1_and_names_it() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let (status, stderr) = Process::start(&[("PORT", &port)], &[]).end().await;
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains(&format!("hello: 127.0.0.1:{port} is taken by another process")), "{stderr}");
    assert!(stderr.contains("set PORT"), "{stderr}");
}

#[tokio::test]
async fn help_and_version_are_printed_whatever_the_settings() {
    let output = Command::new(&*HELLO).arg("--help").env("PORT", "bad").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("--answer-time DURATION (ANSWER_TIME) [default: 0]"),
        "{text}"
    );
    let output = Command::new(&*HELLO).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("hello {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn the_log_is_json_when_asked_and_never_has_a_token() {
    let variables = [("PORT", "0"), ("LOG_FORMAT", "json"), ("RUST_LOG", "trace"), ("JWT_SECRET", "hunter2")];
    let mut process = Process::start(&variables, &[]);
    let address = process.address(LISTENS).await;
    get(address, "/?token=hunter3").await;
    ask(address, "GET /health HTTP/1.1\r\nauthorization: Bearer hunter4").await;
    process.signal("TERM");
    let (_, log) = process.end().await;
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let with = |name: &str, value: &str| lines.iter().any(|line| line[name] == value);
    assert!(with("path", "/") && with("path", "/health") && with("message", "draining"), "{log}");
    assert!(log.contains("JWT_SECRET is short"), "{log}");
    assert!(!log.contains("hunter"), "{log}");
}
