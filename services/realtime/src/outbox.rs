//! What waits for one connection: references to frames that all receivers share, bounded in bytes.

use std::{collections::VecDeque, io::IoSlice};

use bytes::Bytes;

use crate::{sse, websocket::frame};

/// Slices written by one call of the system.
pub const MAX_SLICES: usize = 64;
/// What a waiting piece costs beside its bytes.
const PIECE_OVERHEAD: usize = 64;
/// A piece that is less than this part of its buffer is copied when it has to wait for long.
const KEEP_SHARED: usize = 4;
/// The queue's own memory that an idle connection keeps, in pieces.
const IDLE_CAPACITY: usize = 4;

/// A part of a shared buffer: one or more whole frames, some of which may have been written already.
///
/// The buffer is shared by all receivers of a batch of events; pieces that follow each other in
/// one buffer become one piece, so that a whole batch costs a connection no more than one event.
#[derive(Clone, Debug)]
pub struct Piece {
    buffer: Bytes,
    /// Where a frame begins, at or before `start`.
    boundary: usize,
    start: usize,
    end: usize,
}

impl Piece {
    /// The whole frames in `buffer` from `start` to before `end`.
    ///
    /// # Panics
    ///
    /// If the buffer does not reach that far.
    pub fn new(buffer: Bytes, start: usize, end: usize) -> Self {
        assert!(start <= end && end <= buffer.len(), "a piece lies within its buffer");
        Self { buffer, boundary: start, start, end }
    }

    /// What is still to be written of it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// How many bytes are still to be written.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether all of it has been written.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        self.end == next.start
            && self.buffer.as_ptr() == next.buffer.as_ptr()
            && self.buffer.len() == next.buffer.len()
    }

    /// Lets go of a large shared buffer of which this is a small part.
    pub(crate) fn detach(&mut self) {
        if self.len() * KEEP_SHARED >= self.buffer.len() {
            return;
        }
        let (boundary, _) = self.current_frame();
        let start = self.start - boundary;
        let buffer = Bytes::copy_from_slice(&self.buffer[boundary..self.end]);
        *self = Self { end: buffer.len(), buffer, boundary: 0, start };
    }

    /// Where the frame that is to be written next, or has been written in part, begins and ends.
    fn current_frame(&self) -> (usize, usize) {
        let mut begin = self.boundary;
        loop {
            let end = begin + length_of(&self.buffer[begin..self.end]);
            if end > self.start || end >= self.end {
                return (begin, end);
            }
            begin = end;
        }
    }
}

/// How long the frame at the beginning of `bytes` is; `bytes.len()` if it ends later. The first bit of a server's frame
/// of WebSocket is set, for it is never in parts; that of a text is not.
fn length_of(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(first) if first.is_ascii() => sse::length_of(bytes),
        _ => frame::length_of(bytes),
    }
}

impl From<Bytes> for Piece {
    fn from(buffer: Bytes) -> Self {
        let end = buffer.len();
        Self { buffer, boundary: 0, start: 0, end }
    }
}

impl From<Vec<u8>> for Piece {
    fn from(frame: Vec<u8>) -> Self {
        Bytes::from(frame).into()
    }
}

/// The outbox would hold more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Pieces in the order in which they are to be written.
#[derive(Debug, Default)]
pub struct Outbox {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

impl Outbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the waiting pieces cost, for comparing with the bound.
    pub fn cost(&self) -> usize {
        self.bytes + self.pieces.len() * PIECE_OVERHEAD
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Piece) {
        self.bytes += piece.len();
        match self.pieces.back_mut() {
            Some(last) if last.is_followed_by(&piece) => last.end = piece.end,
            _ => self.pieces.push_back(piece),
        }
    }

    /// Puts what is left of an earlier outbox before everything in this one.
    pub fn put_back(&mut self, mut earlier: Self) {
        std::mem::swap(self, &mut earlier);
        self.bytes += earlier.bytes;
        self.pieces.append(&mut earlier.pieces);
    }

    /// The frames that wait, whole ones.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().flat_map(|piece| {
            let mut rest = piece.as_bytes();
            std::iter::from_fn(move || {
                let (frame, after) = rest.split_at(length_of(rest));
                rest = after;
                (!frame.is_empty()).then_some(frame)
            })
        })
    }

    /// Takes out the first frames, up to `count` of them.
    pub(crate) fn take_frames(&mut self, count: usize) -> Self {
        let mut left: usize = self.frames().take(count).map(<[u8]>::len).sum();
        let mut taken = Self::default();
        self.bytes -= left;
        while left > 0 {
            let Some(mut first) = self.pieces.pop_front() else { break };
            if first.len() > left {
                let mut rest = first.clone();
                first.end = first.start + left;
                rest.start = first.end;
                rest.boundary = first.end;
                self.pieces.push_front(rest);
            }
            left -= first.len();
            taken.push(first);
        }
        taken
    }

    /// Fills `slices` with the first pieces and says how many there are.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.as_bytes());
            count += 1;
        }
        count
    }

    /// Forgets the first `written` bytes.
    pub fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.pieces.front_mut() {
            if written < first.len() {
                first.start += written;
                return;
            }
            written -= first.len();
            self.pieces.pop_front();
        }
    }

    /// Lets go of large shared buffers of which little waits here: the client is slow, and the
    /// bound is on what is held in memory, not on what is referred to.
    pub fn detach(&mut self) {
        self.pieces.iter_mut().for_each(Piece::detach);
    }

    /// Forgets all but the rest of a frame that has been written in part.
    pub fn keep_started_frame(&mut self) {
        let Some(mut first) = self.pieces.pop_front() else { return };
        self.clear();
        let (begin, end) = first.current_frame();
        if begin < first.start {
            first.end = end;
            self.push(first);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
    }

    /// Gives back the queue's memory after a burst.
    pub fn rest(&mut self) {
        if self.pieces.is_empty() && self.pieces.capacity() > IDLE_CAPACITY {
            self.pieces = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests;
