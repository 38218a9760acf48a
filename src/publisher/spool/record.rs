//! A record as it lies in a segment.
//!
//! ```text
//! checksum u32 | length u32 | place u32 | payload        (little endian)
//! ```
//!
//! The place counts from the segment's first number. The checksum begins with the segment's seed and
//! goes over all that follows it. So a record counts only where it was written, under the number
//! that it was written with: neither one left over in a reused block nor one that lies within the
//! payload of another is taken for one of the segment.

use crc32fast::Hasher;

/// What a record has before its payload.
pub(super) const FRAME_BYTES: usize = 12;

/// How large a payload may be.
pub(super) const MAX_PAYLOAD_BYTES: usize = 64 * 1024 * 1024;

/// What lies at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A sound record.
    Record { place: u32, payload_bytes: usize },
    /// A record, if at all, that goes on behind the bytes given; it would have so many.
    Cut { bytes: usize },
    /// No record of this segment.
    Damaged,
}

/// Writes a record behind what is in `buffer`; if the payload is too large, gives its size and writes nothing.
pub(super) fn push(buffer: &mut Vec<u8>, seed: u32, place: u32, parts: &[&[u8]]) -> Result<(), usize> {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let Some(len) = u32::try_from(bytes).ok().filter(|_| bytes <= MAX_PAYLOAD_BYTES) else {
        return Err(bytes);
    };
    let start = buffer.len();
    buffer.reserve(FRAME_BYTES + bytes);
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&len.to_le_bytes());
    buffer.extend_from_slice(&place.to_le_bytes());
    for part in parts {
        buffer.extend_from_slice(part);
    }
    let checksum = checksum(seed, &buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

pub(super) fn parse(bytes: &[u8], seed: u32) -> Parsed {
    let Some((claimed, len, place)) = frame(bytes) else {
        return Parsed::Cut { bytes: FRAME_BYTES };
    };
    let payload_bytes = len as usize;
    if payload_bytes > MAX_PAYLOAD_BYTES {
        return Parsed::Damaged;
    }
    let Some(rest) = bytes.get(4..FRAME_BYTES + payload_bytes) else {
        return Parsed::Cut { bytes: FRAME_BYTES + payload_bytes };
    };
    if checksum(seed, rest) == claimed { Parsed::Record { place, payload_bytes } } else { Parsed::Damaged }
}

/// Checksum, length and place as the bytes have them, true or not.
pub(super) fn frame(bytes: &[u8]) -> Option<(u32, u32, u32)> {
    let frame = bytes.first_chunk::<FRAME_BYTES>()?;
    let number = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    Some((number(0), number(4), number(8)))
}

pub(super) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}
