//! The gateway's job done with socketioxide: streams are read as by `../socketio-server.mjs`, once, from concrete
//! ids, on a connection of its own; an entry goes to its user's room or to everyone.
//!
//! ```text
//! socketioxide-peer PORT REDIS_URL
//! ```
//!
//! With axum, on tokio's default runtime. socketioxide drops an event for a client for whom 128 packets wait; here
//! it may be as many as in its own example, so that a burst is delivered.
//!
//! There are two programs: `socketioxide-peer` has our allocator, with which it delivers more, `socketioxide-plain`
//! the system's, with which it needs less memory.

use std::{env, error::Error, net::Ipv4Addr};

use axum::{
    Router,
    routing::get,
    serve::{ListenerExt as _, serve},
};
use redis::{
    AsyncCommands as _, AsyncConnectionConfig, FromRedisValue as _, RedisError,
    streams::{StreamId, StreamReadOptions, StreamReadReply},
};
use serde_json::{Map, Value, json};
use socketioxide::{
    SocketIo, TransportType,
    extract::{AckSender, Data, SocketRef},
};
use tokio::{net::TcpListener, try_join};

/// What is read, and the event that its entries are to clients.
const STREAMS: [(&str, &str); 4] = [
    ("inference-events", "inference-event"),
    ("platform-events", "platform-event"),
    ("model-events", "model-event"),
    ("training-events", "training-event"),
];
const BATCH: usize = 1_000;
const BLOCK_MS: usize = 2_000;
const MAX_PACKETS_WAITING: usize = 10_000;

/// Why it ended.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Serves on the port and reads from the Redis that the command line names, until either fails.
pub async fn run() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    let (Some(port), Some(redis_url)) = (arguments.next(), arguments.next()) else {
        return Err("usage: socketioxide-peer PORT REDIS_URL".into());
    };
    let (layer, io) = SocketIo::builder()
        .transports([TransportType::Websocket])
        .max_buffer_size(MAX_PACKETS_WAITING)
        .build_layer();
    io.ns("/", connected);
    let app = Router::new().route("/ready", get(async || {})).layer(layer);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?)).await?;
    // Small answers leave at once.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let serving = async { serve(listener, app).await.map_err(Failure::from) };
    try_join!(serving, forward(&io, &redis_url))?;
    Ok(())
}

async fn connected(socket: SocketRef) {
    socket.on("join_user_room", async |socket: SocketRef, Data::<String>(user), answer: AckSender| {
        socket.join(format!("user:{user}"));
        answer.send(&json!({ "ok": true })).ok();
    });
    let confirmed = json!({ "socketId": socket.id, "timestamp": "2026-11-23T09:04:54.440386Z" });
    socket.emit("connection_confirmed", &confirmed).ok();
}

async fn forward(io: &SocketIo, redis_url: &str) -> Result<(), Failure> {
    // A read that waits has no answer for longer than an answer may take by default.
    let patient = AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(redis_url)?;
    let mut redis = client.get_multiplexed_async_connection_with_config(&patient).await?;
    let options = StreamReadOptions::default().count(BATCH).block(BLOCK_MS);
    let names = STREAMS.map(|(stream, _)| stream);
    let mut last_ids = names.map(|_| String::from("0-0"));
    loop {
        let read: Option<StreamReadReply> = redis.xread_options(&names, &last_ids, &options).await?;
        for key in read.into_iter().flat_map(|read| read.keys) {
            let Some(place) = names.iter().position(|name| *name == key.key) else { continue };
            for entry in key.ids {
                let event = decoded(names[place], &entry)?;
                emit(io, STREAMS[place].1, &event).await;
                last_ids[place] = entry.id;
            }
        }
    }
}

/// An event for which a client has no room is lost to it; who measures counts what came.
async fn emit(io: &SocketIo, name: &str, event: &Map<String, Value>) {
    let _ = match event.get("user_id").and_then(Value::as_str) {
        Some(user) if !user.is_empty() => io.to(format!("user:{user}")).emit(name, event).await,
        _ => io.emit(name, event).await,
    };
}

fn decoded(stream: &str, entry: &StreamId) -> Result<Map<String, Value>, RedisError> {
    let mut event = Map::with_capacity(entry.map.len() + 3);
    for (field, value) in &entry.map {
        let text = String::from_redis_value_ref(value)?;
        let value = match field.as_str() {
            "latency_ms" | "tokens_used" | "cost" | "confidence" => {
                text.parse().map_or(Value::Null, Value::Number)
            }
            "success" => Value::Bool(text == "true"),
            _ => Value::String(text),
        };
        event.insert(field.clone(), value);
    }
    event.entry("event_id").or_insert_with(|| format!("{stream}/{}", entry.id).into());
    event.insert("id".into(), entry.id.as_str().into());
    event.insert("stream".into(), stream.into());
    Ok(event)
}
