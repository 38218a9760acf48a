//! Payloads: several packets in the body of one request.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    close::NORMAL_CLOSURE,
    outbox::Outbox,
    socketio::engine,
    websocket::{
        decoder::Message,
        frame::{self, OpCode},
    },
};

/// Between the packets of a payload, by the protocol.
const SEPARATOR: u8 = 0x1e;
/// Before bytes in base64.
const BINARY: u8 = b'b';

/// The frames that wait as one payload.
pub fn encode(waiting: &Outbox) -> Vec<u8> {
    let mut payload = Vec::with_capacity(waiting.bytes());
    for (opcode, content) in waiting.frames().filter_map(frame::opened) {
        let is_first = payload.is_empty();
        let begin = |payload: &mut Vec<u8>| {
            if !is_first {
                payload.push(SEPARATOR);
            }
        };
        match opcode {
            OpCode::Text => {
                begin(&mut payload);
                payload.extend_from_slice(content);
            }
            OpCode::Binary => {
                begin(&mut payload);
                payload.push(BINARY);
                payload.extend_from_slice(STANDARD.encode(content).as_bytes());
            }
            OpCode::Close => {
                begin(&mut payload);
                // A client that leaves is not told to.
                let leaves = content.starts_with(&NORMAL_CLOSURE.to_be_bytes());
                payload.extend_from_slice(if leaves { engine::NOOP } else { engine::CLOSE }.as_bytes());
            }
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
    payload
}

/// The messages of a payload; `None` if it is not one.
pub fn decode(payload: &[u8]) -> Option<Vec<Message>> {
    let payload = std::str::from_utf8(payload).ok()?;
    let packets = payload.split(char::from(SEPARATOR));
    packets
        .map(|packet| match packet.as_bytes() {
            [] => None,
            [BINARY, content @ ..] => STANDARD.decode(content).ok().map(Message::Binary),
            _ => Some(Message::Text(packet.to_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests;
