//! A place in all streams at once, and the token by which a client comes back to it.

use std::{
    fmt,
    ops::{Index, IndexMut},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use synapse_rs::EntryId;

use crate::streams::{COUNT, Stream};

/// The first byte of a token: what follows may change with it.
const VERSION: u8 = 1;
/// The longest form of a number.
const MAX_VARINT: usize = 10;
/// The longest token, in characters.
pub const MAX_TOKEN: usize = (1 + COUNT * 2 * MAX_VARINT).div_ceil(3) * 4;

/// The last entry of each stream that has been passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    ids: [EntryId; COUNT],
}

impl Index<Stream> for Position {
    type Output = EntryId;

    fn index(&self, stream: Stream) -> &EntryId {
        &self.ids[stream.index()]
    }
}

impl IndexMut<Stream> for Position {
    fn index_mut(&mut self, stream: Stream) -> &mut EntryId {
        &mut self.ids[stream.index()]
    }
}

impl Position {
    /// Whether no stream is further back than in the other.
    pub fn is_at_or_after(&self, other: &Self) -> bool {
        Stream::all().all(|stream| self[stream] >= other[stream])
    }

    /// The token for clients: opaque, of characters that need no escaping anywhere.
    pub fn token(&self) -> String {
        let mut bytes = Vec::with_capacity(1 + COUNT * 8);
        bytes.push(VERSION);
        for id in self.ids {
            push_varint(&mut bytes, id.ms);
            push_varint(&mut bytes, id.seq);
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token; exactly the forms that [`Position::token`] writes.
    pub fn parse(token: &str) -> Result<Self, InvalidPosition> {
        if token.len() > MAX_TOKEN {
            return Err(InvalidPosition::TooLong);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidPosition::NotOurs)?;
        let Some((&VERSION, mut rest)) = bytes.split_first() else { return Err(InvalidPosition::NotOurs) };
        let mut position = Self::default();
        for id in &mut position.ids {
            id.ms = take_varint(&mut rest)?;
            id.seq = take_varint(&mut rest)?;
        }
        if rest.is_empty() { Ok(position) } else { Err(InvalidPosition::NotOurs) }
    }
}

/// What a client may resume from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// A place in all streams.
    Position(Position),
    /// An entry of the one stream it asks for.
    Entry(EntryId),
}

impl After {
    /// Reads a position token or a bare entry id, for example `1795424694440-0`.
    pub fn parse(text: &str) -> Result<Self, InvalidPosition> {
        let is_id = text.split_once('-').is_some_and(|(ms, seq)| {
            [ms, seq].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        });
        // A token can't look like an id: its first character stands for the version.
        if is_id || text == "0" {
            text.parse().map(Self::Entry).map_err(|_| InvalidPosition::NotOurs)
        } else {
            Position::parse(text).map(Self::Position)
        }
    }
}

/// Why a client can't resume from what it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPosition {
    /// Longer than any token.
    #[error("a position has at most {MAX_TOKEN} characters")]
    TooLong,
    /// Not a token, or of another version.
    #[error(
        "not a position: give back a `position` as it came, or the id of an entry, for example 1795424694440-0"
    )]
    NotOurs,
}

fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7F) as u8);
}

/// Takes a number in its shortest form from the front.
fn take_varint(bytes: &mut &[u8]) -> Result<u64, InvalidPosition> {
    let mut number = 0_u64;
    for shift in (0..).step_by(7).take(MAX_VARINT) {
        let (&byte, rest) = bytes.split_first().ok_or(InvalidPosition::NotOurs)?;
        *bytes = rest;
        let part = u64::from(byte & 0x7F);
        if part << shift >> shift != part || (byte == 0 && shift > 0) {
            return Err(InvalidPosition::NotOurs);
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(InvalidPosition::NotOurs)
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.token())
    }
}

#[cfg(test)]
mod tests;
