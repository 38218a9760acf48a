//! Messages, made of what the client sends.

use crate::{
    close::CloseReason,
    websocket::frame::{FrameError, Header, OpCode, unmask},
};

/// The most frames of one message: a client that sends parts of nothing sends no message that could be counted.
pub const MAX_PARTS: usize = 1_024;

/// A whole message, or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// To be answered by a pong with the same payload.
    Ping(Vec<u8>),
    /// The answer to a ping.
    Pong,
    /// The client leaves, maybe saying why.
    Close(Option<u16>),
}

/// Why a client's messages can't be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A frame is malformed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message, its parts together, is too large.
    #[error("a message is larger than {limit} bytes")]
    TooLarge {
        /// The bound, `MAX_MESSAGE_BYTES`.
        limit: usize,
    },
    /// A message is in too many parts.
    #[error("a message is in more than {MAX_PARTS} parts")]
    TooManyParts,
    /// A text message is not text.
    #[error("a text message is not UTF-8")]
    NotUtf8,
    /// A continuation of nothing, or a new message within another.
    #[error("the parts of a message are out of order")]
    OutOfOrder,
    /// A close frame with half a code, a code that must not be sent, or a reason that is not UTF-8.
    #[error("a close frame is malformed")]
    MalformedClose,
}

impl DecodeError {
    /// How a connection that sent this is closed.
    pub fn reason(self) -> CloseReason {
        match self {
            Self::TooLarge { .. } | Self::TooManyParts => CloseReason::MessageTooLarge,
            _ => CloseReason::ProtocolError,
        }
    }
}

/// Gathers bytes into messages. Holds no memory between messages.
#[derive(Debug)]
pub struct Decoder {
    input: Vec<u8>,
    /// What of `input` has been read.
    consumed: usize,
    started: Option<(OpCode, Vec<u8>)>,
    /// Frames of the message that is started.
    parts: usize,
    limit: usize,
}

impl Decoder {
    /// Refuses messages of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { input: Vec::new(), consumed: 0, started: None, parts: 0, limit }
    }

    /// Takes what came from the socket.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.input.drain(..self.consumed);
        self.consumed = 0;
        self.input.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more has come.
    pub fn next_message(&mut self) -> Result<Option<Message>, DecodeError> {
        while let Some(header) = Header::parse(&self.input[self.consumed..])? {
            let limit = self.limit;
            let started = self.started.as_ref().map_or(0, |(_, parts)| parts.len());
            let length = usize::try_from(header.payload).unwrap_or(usize::MAX);
            if !header.opcode.is_control() && length.saturating_add(started) > limit {
                return Err(DecodeError::TooLarge { limit });
            }
            let begin = self.consumed + header.size;
            let Some(payload) = self.input.get_mut(begin..begin + length) else { break };
            unmask(payload, header.mask);
            let payload = payload.to_vec();
            self.consumed = begin + length;
            if let Some(message) = self.take(header, payload)? {
                return Ok(Some(message));
            }
        }
        if self.consumed == self.input.len() {
            self.input = Vec::new();
            self.consumed = 0;
        }
        Ok(None)
    }

    fn take(&mut self, header: Header, payload: Vec<u8>) -> Result<Option<Message>, DecodeError> {
        match header.opcode {
            OpCode::Ping => Ok(Some(Message::Ping(payload))),
            OpCode::Pong => Ok(Some(Message::Pong)),
            OpCode::Close => close_code(&payload).map(|code| Some(Message::Close(code))),
            OpCode::Continuation => {
                let (opcode, mut parts) = self.started.take().ok_or(DecodeError::OutOfOrder)?;
                parts.extend_from_slice(&payload);
                self.part(header.is_final, opcode, parts)
            }
            _ if self.started.is_some() => Err(DecodeError::OutOfOrder),
            opcode => self.part(header.is_final, opcode, payload),
        }
    }

    fn part(&mut self, last: bool, opcode: OpCode, parts: Vec<u8>) -> Result<Option<Message>, DecodeError> {
        if !last {
            self.started = Some((opcode, parts));
            self.parts += 1;
            return if self.parts < MAX_PARTS { Ok(None) } else { Err(DecodeError::TooManyParts) };
        }
        self.parts = 0;
        match opcode {
            OpCode::Text => String::from_utf8(parts)
                .map(|text| Some(Message::Text(text)))
                .map_err(|_| DecodeError::NotUtf8),
            _ => Ok(Some(Message::Binary(parts))),
        }
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, DecodeError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(DecodeError::MalformedClose) };
    };
    let code = u16::from_be_bytes(*code);
    let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !may_be_sent || std::str::from_utf8(reason).is_err() {
        return Err(DecodeError::MalformedClose);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests;
