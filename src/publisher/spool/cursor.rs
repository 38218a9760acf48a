//! What of a log is done, and the note that its user keeps with that.
//!
//! Three copies in three files. A new one is never written over the newest, nor over the newest that
//! is known to be on the disk: so neither a process that ends while it writes, nor a power failure,
//! takes both.
//!
//! ```text
//! magic 8 | format u32 | version of the cursor u64 | done u64 | length of the note u32 | checksum u32 | note
//! ```

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use super::{
    SpoolError, disk,
    header::{u32_at, u64_at},
    record::checksum,
};

const NAME: &str = "cursor";

const MAGIC: &[u8; 8] = b"syncursr";

/// The one format there is. Whatever the next ones are, all but the note stays where it is.
const FORMAT: u32 = 1;

/// What a copy has before its note.
const HEAD_BYTES: usize = 36;
const CHECKSUM_AT: usize = 32;

/// What a copy has at least on the disk, so that a small one finds room there when the disk is full.
const RESERVED_BYTES: usize = 4096;

/// How long a note may be.
pub(super) const MAX_NOTE_BYTES: usize = 1024 * 1024;

const COPIES: usize = 3;

pub(super) struct Cursor {
    copies: [CopyFile; COPIES],
    newest: usize,
    /// The newest that is known to be on the disk.
    kept: usize,
    version: u64,
    /// Every record numbered below is done.
    pub done: u64,
    pub note: Vec<u8>,
    buffer: Vec<u8>,
}

struct CopyFile {
    path: PathBuf,
    /// Once it was written to: a slot that waits its turn holds no handles but its lock's.
    file: Option<File>,
    len: u64,
}

/// One copy's content.
struct Copy {
    version: u64,
    done: u64,
    note: Vec<u8>,
}

impl Cursor {
    /// The newest sound copy in a directory; `None` if there is none.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, SpoolError> {
        let mut cursor = Self::empty(dir);
        let mut newest: Option<(usize, File, Copy)> = None;
        for (place, CopyFile { path, len, .. }) in cursor.copies.iter_mut().enumerate() {
            if !path.exists() {
                continue;
            }
            let file = disk::open(path)?;
            *len = disk::len(&file, path)?;
            let bytes = disk::read_at(&file, path, 0, HEAD_BYTES + MAX_NOTE_BYTES)?;
            if let Some(copy) = Copy::read(path, &bytes)?
                && newest.as_ref().is_none_or(|(.., newest)| newest.version < copy.version)
            {
                newest = Some((place, file, copy));
            }
        }
        let Some((newest, file, Copy { version, done, note })) = newest else { return Ok(None) };
        // Which copy is on the disk is not known: the newest has to be, before another one is written over.
        disk::sync(&file, &cursor.copies[newest].path)?;
        Ok(Some(Self { newest, kept: newest, version, done, note, ..cursor }))
    }

    /// A cursor for a directory in which there is none, or none that can be read.
    pub(super) fn make(dir: &Path, done: u64) -> Result<Self, SpoolError> {
        let mut cursor = Self::empty(dir);
        for CopyFile { path, len, .. } in &mut cursor.copies {
            let made = disk::open_or_make(path)?;
            disk::cut(&made, path, 0)?;
            disk::write_at(&made, path, &[0; RESERVED_BYTES], 0)?;
            *len = RESERVED_BYTES as u64;
        }
        cursor.write(done, &[])?;
        Ok(cursor)
    }

    fn empty(dir: &Path) -> Self {
        let copies = std::array::from_fn(|place| {
            let path = dir.join(format!("{NAME}.{place}"));
            CopyFile { path, file: None, len: 0 }
        });
        Self { copies, newest: 0, kept: 0, version: 0, done: 0, note: Vec::new(), buffer: Vec::new() }
    }

    /// Whether the newest copy is known to be on the disk.
    pub(super) fn is_kept(&self) -> bool {
        self.newest == self.kept
    }

    /// Writes a new copy; it survives the end of the process, but maybe not a power failure before [`Cursor::sync`].
    pub(super) fn write(&mut self, done: u64, note: &[u8]) -> Result<(), SpoolError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(SpoolError::NoteTooLarge { bytes: note.len(), limit: MAX_NOTE_BYTES });
        }
        encode(&mut self.buffer, self.version + 1, done, note);
        let place = (0..COPIES).find(|place| ![self.newest, self.kept].contains(place)).unwrap_or_default();
        let CopyFile { path, file, len } = &mut self.copies[place];
        let file = match file {
            Some(file) => file,
            None => file.insert(disk::open_or_make(path)?),
        };
        let bytes = self.buffer.len() as u64;
        // Before that is written which may be short of space otherwise.
        let needed = bytes.max(RESERVED_BYTES as u64);
        if *len > needed.saturating_mul(2) {
            disk::cut(file, path, needed)?;
            *len = needed;
        }
        disk::write_at(file, path, &self.buffer, 0)?;
        *len = bytes.max(*len);
        self.newest = place;
        self.version += 1;
        self.done = done;
        note.clone_into(&mut self.note);
        Ok(())
    }

    /// Returns when the newest copy is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), SpoolError> {
        if self.is_kept() {
            return Ok(());
        }
        let CopyFile { path, file, .. } = &self.copies[self.newest];
        if let Some(file) = file
            && let Err(error) = disk::sync(file, path)
        {
            // The system may have thrown the copy away, and would not say so again: write another one.
            let note = std::mem::take(&mut self.note);
            self.write(self.done, &note)?;
            return Err(error);
        }
        self.kept = self.newest;
        Ok(())
    }
}

impl Copy {
    fn read(path: &Path, bytes: &[u8]) -> Result<Option<Self>, SpoolError> {
        let Some((head, behind)) = bytes.split_at_checked(HEAD_BYTES) else { return Ok(None) };
        if !head.starts_with(MAGIC) {
            return Ok(None);
        }
        let note = behind.get(..u32_at(head, 28) as usize);
        let checked = note.filter(|note| content_checksum(head, note) == u32_at(head, CHECKSUM_AT));
        let Some(note) = checked else { return Ok(None) };
        let format = u32_at(head, 8);
        if format != FORMAT {
            return Err(SpoolError::UnknownFormat { path: path.to_owned(), version: format });
        }
        Ok(Some(Self { version: u64_at(head, 12), done: u64_at(head, 20), note: note.to_owned() }))
    }
}

fn encode(buffer: &mut Vec<u8>, version: u64, done: u64, note: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&FORMAT.to_le_bytes());
    buffer.extend_from_slice(&version.to_le_bytes());
    buffer.extend_from_slice(&done.to_le_bytes());
    let note_bytes = u32::try_from(note.len()).expect("a note is bounded far below 4 GiB");
    buffer.extend_from_slice(&note_bytes.to_le_bytes());
    let checksum = content_checksum(buffer, note);
    buffer.extend_from_slice(&checksum.to_le_bytes());
    buffer.extend_from_slice(note);
}

fn content_checksum(head: &[u8], note: &[u8]) -> u32 {
    checksum(checksum(0, &head[..CHECKSUM_AT]), note)
}
