//! Asking a process whether it is ready.

use std::time::Duration;

use rustix::process::Pid;
use serde_json::Value;
use synapse_rs::{RedisSettings, stream::Connection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How much of an answer is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// `GET /ready` at this `host:port`.
    Http(String),
    /// The server at this address, if it is the process that was asked about: an answer may come from another
    /// server, which took the port a moment earlier.
    Redis(RedisSettings),
}

impl Probe {
    /// Asks a process once; `Err` says what is missing.
    pub(crate) async fn ask(&self, process: Pid) -> Result<(), String> {
        let answer = async {
            match self {
                Self::Http(address) => ready(address).await,
                Self::Redis(settings) => is_served_by(settings, process).await,
            }
        };
        timeout(ANSWER_LIMIT, answer)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {ANSWER_LIMIT:?}")))
    }
}

async fn is_served_by(settings: &RedisSettings, process: Pid) -> Result<(), String> {
    let answer = async { Connection::open(settings).await?.server_process_id().await };
    match answer.await {
        Ok(id) if i32::try_from(id) == Ok(process.as_raw_pid()) => Ok(()),
        Ok(id) => Err(format!("another server answers at {settings} (process {id})")),
        Err(error) => Err(error.to_string()),
    }
}

async fn ready(address: &str) -> Result<(), String> {
    let answer = get(address, "/ready").await.map_err(|error| format!("{address}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(status) => Err(reasons(body).unwrap_or_else(|| format!("{address}/ready answers {status}"))),
        None => Err(format!("{address} does not speak HTTP")),
    }
}

/// One request on a connection of its own; nothing here is worth a client with pools.
async fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The texts of `reasons` in the body of a 503.
fn reasons(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    let reasons: Vec<&str> = body.get("reasons")?.as_array()?.iter().filter_map(Value::as_str).collect();
    Some(reasons.join("; "))
}

#[cfg(test)]
mod tests;
