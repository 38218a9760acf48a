//! A client that comes back to where it was, over Socket.IO or over `/ws`.

use std::{error::Error, io};

use memchr::{memmem, memrchr};
use serde_json::{Value, json};

use crate::{
    append::{STREAM, number_in},
    wire::Wire,
};

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    SocketIo,
    WebSocket,
}

/// What a client knows, whether it is connected or not.
#[derive(Debug)]
pub(crate) struct Visitor {
    protocol: Protocol,
    /// By what it is known again, over Socket.IO.
    pid: String,
    /// Where it is; empty before the first connection.
    position: String,
    /// The number of the event that is to come.
    pub(crate) next: u64,
    /// Events that never came, as those after them show.
    pub(crate) lost: u64,
    /// Events that had come before.
    pub(crate) doubled: u64,
}

impl Visitor {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self { protocol, pid: String::new(), position: String::new(), next: 0, lost: 0, doubled: 0 }
    }

    /// Connects, with its position if it has one; and whether the gateway says that nothing is missing.
    pub(crate) async fn connect(&mut self, address: &str) -> Result<(Wire, bool), Box<dyn Error>> {
        match self.protocol {
            Protocol::SocketIo => self.connect_socketio(address).await,
            Protocol::WebSocket => self.connect_websocket(address).await,
        }
    }

    /// As the stock client does: by its `pid` and the last offset, which are there after the first time.
    async fn connect_socketio(&mut self, address: &str) -> Result<(Wire, bool), Box<dyn Error>> {
        let mut wire = Wire::open(address, "/socket.io/?EIO=4&transport=websocket&resume=1").await?;
        let auth = match self.pid.as_str() {
            "" => String::new(),
            pid => json!({ "pid": pid, "offset": self.position }).to_string(),
        };
        wire.send(&format!("40{auth}")).await?;
        let answer: Value = wire
            .wait_for("CONNECT", |message| serde_json::from_slice(message.strip_prefix(b"40")?).ok())
            .await?;
        let pid = answer["pid"].as_str().ok_or("no pid")?;
        let is_recovered = pid == self.pid;
        pid.clone_into(&mut self.pid);
        let position = wire
            .wait_for("connection_confirmed", |message| {
                memmem::find(message, b"connection_confirmed")?;
                offset_of(message).map(str::to_owned)
            })
            .await?;
        if !is_recovered {
            self.position = position;
        }
        Ok((wire, is_recovered))
    }

    async fn connect_websocket(&mut self, address: &str) -> Result<(Wire, bool), Box<dyn Error>> {
        let mut wire = Wire::open(address, "/ws").await?;
        let mut request = json!({ "type": "subscribe", "streams": [STREAM] });
        if !self.position.is_empty() {
            request["after"] = self.position.as_str().into();
        }
        wire.wait_for("welcome", |message| memmem::find(message, b"\"welcome\"").map(|_| ())).await?;
        wire.send(&request.to_string()).await?;
        let answer = wire
            .wait_for("subscribed", |message| {
                let answer: Value = serde_json::from_slice(message).ok()?;
                (answer["type"] == "subscribed").then_some(answer)
            })
            .await?;
        answer["position"].as_str().ok_or("no position")?.clone_into(&mut self.position);
        Ok((wire, answer["recovered"] == true))
    }

    /// Takes what has come.
    pub(crate) async fn read(&mut self, wire: &mut Wire) -> io::Result<()> {
        let read = wire.read::<()>(|message| {
            self.take(message);
            None
        });
        read.await.map(|_| ())
    }

    fn take(&mut self, message: &[u8]) {
        let position = match self.protocol {
            Protocol::SocketIo => offset_of(message),
            Protocol::WebSocket => position_of(message),
        };
        // Anything else is no event, nor moves a client on.
        let Some(position) = position else { return };
        position.clone_into(&mut self.position);
        if memmem::find(message, b"\"request_id\"").is_none() {
            return;
        }
        let number = number_in(message);
        self.lost += number.saturating_sub(self.next);
        self.doubled += u64::from(number < self.next);
        self.next = self.next.max(number + 1);
    }
}

/// The last argument of a Socket.IO event, a text.
fn offset_of(message: &[u8]) -> Option<&str> {
    let inner = message.strip_prefix(b"42")?.strip_suffix(b"\"]")?;
    std::str::from_utf8(&inner[memrchr(b'"', inner)? + 1..]).ok()
}

/// The position of a message over `/ws`.
fn position_of(message: &[u8]) -> Option<&str> {
    const BEFORE: &[u8] = b"\"position\":\"";
    let rest = &message[memmem::find(message, BEFORE)? + BEFORE.len()..];
    std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
}
