//! A gateway on a free port, and clients of both protocols.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{SinkExt as _, StreamExt as _};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use synapse_chassis::{
    service::{Ended, Ports, Service},
    settings::{Common, Environment},
};
use synapse_gateway::settings::{ABOUT, Settings};
use synapse_rs::{RedisSettings, stream::Connection};
use synapse_test_support::{RedisServer, eventually};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::CloseFrame},
};

pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";
const PATIENCE: Duration = Duration::from_secs(20);

/// A whole gateway in this process.
pub(crate) struct TestGateway {
    pub(crate) port: u16,
    pub(crate) service: Service,
    served: JoinHandle<Ended>,
}

impl TestGateway {
    pub(crate) async fn start(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let gateway = Self::begin(redis, settings).await;
        gateway.ready().await;
        gateway
    }

    pub(crate) async fn ready(&self) {
        eventually("the gateway is ready", async || self.service.readiness.is_ready().then_some(())).await;
    }

    /// One that may not be ready yet.
    pub(crate) async fn begin(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let url = redis.url();
        let variables = settings.iter().copied().chain([("REDIS_URL", url.as_str())]);
        let environment = Environment::from_map(variables);
        let common = Common::read(&environment, 0).unwrap();
        let service = Service::new(&ABOUT, common, None).unwrap();
        let routes =
            synapse_gateway::start(Settings::read(&environment).unwrap(), service.clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let running = service.clone();
        let ports = Ports { public: listener, admin: None };
        let served = tokio::spawn(async move { running.serve(ports, routes).await });
        Self { port, service, served }
    }

    pub(crate) async fn with_key(redis: &RedisServer) -> Self {
        Self::start(redis, &[("JWT_SECRET", SECRET)]).await
    }

    /// Leaves as on SIGTERM.
    pub(crate) async fn stop(self) -> Ended {
        self.service.shutdown.cancel();
        timeout(PATIENCE, self.served).await.expect("the gateway leaves").unwrap()
    }
}

/// A token that is good for an hour.
pub(crate) fn token(claims: &Value) -> String {
    token_for(claims, 3_600)
}

/// A token that is good for this many seconds.
pub(crate) fn token_for(claims: &Value, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = claims.clone();
    claims["exp"] = json!(now.cast_signed() + seconds);
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// Writes entries.
pub(crate) struct Publisher {
    connection: Connection,
    /// The millisecond of the last entry.
    last: AtomicU64,
}

impl Publisher {
    pub(crate) async fn new(redis: &RedisServer) -> Self {
        let settings = RedisSettings::from_url(&redis.url()).unwrap();
        Self { connection: Connection::open(&settings).await.unwrap(), last: AtomicU64::new(0) }
    }

    /// Appends an entry and gives its id.
    pub(crate) async fn entry(&self, stream: &str, fields: &[(&str, &str)]) -> String {
        let id = self.connection.append(stream, fields.iter().copied(), None).await.unwrap();
        self.last.store(id.ms, Ordering::SeqCst);
        id.to_string()
    }

    /// Appends an event that everyone may see, told from others by its `model_name`.
    pub(crate) async fn model(&self, name: &str) -> String {
        let fields = [("event", "model-ready"), ("model_name", name), ("version", "1")];
        self.entry("model-events", &fields).await
    }

    /// Appends the model `end`, after everything else: entries of different streams are in order only
    /// if they are not of the same millisecond.
    pub(crate) async fn end(&self) {
        let last = self.last.load(Ordering::SeqCst);
        while SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() <= u128::from(last) {
            self.connection.ping().await.unwrap();
        }
        self.model("end").await;
    }

    /// Appends an inference with these further fields.
    pub(crate) async fn inference(&self, name: &str, more: &[(&str, &str)]) -> String {
        let mut fields = vec![
            ("event", "inference-complete"),
            ("model_name", name),
            ("version", "1"),
            ("latency_ms", "1"),
        ];
        fields.extend(more);
        self.entry("inference-events", &fields).await
    }
}

/// A WebSocket, whatever is said over it.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What comes over a socket.
#[derive(Debug)]
pub(crate) enum Heard {
    Text(String),
    Closed(Option<CloseFrame>),
}

impl Socket {
    pub(crate) async fn open(port: u16, path: &str) -> Self {
        let (stream, _) = connect_async(format!("ws://127.0.0.1:{port}{path}")).await.unwrap();
        Self { stream }
    }

    pub(crate) async fn say(&mut self, text: impl Into<String>) {
        self.stream.send(Message::text(text.into())).await.unwrap();
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.stream.send(message).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            match timeout(PATIENCE, self.stream.next()).await.expect("the gateway says something") {
                Some(Ok(Message::Text(text))) => return Heard::Text(text.to_string()),
                Some(Ok(Message::Close(frame))) => return Heard::Closed(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(None),
            }
        }
    }

    pub(crate) async fn text(&mut self) -> String {
        match self.hear().await {
            Heard::Text(text) => text,
            Heard::Closed(frame) => panic!("closed while a message was expected: {frame:?}"),
        }
    }

    /// Waits for a ping of WebSocket's own.
    pub(crate) async fn ping(&mut self) {
        while !matches!(
            timeout(PATIENCE, self.stream.next()).await.expect("a ping comes"),
            Some(Ok(Message::Ping(_)))
        ) {}
    }

    /// Waits for the close frame and gives its code.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            match self.hear().await {
                Heard::Text(_) => {}
                Heard::Closed(frame) => return frame.expect("a close frame").code.into(),
            }
        }
    }
}

/// A client of `/ws`.
pub(crate) struct Client {
    pub(crate) socket: Socket,
}

impl Client {
    /// Connects and is welcomed; `query` with its question mark.
    pub(crate) async fn connect(port: u16, query: &str) -> Self {
        let mut client = Self { socket: Socket::open(port, &format!("/ws{query}")).await };
        let welcome = client.hear().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        client
    }

    pub(crate) async fn with_token(port: u16, claims: &Value) -> Self {
        Self::connect(port, &format!("?token={}", token(claims))).await
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.socket.say(message.to_string()).await;
    }

    pub(crate) async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.socket.text().await).unwrap()
    }

    /// Subscribes and gives the answer.
    pub(crate) async fn subscribe(&mut self, mut request: Value) -> Value {
        request["type"] = json!("subscribe");
        self.say(request).await;
        let answer = self.hear().await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
        answer
    }

    /// The next event message.
    pub(crate) async fn event(&mut self) -> Value {
        loop {
            let message = self.hear().await;
            match message["type"].as_str() {
                Some("event") => return message,
                Some("position") => {}
                _ => panic!("an event was expected: {message}"),
            }
        }
    }

    /// The names of the events' models, up to and without the one of this name.
    pub(crate) async fn models_until(&mut self, end: &str) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let event = self.event().await;
            let name = label(&event["event"]);
            if name == end {
                return names;
            }
            names.push(name);
        }
    }

    /// The code and message of the next message, which is an error.
    pub(crate) async fn error(&mut self) -> (String, String) {
        let message = self.hear().await;
        assert_eq!(message["type"], "error", "{message}");
        (message["code"].as_str().unwrap().to_owned(), message["message"].as_str().unwrap().to_owned())
    }
}

/// What tells the events of these tests apart.
pub(crate) fn label(event: &Value) -> String {
    let name = ["model_name", "error_message", "reasoning", "action"]
        .iter()
        .find_map(|field| event[*field].as_str());
    name.unwrap_or_else(|| panic!("an event without a label: {event}")).to_owned()
}

/// A client of Socket.IO.
pub(crate) struct SocketIoClient {
    pub(crate) socket: Socket,
    acks: u64,
}

impl SocketIoClient {
    pub(crate) async fn connect(port: u16, query: &str, auth: &Value) -> Self {
        let mut client = Self::open(port, query).await;
        client.socket.say(format!("40{auth}")).await;
        let connected = client.socket.text().await;
        assert!(connected.starts_with("40{\"sid\""), "{connected}");
        let (name, confirmed) = client.event().await;
        assert_eq!(name, "connection_confirmed");
        assert!(confirmed["socketId"].is_string() && confirmed["timestamp"].is_string());
        client
    }

    /// Opens the transport alone.
    pub(crate) async fn open(port: u16, query: &str) -> Self {
        let path = format!("/socket.io/?EIO=4&transport=websocket{query}");
        let mut socket = Socket::open(port, &path).await;
        let handshake = socket.text().await;
        assert!(handshake.starts_with("0{\"sid\""), "{handshake}");
        Self { socket, acks: 0 }
    }

    /// The next event: its name and argument.
    pub(crate) async fn event(&mut self) -> (String, Value) {
        let text = self.socket.text().await;
        let json = text.strip_prefix("42").unwrap_or_else(|| panic!("an event was expected: {text}"));
        let mut event: Vec<Value> = serde_json::from_str(json).unwrap();
        let argument = event.pop().unwrap();
        (event.pop().unwrap().as_str().unwrap().to_owned(), argument)
    }

    /// Emits an event and gives the answer. What comes before the answer is passed over.
    pub(crate) async fn ask(&mut self, name: &str, argument: &Value) -> Value {
        self.acks += 1;
        self.socket.say(format!("42{}{}", self.acks, json!([name, argument]))).await;
        let prefix = format!("43{}", self.acks);
        loop {
            if let Some(answer) = self.socket.text().await.strip_prefix(&prefix) {
                let answer: Vec<Value> = serde_json::from_str(answer).unwrap();
                return answer.into_iter().next().unwrap();
            }
        }
    }

    /// The names of the events' models by event, up to the model of this name.
    pub(crate) async fn models_until(&mut self, end: &str) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let (_, event) = self.event().await;
            let name = label(&event);
            if name == end {
                return names;
            }
            names.push(name);
        }
    }
}

/// Asserts that what a client got is all of the streams' entries, each once, each stream in order.
pub(crate) fn assert_whole(got: &[(String, String)], published: &BTreeMap<String, Vec<String>>) {
    let mut by_stream: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (stream, id) in got {
        by_stream.entry(stream.clone()).or_default().push(id.clone());
    }
    for (stream, ids) in published {
        let got = by_stream.get(stream).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(got.len(), ids.len(), "{stream}: not as many as were published");
        assert_eq!(got, ids.as_slice(), "{stream}: others, or in another order");
    }
}
