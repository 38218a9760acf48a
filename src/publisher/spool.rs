//! Where a publisher keeps what redis can't take for now: a log of records on the disk, first in, first out.
//!
//! A directory has slots, numbered `0000` to `0999`; each belongs to one publisher of one process at a
//! time (see [`lock`]), and has a log of its own, a [`Spool`]: records in segments (see [`segment`] and
//! [`record`]), and a cursor which says what of them is done (see [`cursor`]). Records are opaque.
//!
//! What survives what:
//!
//! * What was appended survives the end of the process, `kill -9` included, as soon as
//!   [`Spool::append`] has returned; a power failure once [`Spool::sync`] has. So does what
//!   was settled; a power failure may bring back what was settled since the last sync.
//! * A batch that was being appended at that moment may come back in part: its first records, whole.
//! * A disk that is full, or fails otherwise, leaves what was there before.
//! * Bytes that have changed on the disk cost the records they belong to. What is sound behind them is
//!   read on, the loss is counted in [`Recovery`], and the file is kept for whoever wants to look.
//!
//! All of it is blocking input and output.

mod cursor;
mod disk;
mod error;
mod header;
mod lock;
mod open;
mod read;
mod record;
mod segment;
mod slots;

use std::{collections::VecDeque, ops::Range, path::PathBuf};

use self::{
    cursor::{Cursor, MAX_NOTE_BYTES},
    header::HEADER_BYTES,
    lock::SlotLock,
    record::MAX_PAYLOAD_BYTES,
    segment::{Position, Segment},
};

pub use error::SpoolError;

/// Segments of a spool with a small limit are smaller than this, so that what is done is removed bit by bit.
const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
const MIN_SEGMENT_BYTES: u64 = 64 * 1024;

/// A segment of which everything is done is emptied when it is larger than this.
const KEPT_SEGMENT_BYTES: u64 = 64 * 1024;

/// An encoding buffer larger than this is not kept.
const KEPT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Where what redis can't take is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The directory; made if it is not there. Publishers can share one.
    pub dir: PathBuf,
    /// How many bytes of one publisher may wait there. Default 1 GiB.
    pub max_bytes: u64,
}

/// What was wrong with a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recovery {
    /// Bytes of a batch that was being written when the process ended, cut off.
    pub torn_bytes: u64,
    /// Records that can't be read any more.
    pub lost: u64,
    /// The segments they were in, under the names that these get once the rest of them is done.
    pub damaged: Vec<PathBuf>,
    /// It was not known any more what is done: all that was there begins anew.
    pub is_cursor_lost: bool,
    /// Why other slots that nobody holds could not be opened; they are left as they are.
    pub skipped: Vec<String>,
}

/// One slot of a spool. Records are numbered from 0, the first that was ever appended to the slot.
///
/// Invariants: `first <= next_read <= end`; the segments are in order, and each goes to where the
/// next one begins, the last one to `end`.
pub(super) struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    segment_bytes: u64,
    segments: VecDeque<Segment>,
    cursor: Cursor,
    /// The first record that is not done.
    first: u64,
    next_read: u64,
    end: u64,
    /// All records numbered below are on the disk.
    kept_before: u64,
    /// Where the next record to read begins, in the segment with this first number, if it is known.
    position: Option<(u64, Position)>,
    /// Records not done that can't be read any more.
    lost: VecDeque<Range<u64>>,
    /// Segments were made or removed since the directory was synced.
    is_dir_dirty: bool,
    recovery: Recovery,
    buffer: Vec<u8>,
    lock: SlotLock,
}

// === impl SpoolConfig ===

impl SpoolConfig {
    /// A spool in this directory with the default limit.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_bytes: 1024 * 1024 * 1024 }
    }

    /// Whether the directory can be made and written to; nothing of it is taken.
    pub fn check(&self) -> Result<(), SpoolError> {
        slots::check(self)
    }
}

// === impl Spool ===

impl Spool {
    /// Locks and opens what lies under the directory: first the slots that others have left behind and that are
    /// not empty, oldest first; last the one to append to, which may be one of those.
    pub(super) fn open_all(config: &SpoolConfig) -> Result<VecDeque<Self>, SpoolError> {
        slots::open_all(config)
    }

    /// Appends all of these records, each given in parts, or none. Gives the number of the first.
    ///
    /// Together they must fit below the limit. A power failure may take them until [`Spool::sync`] has returned.
    pub(super) fn append<'p, P: AsRef<[&'p [u8]]>>(
        &mut self,
        records: impl IntoIterator<Item = P>,
    ) -> Result<u64, SpoolError> {
        self.check_ours()?;
        if !self.has_open_segment() {
            self.plan_segment()?;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let appended = self.append_to_last(records, &mut buffer);
        if buffer.capacity() <= KEPT_BUFFER_BYTES {
            self.buffer = buffer;
        }
        self.segments.pop_back_if(|last| last.len == 0);
        appended
    }

    fn append_to_last<'p, P: AsRef<[&'p [u8]]>>(
        &mut self,
        records: impl IntoIterator<Item = P>,
        buffer: &mut Vec<u8>,
    ) -> Result<u64, SpoolError> {
        let (number, bytes) = (self.end, self.bytes());
        let Some(last) = self.segments.back_mut() else { return Ok(number) };
        let is_new = last.len == 0;
        let encoded = last.encode(number, records, buffer).map_err(|bytes| SpoolError::RecordTooLarge {
            dir: self.dir.clone(),
            bytes,
            limit: MAX_PAYLOAD_BYTES,
        })?;
        if encoded.count == 0 {
            return Ok(number);
        }
        let header_bytes = if is_new { HEADER_BYTES } else { 0 };
        let needed = (buffer.len() - header_bytes) as u64;
        if bytes.saturating_add(needed) > self.max_bytes {
            return Err(SpoolError::Full { dir: self.dir.clone(), bytes, needed, limit: self.max_bytes });
        }
        let count = encoded.count;
        last.append(encoded, buffer)?;
        self.is_dir_dirty |= is_new;
        self.end += count;
        Ok(number)
    }

    /// Adds a segment that is on the disk once it is appended to.
    fn plan_segment(&mut self) -> Result<(), SpoolError> {
        // One that was sealed before it had any record would have the same name.
        while let Some(last) = self.segments.back().filter(|last| last.first == self.end) {
            last.remove()?;
            self.segments.pop_back();
            self.position = None;
        }
        self.segments.push_back(Segment::plan(&self.dir, self.end));
        Ok(())
    }

    /// Whether the last segment can be appended to.
    fn has_open_segment(&self) -> bool {
        let is_open =
            |last: &Segment| !last.is_sealed && last.len < self.segment_bytes && last.has_places(self.end);
        self.segments.back().is_some_and(is_open)
    }

    /// Returns when all that was appended is on the disk. If it fails, a power failure may take what
    /// [`Spool::is_synced`] does not say is there; it is there to be read all the same, and the next call tries again.
    pub(super) fn sync(&mut self) -> Result<(), SpoolError> {
        self.check_ours()?;
        let in_use = [self.segments.back().map(|last| last.first), self.position.map(|(first, _)| first)];
        for segment in &mut self.segments {
            segment.sync()?;
            if !in_use.contains(&Some(segment.first)) {
                segment.close();
            }
        }
        if self.is_dir_dirty {
            disk::sync_dir(&self.dir)?;
            self.is_dir_dirty = false;
        }
        self.kept_before = self.end;
        self.cursor.sync()
    }

    /// Whether all records that are not done are on the disk.
    pub(super) fn is_synced(&self) -> bool {
        self.kept_before.max(self.first) >= self.end
    }

    /// All records numbered below `before` are done; `note` is kept with that.
    ///
    /// It survives the end of the process, and a power failure once [`Spool::sync`] has returned. Segments of which
    /// everything is done are removed. A failure costs no record: at worst, some that are done come back.
    pub(super) fn settle(&mut self, before: u64, note: &[u8]) -> Result<(), SpoolError> {
        self.check_ours()?;
        if note.len() > MAX_NOTE_BYTES {
            return Err(SpoolError::NoteTooLarge { bytes: note.len(), limit: MAX_NOTE_BYTES });
        }
        self.first = before.clamp(self.first, self.end);
        self.pass_lost();
        let written = self.cursor.write(self.first, note);
        let removed = self.remove_done();
        match written {
            // What was removed may have made the room that the cursor lacked.
            Err(error) if error.is_no_room() => self.cursor.write(self.first, note)?,
            written => written?,
        }
        removed
    }

    /// What was kept with the last [`Spool::settle`]; nothing if there was none.
    pub(super) fn note(&self) -> &[u8] {
        &self.cursor.note
    }

    /// Removes segments of which everything is done.
    fn remove_done(&mut self) -> Result<(), SpoolError> {
        while self.segments.get(1).is_some_and(|second| second.first <= self.first) {
            self.remove_oldest()?;
        }
        if self.first < self.end {
            return Ok(());
        }
        match self.segments.front_mut() {
            Some(last) if last.is_sealed => self.remove_oldest(),
            Some(last) if last.len > KEPT_SEGMENT_BYTES => {
                self.position = None;
                last.empty()
            }
            _ => Ok(()),
        }
    }

    fn remove_oldest(&mut self) -> Result<(), SpoolError> {
        if let Some(oldest) = self.segments.front() {
            oldest.remove()?;
            self.position = self.position.filter(|(first, _)| *first != oldest.first);
            self.segments.pop_front();
            self.is_dir_dirty = true;
        }
        Ok(())
    }

    /// The number of the first record that is not done.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the record that is read next.
    pub(super) fn next_read(&self) -> u64 {
        self.next_read
    }

    /// The number that the next record appended gets.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How many records are not done.
    pub(super) fn len(&self) -> u64 {
        let lost: u64 = self.lost.iter().map(|lost| lost.end - lost.start).sum();
        self.end - self.first - lost
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// How many bytes the records that are not done have on the disk, up to some 16 KiB too many.
    pub(super) fn bytes(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let stored: u64 = self.segments.iter().map(Segment::record_bytes).sum();
        let done = self.segments.front().map_or(0, |front| front.record_bytes_before(self.first));
        stored.saturating_sub(done)
    }

    /// What was wrong with it when it was opened, and what was found since.
    pub(super) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// A child of `fork` has the handles of its parent, and would write over what that writes.
    fn check_ours(&self) -> Result<(), SpoolError> {
        if self.lock.is_ours() { Ok(()) } else { Err(SpoolError::Inherited { dir: self.dir.clone() }) }
    }
}

#[cfg(test)]
mod tests;
