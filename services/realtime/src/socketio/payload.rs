//! Payloads: several packets in the body of one request.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, Bytes};

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

/// The messages of a payload; `None` if it is not one. They are made one by one as they are taken: a few thousand packets of
/// one byte would otherwise take sixty times the memory of the body that brought them.
pub fn decode(payload: Bytes) -> Option<Messages> {
    payload
        .split(|byte| *byte == SEPARATOR)
        .all(|packet| message(packet).is_some())
        .then_some(Messages { rest: Some(payload) })
}

/// The messages of a payload, all of which can be read.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    rest: Option<Bytes>,
}

impl Iterator for Messages {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let mut packet = self.rest.take()?;
        if let Some(end) = packet.iter().position(|byte| *byte == SEPARATOR) {
            let mut rest = packet.split_off(end);
            rest.advance(1);
            self.rest = Some(rest);
        }
        message(&packet)
    }
}

fn message(packet: &[u8]) -> Option<Message> {
    match packet {
        [] => None,
        [BINARY, content @ ..] => STANDARD.decode(content).ok().map(Message::Binary),
        text => std::str::from_utf8(text).ok().map(|text| Message::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests;
