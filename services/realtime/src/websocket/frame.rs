//! Frames: their headers, read and written.

/// The longest header a server writes: no mask.
pub const MAX_SERVER_HEADER: usize = 10;
/// The most a control frame may carry.
pub const MAX_CONTROL_PAYLOAD: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpCode {
    /// A further part of a message.
    Continuation,
    /// A message of UTF-8, or its first part.
    Text,
    /// A message of bytes, or its first part.
    Binary,
    /// The end of the connection.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl OpCode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// Whether it may come between the parts of a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Why a client's frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Bits that only an extension may set.
    #[error("a frame has reserved bits set, but no extension was agreed on")]
    ReservedBits,
    /// An operation nobody knows.
    #[error("a frame has the unknown operation code {0:#x}")]
    UnknownOpCode(u8),
    /// Clients must mask.
    #[error("a frame from the client is not masked")]
    NotMasked,
    /// A length in more bytes than it needs, or beyond 2^63.
    #[error("a frame's length is not in its shortest form")]
    MalformedLength,
    /// A control frame that is in parts or too long.
    #[error("a control frame is longer than 125 bytes or in parts")]
    MalformedControl,
}

/// The header of a frame from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the frame is the last of its message.
    pub is_final: bool,
    /// What it is.
    pub opcode: OpCode,
    /// Bytes of payload.
    pub payload: u64,
    /// What the payload was masked with.
    pub mask: [u8; 4],
    /// Bytes of the header itself.
    pub size: usize,
}

impl Header {
    /// Reads a header from the beginning of what came; `None` until enough has come.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let [first, second, ..] = *bytes else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(FrameError::ReservedBits);
        }
        let opcode = OpCode::from_bits(first & 0x0F).ok_or(FrameError::UnknownOpCode(first & 0x0F))?;
        if second & MASKED == 0 {
            return Err(FrameError::NotMasked);
        }
        let is_final = first & FIN != 0;
        if opcode.is_control() && (!is_final || usize::from(second & !MASKED) > MAX_CONTROL_PAYLOAD) {
            return Err(FrameError::MalformedControl);
        }
        let Some((payload, length_size)) = length(second & !MASKED, &bytes[2..])? else { return Ok(None) };
        let Some(mask) = bytes[2 + length_size..].first_chunk::<4>() else { return Ok(None) };
        Ok(Some(Self { is_final, opcode, payload, mask: *mask, size: 2 + length_size + 4 }))
    }
}

/// The length and how many bytes after the second it took.
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let (length, size, least) = match short {
        LENGTH_16 => match rest.first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2, u64::from(LENGTH_16)),
            None => return Ok(None),
        },
        LENGTH_64 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 0),
    };
    if length < least || length >> 63 != 0 {
        return Err(FrameError::MalformedLength);
    }
    Ok(Some((length, size)))
}

/// Takes the mask off, or puts it on.
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Writes the header of a server's frame whose payload of this many bytes follows.
pub fn push_header(out: &mut Vec<u8>, opcode: OpCode, payload: usize) {
    out.push(FIN | opcode.bits());
    #[expect(clippy::cast_possible_truncation, reason = "each arm's range is that of its type")]
    match payload {
        0..=125 => out.push(payload as u8),
        126..=0xFFFF => {
            out.push(LENGTH_16);
            out.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            out.push(LENGTH_64);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// Writes a whole frame.
pub fn push_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    out.reserve(MAX_SERVER_HEADER + payload.len());
    push_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// A text message as a frame.
pub fn text(payload: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    push_frame(&mut frame, OpCode::Text, payload.as_bytes());
    frame
}

/// A close frame.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_CONTROL_PAYLOAD - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    let mut frame = Vec::new();
    push_frame(&mut frame, OpCode::Close, &payload);
    frame
}

/// What a server's whole frame is, and its payload.
pub fn opened(frame: &[u8]) -> Option<(OpCode, &[u8])> {
    let [first, second, rest @ ..] = frame else { return None };
    let opcode = OpCode::from_bits(first & 0x0F)?;
    let (payload, size) = length(*second, rest).ok()??;
    let payload = usize::try_from(payload).ok()?;
    Some((opcode, rest.get(size..size.checked_add(payload)?)?))
}

/// How long the server's frame at the beginning of `bytes` is, header and all; `bytes.len()` if it ends later.
pub fn length_of(bytes: &[u8]) -> usize {
    let Some(second) = bytes.get(1) else { return bytes.len() };
    let whole = match length(*second, &bytes[2..]) {
        Ok(Some((payload, size))) => {
            usize::try_from(payload).map_or(bytes.len(), |payload| payload + 2 + size)
        }
        _ => bytes.len(),
    };
    whole.min(bytes.len())
}

#[cfg(test)]
mod tests;
