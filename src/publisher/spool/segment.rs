//! One file of the log: a header, and records one behind the other.

mod scan;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use super::{
    SpoolError, disk,
    header::{HEADER_BYTES, Header},
    record,
};

pub(super) use scan::{Chunk, ChunkEnd, Position};

/// A place to begin reading at is remembered at least this many bytes behind the last.
const MARK_BYTES: u64 = 16 * 1024;

/// How much of a file is copied at once.
const COPY_BYTES: usize = 256 * 1024;

const EXTENSION: &str = "log";

/// In place of the other one until the file is whole.
const UNFINISHED: &str = "new";

/// Digits of `u64::MAX`, so that names sort as numbers do.
const NAME_DIGITS: usize = 20;

pub(super) struct Segment {
    pub first: u64,
    pub path: PathBuf,
    /// `None` if neither copy of it is sound.
    header: Option<Header>,
    /// Behind the last byte that belongs to the log.
    pub len: u64,
    file: Option<File>,
    /// Where some of its records begin, in order.
    marks: Vec<(u64, u64)>,
    /// Nothing more is appended.
    pub is_sealed: bool,
    /// Some of it can't be read: it is kept under another name when the rest is done.
    pub is_damaged: bool,
    state: State,
}

/// Records as they are to be written.
#[derive(Default)]
pub(super) struct Encoded {
    pub count: u64,
    marks: Vec<(u64, u64)>,
}

/// Whether what was written to a segment is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Synced,
    Unsynced,
    /// A sync has failed: whatever the next one says, what was written before it may be gone.
    Doubtful,
}

impl Segment {
    /// A segment that is not on the disk yet; the first append writes the header too.
    pub(super) fn plan(dir: &Path, first: u64) -> Self {
        Self::with(dir.join(format!("{first:0NAME_DIGITS$}.{EXTENSION}")), first, Some(Header::new(first)), 0)
    }

    fn with(path: PathBuf, first: u64, header: Option<Header>, len: u64) -> Self {
        Self {
            first,
            path,
            header,
            len,
            file: None,
            marks: Vec::new(),
            is_sealed: false,
            is_damaged: false,
            state: State::Unsynced,
        }
    }

    /// The number that a segment's name stands for; `None` if it is not one of a segment.
    pub(super) fn number_of(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
        let is_number = digits.len() == NAME_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
        if is_number { digits.parse().ok() } else { None }
    }

    /// Whether a name is one of what a process may leave behind when it ends at a bad moment.
    pub(super) fn is_unfinished(name: &str) -> bool {
        name.strip_suffix(UNFINISHED).is_some_and(|stem| stem.ends_with('.'))
    }

    pub(super) fn open(path: PathBuf, first: u64) -> Result<Self, SpoolError> {
        let file = disk::open(&path)?;
        let len = disk::len(&file, &path)?;
        let header = Header::read(&path, &disk::read_at(&file, &path, 0, HEADER_BYTES)?)?;
        // Nothing is appended behind one that is not whole.
        let header = header.filter(|header| header.first == first && len >= HEADER_BYTES as u64);
        Ok(Self { is_sealed: header.is_none(), ..Self::with(path, first, header, len) })
    }

    pub(super) fn has_header(&self) -> bool {
        self.header.is_some()
    }

    /// What the checksums of its records begin with.
    fn seed(&self) -> Option<u32> {
        self.header.as_ref().map(Header::seed)
    }

    /// When it was made, as milliseconds since 1970; 0 if that can't be read.
    pub(super) fn made_at_ms(&self) -> u64 {
        self.header.as_ref().map_or(0, |header| header.made_at_ms)
    }

    /// Bytes of its records.
    pub(super) fn record_bytes(&self) -> u64 {
        self.len.saturating_sub(HEADER_BYTES as u64)
    }

    /// Whether records from `number` on can have a place in it.
    pub(super) fn has_places(&self, number: u64) -> bool {
        number - self.first < u64::from(u32::MAX / 2)
    }

    /// Puts records as [`Segment::append`] writes them into `buffer`; if one can't be kept, gives its size.
    pub(super) fn encode<'p, P: AsRef<[&'p [u8]]>>(
        &self,
        number: u64,
        records: impl IntoIterator<Item = P>,
        buffer: &mut Vec<u8>,
    ) -> Result<Encoded, usize> {
        buffer.clear();
        let mut encoded = Encoded::default();
        // One without a header is sealed, and never comes here.
        let Some(header) = &self.header else { return Ok(encoded) };
        if self.len == 0 {
            header.write(buffer);
        }
        let seed = header.seed();
        for (number, parts) in (number..).zip(records) {
            let offset = self.len + buffer.len() as u64;
            if self.is_mark_due(encoded.marks.last(), offset) {
                encoded.marks.push((number, offset));
            }
            let place = u32::try_from(number - self.first).expect("so many records do not fit into memory");
            record::push(buffer, seed, place, parts.as_ref())?;
            encoded.count += 1;
        }
        Ok(encoded)
    }

    /// Writes what was encoded behind the last record, all of it or nothing.
    pub(super) fn append(&mut self, encoded: Encoded, buffer: &[u8]) -> Result<(), SpoolError> {
        let len = self.len;
        let written = self.file().and_then(|(file, path)| disk::write_at(file, path, buffer, len));
        if let Err(error) = written {
            self.undo_append();
            return Err(error);
        }
        self.marks.extend(encoded.marks);
        self.len += buffer.len() as u64;
        if self.state == State::Synced {
            self.state = State::Unsynced;
        }
        Ok(())
    }

    /// If what was written in part can't be taken back, it stays the last that was ever written to this file.
    fn undo_append(&mut self) {
        let len = self.len;
        if len == 0 {
            // Not in the log yet. Should it stay there, then the next attempt writes over it.
            self.close();
            let _ = disk::remove(&self.path);
            return;
        }
        let undone = self.file().and_then(|(file, path)| disk::cut(file, path, len));
        self.is_sealed |= undone.is_err();
    }

    /// Cuts off what lies behind `len` bytes.
    pub(super) fn cut(&mut self, len: u64) -> Result<(), SpoolError> {
        let (file, path) = self.file()?;
        disk::cut(file, path, len)?;
        self.len = len;
        self.marks.retain(|(_, offset)| *offset < len);
        Ok(())
    }

    /// Takes all records out of it. The next one has whichever place comes next.
    pub(super) fn empty(&mut self) -> Result<(), SpoolError> {
        self.cut(HEADER_BYTES as u64)
    }

    /// Returns when all that was appended is on the disk.
    ///
    /// After a failed sync the system may have thrown away what it could not write, and says so only once. So
    /// the file is then written anew, from what the system still has of it.
    pub(super) fn sync(&mut self) -> Result<(), SpoolError> {
        if self.state == State::Unsynced {
            let (file, path) = self.file()?;
            let synced = disk::sync(file, path);
            self.state = if synced.is_ok() { State::Synced } else { State::Doubtful };
        }
        if self.state == State::Doubtful {
            self.write_anew()?;
            self.state = State::Synced;
        }
        Ok(())
    }

    pub(super) fn is_synced(&self) -> bool {
        self.state == State::Synced
    }

    fn write_anew(&mut self) -> Result<(), SpoolError> {
        let len = self.len;
        let (file, path) = self.file()?;
        let new_path = path.with_extension(UNFINISHED);
        let new = disk::open_or_make(&new_path)?;
        disk::cut(&new, &new_path, 0)?;
        let mut at = 0;
        while at < len {
            let window = usize::try_from(len - at).unwrap_or(usize::MAX).min(COPY_BYTES);
            let bytes = disk::read_at(file, path, at, window)?;
            if bytes.is_empty() {
                break;
            }
            disk::write_at(&new, &new_path, &bytes, at)?;
            at += bytes.len() as u64;
        }
        disk::sync(&new, &new_path)?;
        disk::rename(&new_path, path)?;
        self.file = Some(new);
        self.path.parent().map_or(Ok(()), disk::sync_dir)
    }

    /// Takes the file away; a damaged one is kept under another name.
    pub(super) fn remove(&self) -> Result<(), SpoolError> {
        if self.is_damaged {
            disk::rename(&self.path, &self.damaged_path())
        } else {
            disk::remove(&self.path)
        }
    }

    /// Under which name it is kept if it is damaged.
    pub(super) fn damaged_path(&self) -> PathBuf {
        self.path.with_extension(format!("{EXTENSION}.damaged"))
    }

    /// Gives the file's handle back until it is needed again.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Where to begin reading to come to a record.
    pub(super) fn position_before(&self, number: u64) -> Position {
        match self.mark_before(number) {
            Some((number, offset)) => Position { offset, number: Some(number) },
            None => Position { offset: HEADER_BYTES as u64, number: None },
        }
    }

    /// How many bytes of records are known to lie before a record.
    pub(super) fn record_bytes_before(&self, number: u64) -> u64 {
        self.mark_before(number).map_or(0, |(_, offset)| offset - HEADER_BYTES as u64)
    }

    fn mark_before(&self, number: u64) -> Option<(u64, u64)> {
        let behind = self.marks.partition_point(|(marked, _)| *marked <= number);
        behind.checked_sub(1).map(|place| self.marks[place])
    }

    fn mark(&mut self, number: u64, offset: u64) {
        if self.is_mark_due(None, offset) {
            self.marks.push((number, offset));
        }
    }

    /// Whether a place is far enough behind the last that is remembered, or that is about to be.
    fn is_mark_due(&self, last: Option<&(u64, u64)>, offset: u64) -> bool {
        let last = last.or(self.marks.last()).map_or(HEADER_BYTES as u64, |(_, offset)| *offset);
        offset >= last + MARK_BYTES
    }

    fn file(&mut self) -> Result<(&File, &Path), SpoolError> {
        let file = match self.file.take() {
            Some(file) => file,
            // A planned one is made, over whatever a failed attempt has left there.
            None if self.len == 0 => disk::open_or_make(&self.path)?,
            None => disk::open(&self.path)?,
        };
        Ok((self.file.insert(file), &self.path))
    }
}
