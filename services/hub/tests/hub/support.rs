//! A hub on a free port, and HTTP to talk to it.

use std::{
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use synapse_chassis::{
    service::{Ended, Ports, Service},
    settings::{Common, Environment},
};
use synapse_hub::settings::{ABOUT, Settings};
use synapse_rs::{
    RedisSettings,
    stream::{
        BlockingConnection, Connection,
        dead_letter::{Buried, DeadLetter},
        read::Member,
    },
};
use synapse_test_support::{RedisServer, eventually, free_port};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";
pub(crate) const HOUR_MS: u64 = 3_600_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// A whole hub in this process.
pub(crate) struct TestHub {
    pub(crate) port: u16,
    pub(crate) service: Service,
    served: JoinHandle<Ended>,
}

impl TestHub {
    /// One that is ready.
    pub(crate) async fn start(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let hub = Self::begin(redis, settings).await;
        eventually("the hub is ready", async || hub.service.readiness.is_ready().then_some(())).await;
        hub
    }

    /// One that may not be ready yet.
    pub(crate) async fn begin(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let url = redis.url();
        let variables = settings.iter().copied().chain([("REDIS_URL", url.as_str())]);
        let environment = Environment::from_map(variables);
        let service = Service::new(&ABOUT, Common::read(&environment, 0).unwrap(), None).unwrap();
        let routes =
            synapse_hub::start(Settings::read(&environment).unwrap(), service.clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (running, ports) = (service.clone(), Ports { public: listener, admin: None });
        let served = tokio::spawn(async move { running.serve(ports, routes).await });
        Self { port, service, served }
    }

    /// Leaves as on SIGTERM.
    pub(crate) async fn stop(self) -> Ended {
        self.service.shutdown.cancel();
        timeout(PATIENCE, self.served).await.expect("the hub leaves").unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path), Bytes::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path), Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, body.to_string()).await
    }

    pub(crate) async fn post_bytes(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = self.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        self.send(request, body).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path).header(header::HOST, format!("127.0.0.1:{}", self.port))
    }

    pub(crate) async fn send(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Answer {
        send(self.port, request, body).await.expect("the hub accepts connections")
    }
}

/// Sends a request; `None` if nobody listens.
async fn send(port: u16, request: http::request::Builder, body: impl Into<Bytes>) -> Option<Answer> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    let connection = tokio::spawn(connection);
    let answered = sender.send_request(request.body(Full::new(body.into())).unwrap());
    let (parts, body) = timeout(PATIENCE, answered).await.expect("an answer").unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    connection.abort();
    let body =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes)));
    Some(Answer { status: parts.status, headers: parts.headers, body })
}

/// A hub as a process of its own, with metrics and a log; killed on drop.
pub(crate) struct HubProcess {
    pub(crate) child: Child,
    port: u16,
    log: TempDir,
}

impl HubProcess {
    /// One that listens.
    pub(crate) async fn start(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let (port, log) = (free_port(), TempDir::new().unwrap());
        let file = std::fs::File::create(log.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_synapse-hub"));
        command.env_clear().env("REDIS_URL", redis.url()).env("PORT", port.to_string());
        command.envs(settings.iter().copied()).kill_on_drop(true).stdout(Stdio::null()).stderr(file);
        let process = Self { child: command.spawn().unwrap(), port, log };
        eventually("the hub listens", async || process.get("/ready").await).await;
        process
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Answer> {
        let request = Request::get(path).header(header::HOST, "127.0.0.1");
        send(self.port, request, Bytes::new()).await
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn shows(&self, line: &str) {
        eventually(line, async || {
            let metrics = self.get("/metrics").await?.body;
            metrics.as_str()?.lines().any(|shown| shown == line).then_some(())
        })
        .await;
    }

    /// Waits until the metrics have no line that begins so.
    pub(crate) async fn shows_no(&self, beginning: &str) {
        eventually(&format!("no {beginning}"), async || {
            let metrics = self.get("/metrics").await?.body;
            (!metrics.as_str()?.lines().any(|shown| shown.starts_with(beginning))).then_some(())
        })
        .await;
    }

    /// What a metric without labels, or with those that are part of the name, says; 0 if it is not there.
    pub(crate) async fn value(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").await.expect("the hub answers").body;
        let value =
            metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a line of the log has all of these words.
    pub(crate) async fn says(&self, words: &[&str]) {
        eventually(&words.join(" "), async || (self.said(words) > 0).then_some(())).await;
    }

    /// How many lines of the log have all of these words.
    pub(crate) fn said(&self, words: &[&str]) -> usize {
        let log = std::fs::read_to_string(self.log.path().join("log")).unwrap();
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of an answer with this status.
    pub(crate) fn with(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// The status and code of an error in the form of the new routes, whose message is not empty.
    pub(crate) fn error(&self) -> (u16, &str) {
        assert!(self.body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{}", self.body);
        (self.status.as_u16(), self.body["error"]["code"].as_str().unwrap())
    }

    /// The same in the form of the older routes.
    pub(crate) fn flat_error(&self) -> (u16, &str) {
        assert!(self.body["error"].as_str().is_some_and(|text| !text.is_empty()), "{}", self.body);
        (self.status.as_u16(), self.body["code"].as_str().unwrap())
    }
}

/// A token with these scopes, good for an hour.
pub(crate) fn token(scopes: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({"sub": "somebody", "scope": scopes, "exp": now + 3_600});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

pub(crate) async fn connect(redis: &RedisServer) -> Connection {
    Connection::open(&RedisSettings::from_url(&redis.url()).unwrap()).await.unwrap()
}

/// Appends entries of so many hours ago.
pub(crate) async fn append_old(redis: &RedisServer, stream: &str, hours_ago: u64, count: u64) {
    let now_ms = connect(redis).await.now_ms().await.unwrap();
    let mut pipe = redis::pipe();
    for n in 0..count {
        let id = format!("{}-{}", now_ms - hours_ago * HOUR_MS, n + 1);
        pipe.cmd("XADD").arg(stream).arg(id).arg("event").arg("tested").arg("n").arg(n);
    }
    pipe.exec(&mut redis.connection()).unwrap();
}

/// Gives a group so many entries, of which it acknowledges none.
pub(crate) async fn read_as_group(
    redis: &RedisServer,
    stream: &str,
    group: &str,
    count: usize,
) -> Vec<synapse_rs::EntryId> {
    let connection = connect(redis).await;
    connection.create_group(stream, group, "0").await.unwrap();
    let settings = RedisSettings::from_url(&redis.url()).unwrap();
    let mut reader = BlockingConnection::open(&settings).await.unwrap();
    let member = Member { group, consumer: "me" };
    let streams = [stream.to_owned()];
    let read = reader.read_group(member, &streams, count, Duration::from_millis(1)).await.unwrap();
    read.into_iter().flat_map(|(_, entries)| entries).map(|entry| entry.id).collect()
}

/// Publishes events and has a group give them up.
pub(crate) async fn bury(redis: &RedisServer, stream: &str, group: &str, reason: &str, count: usize) {
    let connection = connect(redis).await;
    for n in 0..count {
        let fields = [("event", "task-failed"), ("service", "s"), ("action", "a"), ("n", &n.to_string())];
        connection.append(stream, fields, None).await.unwrap();
    }
    for id in read_as_group(redis, stream, group, count).await {
        let letter = DeadLetter { stream, group, is_pending: true, id, reason, error: "why", deliveries: 5 };
        assert_eq!(connection.bury(&letter).await.unwrap(), Buried::Moved { dropped: 0 });
    }
}
