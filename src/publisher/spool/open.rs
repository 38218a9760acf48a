//! Opening a slot: what of it is sound, and where its log ends.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
};

use super::{
    MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES, Recovery, Spool, SpoolConfig, SpoolError,
    cursor::Cursor,
    disk,
    header::HEADER_BYTES,
    lock::SlotLock,
    segment::{ChunkEnd, Position, Segment},
};

/// How much of the last segment is looked at at once.
const SCAN_BYTES: usize = 1024 * 1024;

impl Spool {
    /// Opens the log in a slot that was locked.
    pub(super) fn open(lock: SlotLock, dir: PathBuf, config: &SpoolConfig) -> Result<Self, SpoolError> {
        let segments = open_segments(&dir)?;
        let lowest = segments.front().map_or(0, |segment| segment.first);
        let mut recovery = Recovery::default();
        let cursor = if let Some(cursor) = Cursor::open(&dir)? {
            cursor
        } else {
            recovery.is_cursor_lost = !segments.is_empty();
            Cursor::make(&dir, lowest)?
        };
        let first = cursor.done.max(lowest);
        let mut spool = Self {
            dir,
            max_bytes: config.max_bytes,
            segment_bytes: (config.max_bytes / 8).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES),
            segments,
            cursor,
            first,
            next_read: first,
            end: first,
            kept_before: first,
            position: None,
            lost: VecDeque::new(),
            is_dir_dirty: true,
            recovery,
            buffer: Vec::new(),
            lock,
        };
        spool.find_end()?;
        spool.remove_done()?;
        Ok(spool)
    }

    /// When the oldest record that is not done was appended, or somewhat before: milliseconds since 1970.
    pub(super) fn made_at_ms(&self) -> u64 {
        self.segments.front().map_or(0, Segment::made_at_ms)
    }

    /// Reads the last segment through, and cuts off what was not written to its end.
    fn find_end(&mut self) -> Result<(), SpoolError> {
        while let Some(last) = self.segments.pop_back_if(|last| !last.has_header()) {
            self.drop_headless(last)?;
        }
        let Some(last) = self.segments.len().checked_sub(1) else { return Ok(()) };
        let mut at = self.segments[last].position_before(0);
        loop {
            let chunk = self.segments[last].read(at, u64::MAX, SCAN_BYTES)?;
            at = chunk.next;
            match chunk.end {
                ChunkEnd::Limit => {}
                ChunkEnd::Segment => break,
                ChunkEnd::Damage => match self.pass_end_damage(last, at)? {
                    Some(sound) => at = sound,
                    None => break,
                },
            }
        }
        let last = &mut self.segments[last];
        last.close();
        let end = at.number.unwrap_or(last.first);
        self.end = self.end.max(end);
        // The places of a segment follow each other, but for the first.
        last.is_sealed |= at.number.is_some_and(|number| number < self.end);
        self.pass_lost();
        Ok(())
    }

    /// The first sound record behind a damaged place of the last segment; if there is none, the rest is cut off.
    fn pass_end_damage(&mut self, last: usize, damage: Position) -> Result<Option<Position>, SpoolError> {
        let segment = &mut self.segments[last];
        let after = damage.number.unwrap_or(segment.first);
        let sound = segment.search(damage.offset, after, u64::MAX)?;
        if let Some(number) = sound.and_then(|sound| sound.number) {
            segment.is_sealed = true;
            self.lose(Some(last), after..number);
        } else {
            self.recovery.torn_bytes += segment.len - damage.offset;
            segment.cut(damage.offset)?;
        }
        Ok(sound)
    }

    /// Takes away a last segment of which nothing can be read.
    fn drop_headless(&mut self, mut segment: Segment) -> Result<(), SpoolError> {
        self.is_dir_dirty = true;
        if segment.len < HEADER_BYTES as u64 {
            self.recovery.torn_bytes += segment.len;
            return disk::remove(&segment.path);
        }
        segment.is_damaged = true;
        self.recovery.damaged.push(segment.damaged_path());
        segment.remove()
    }
}

/// The segments in a slot, in order. What a process that ended has left unfinished beside them is removed.
fn open_segments(dir: &Path) -> Result<VecDeque<Segment>, SpoolError> {
    let mut numbers = Vec::new();
    let failed = |error: &std::io::Error| SpoolError::io("list", dir, error);
    for entry in fs::read_dir(dir).map_err(|error| failed(&error))? {
        let name = entry.map_err(|error| failed(&error))?.file_name();
        let name = name.to_string_lossy();
        if let Some(number) = Segment::number_of(&name) {
            numbers.push((number, dir.join(&*name)));
        } else if Segment::is_unfinished(&name) {
            disk::remove(&dir.join(&*name))?;
        }
    }
    numbers.sort_unstable();
    numbers.into_iter().map(|(number, path)| Segment::open(path, number)).collect()
}
