//! Finding the records in a segment.

use std::ops::Range;

use super::Segment;
use crate::publisher::spool::{
    SpoolError, disk,
    record::{self, FRAME_BYTES, Parsed},
};

/// How much of a segment is looked at for the next sound record, at most.
const SEARCH_BYTES: u64 = 1024 * 1024 * 1024;

/// How much of it at once.
const SEARCH_WINDOW_BYTES: usize = 256 * 1024;

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::publisher::spool) struct Position {
    pub offset: u64,
    /// The number of the record there; `None` if whichever comes is right.
    pub number: Option<u64>,
}

/// What was read from a segment at once.
pub(in crate::publisher::spool) struct Chunk {
    pub buffer: Vec<u8>,
    /// The number of the first record; the others follow.
    pub first: u64,
    /// Where in `buffer` the payloads are.
    pub payloads: Vec<Range<usize>>,
    /// Where to go on.
    pub next: Position,
    pub end: ChunkEnd,
}

/// Why a chunk ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::publisher::spool) enum ChunkEnd {
    /// As much was read as was asked for.
    Limit,
    /// There are no more records in this segment.
    Segment,
    /// What comes next is no record of this segment.
    Damage,
}

impl Segment {
    /// The records from a position on that are numbered below `until`, at most about `max_bytes`, but at least one.
    pub(in crate::publisher::spool) fn read(
        &mut self,
        from: Position,
        until: u64,
        max_bytes: usize,
    ) -> Result<Chunk, SpoolError> {
        let mut chunk =
            Chunk { buffer: Vec::new(), first: 0, payloads: Vec::new(), next: from, end: ChunkEnd::Damage };
        let Some(seed) = self.seed() else { return Ok(chunk) };
        let mut wanted = max_bytes.max(FRAME_BYTES);
        loop {
            let left = self.len.saturating_sub(from.offset);
            let load = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
            let (file, path) = self.file()?;
            chunk.buffer = disk::read_at(file, path, from.offset, load)?;
            match self.parse(&mut chunk, seed, from, until) {
                // Not even one: a record larger than what was asked for.
                Some(bytes) if chunk.payloads.is_empty() && load < bytes && (bytes as u64) <= left => {
                    wanted = bytes;
                }
                Some(bytes) => {
                    let is_there = chunk.next.offset + bytes as u64 <= self.len && load == chunk.buffer.len();
                    chunk.end = if is_there { ChunkEnd::Limit } else { ChunkEnd::Damage };
                    return Ok(chunk);
                }
                None => return Ok(chunk),
            }
        }
    }

    /// Finds the records in a chunk's buffer; gives the size of the next one if the buffer ends within it.
    fn parse(&mut self, chunk: &mut Chunk, seed: u32, from: Position, until: u64) -> Option<usize> {
        chunk.next = from;
        let mut at = 0;
        loop {
            if chunk.next.number == Some(until) || chunk.next.offset >= self.len {
                chunk.end = ChunkEnd::Segment;
                return None;
            }
            chunk.end = ChunkEnd::Damage;
            let (place, payload_bytes) = match record::parse(&chunk.buffer[at..], seed) {
                Parsed::Record { place, payload_bytes } => (place, payload_bytes),
                Parsed::Cut { bytes } => return Some(bytes),
                Parsed::Damaged => return None,
            };
            let number = self.first + u64::from(place);
            if chunk.next.number.is_some_and(|expected| expected != number) {
                return None;
            }
            if number >= until {
                chunk.end = ChunkEnd::Segment;
                return None;
            }
            self.mark(number, chunk.next.offset);
            if chunk.payloads.is_empty() {
                chunk.first = number;
            }
            let start = at + FRAME_BYTES;
            at = start + payload_bytes;
            chunk.payloads.push(start..at);
            chunk.next = Position { offset: from.offset + at as u64, number: Some(number + 1) };
        }
    }

    /// The first sound record behind a damaged place that is numbered from `after` on and below `until`.
    pub(in crate::publisher::spool) fn search(
        &mut self,
        damage: u64,
        after: u64,
        until: u64,
    ) -> Result<Option<Position>, SpoolError> {
        let Some(seed) = self.seed() else { return Ok(None) };
        let (first, len) = (self.first, self.len);
        let (file, path) = self.file()?;
        let (mut offset, mut left) = (damage + 1, SEARCH_BYTES);
        loop {
            let window = disk::read_at(file, path, offset, SEARCH_WINDOW_BYTES)?;
            let Some(last) = window.len().checked_sub(FRAME_BYTES) else { return Ok(None) };
            for at in 0..=last {
                let Some((_, payload_bytes, place)) = record::frame(&window[at..]) else { break };
                let (number, start) = (first + u64::from(place), offset + at as u64);
                let bytes = FRAME_BYTES + payload_bytes as usize;
                if number < after || number >= until || start + bytes as u64 > len {
                    continue;
                }
                let Some(rest) = left.checked_sub(bytes as u64) else { return Ok(None) };
                left = rest;
                let candidate = disk::read_at(file, path, start, bytes)?;
                if matches!(record::parse(&candidate, seed), Parsed::Record { .. }) {
                    return Ok(Some(Position { offset: start, number: Some(number) }));
                }
            }
            let Some(rest) = left.checked_sub(window.len() as u64) else { return Ok(None) };
            left = rest;
            offset += last as u64 + 1;
        }
    }
}
