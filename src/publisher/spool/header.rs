//! What a segment begins with.
//!
//! ```text
//! magic 8 | format u32 | salt u32 | first number u64 | made at (Unix ms) u64 | checksum u32     (little endian)
//! ```
//!
//! Twice, for without it nothing in the segment can be told from garbage.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{SpoolError, record::checksum};

const MAGIC: &[u8; 8] = b"synspool";

/// The one format there is. Whatever the next ones are, magic, format and checksum stay where they are.
const FORMAT: u32 = 1;

const COPY_BYTES: usize = 36;

/// Where the first record of a segment lies.
pub(super) const HEADER_BYTES: usize = 2 * COPY_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Drawn for each segment, so that nobody can write into an event what would pass for a record.
    salt: u32,
    pub first: u64,
    pub made_at_ms: u64,
}

impl Header {
    pub(super) fn new(first: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let made_at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Self { salt: fastrand::u32(..), first, made_at_ms }
    }

    /// What the checksums of the segment's records begin with.
    pub(super) fn seed(&self) -> u32 {
        checksum(self.salt, &self.first.to_le_bytes())
    }

    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&FORMAT.to_le_bytes());
        buffer.extend_from_slice(&self.salt.to_le_bytes());
        buffer.extend_from_slice(&self.first.to_le_bytes());
        buffer.extend_from_slice(&self.made_at_ms.to_le_bytes());
        let checksum = checksum(0, &buffer[start..]);
        buffer.extend_from_slice(&checksum.to_le_bytes());
        buffer.extend_from_within(start..);
    }

    /// The header of the file at `path`, which begins with `bytes`; `None` if neither copy is sound.
    pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Option<Self>, SpoolError> {
        for copy in bytes.chunks_exact(COPY_BYTES).take(2) {
            let (content, claimed) = copy.split_at(COPY_BYTES - 4);
            if !content.starts_with(MAGIC) || checksum(0, content).to_le_bytes() != claimed {
                continue;
            }
            let format = u32_at(content, 8);
            if format != FORMAT {
                return Err(SpoolError::UnknownFormat { path: path.to_owned(), version: format });
            }
            let (salt, first, made_at_ms) = (u32_at(content, 12), u64_at(content, 16), u64_at(content, 24));
            return Ok(Some(Self { salt, first, made_at_ms }));
        }
        Ok(None)
    }
}

/// Four bytes of a field that is known to be there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// Eight bytes of a field that is known to be there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
