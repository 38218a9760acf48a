//! What the spool does with files. Each error names the file and what was to be done.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{buffer::spare_capacity, io::retry_on_intr};

use super::SpoolError;

/// Events may hold what is nobody else's business.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Makes a directory and those above it, unless they are there.
pub(super) fn make_dir(path: &Path) -> Result<(), SpoolError> {
    let made = DirBuilder::new().recursive(true).mode(DIR_MODE).create(path);
    match made {
        // What is there is no directory, or one above it is not.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(SpoolError::NotADirectory { path: path.to_owned() })
        }
        made => made.map_err(|error| SpoolError::io("make the directory", path, &error)),
    }
}

/// Opens a file for reading and writing; makes it if it is not there.
pub(super) fn open_or_make(path: &Path) -> Result<File, SpoolError> {
    let opened = permit(Operation::Make, path).and_then(|()| {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
    });
    opened.map_err(|error| SpoolError::io("make", path, &error))
}

/// Opens a file for reading and writing that is there.
pub(super) fn open(path: &Path) -> Result<File, SpoolError> {
    let opened =
        permit(Operation::Open, path).and_then(|()| OpenOptions::new().read(true).write(true).open(path));
    opened.map_err(|error| SpoolError::io("open", path, &error))
}

pub(super) fn write_at(file: &File, path: &Path, bytes: &[u8], offset: u64) -> Result<(), SpoolError> {
    let permitted = permit_bytes(bytes, path);
    let written = file.write_all_at(&bytes[..permitted.unwrap_or(bytes.len())], offset);
    let written = match permitted {
        Some(_) => written.and(Err(io::ErrorKind::StorageFull.into())),
        None => written,
    };
    written.map_err(|error| SpoolError::io("write to", path, &error))
}

/// The bytes from `offset` on: `len` of them, or those that there are.
pub(super) fn read_at(file: &File, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>, SpoolError> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset + bytes.len() as u64;
        let count = permit(Operation::Read, path)
            .and_then(|()| Ok(retry_on_intr(|| rustix::io::pread(file, spare_capacity(&mut bytes), at))?));
        match count {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(SpoolError::io("read from", path, &error)),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

pub(super) fn len(file: &File, path: &Path) -> Result<u64, SpoolError> {
    let metadata = file.metadata().map_err(|error| SpoolError::io("look at", path, &error))?;
    Ok(metadata.len())
}

/// Cuts the file behind `len` bytes.
pub(super) fn cut(file: &File, path: &Path, len: u64) -> Result<(), SpoolError> {
    let cut = permit(Operation::Cut, path).and_then(|()| file.set_len(len));
    cut.map_err(|error| SpoolError::io("shorten", path, &error))
}

/// Returns when what was written to the file is on the disk.
pub(super) fn sync(file: &File, path: &Path) -> Result<(), SpoolError> {
    let synced = permit(Operation::Sync, path).and_then(|()| if syncs() { file.sync_data() } else { Ok(()) });
    synced.map_err(|error| SpoolError::io("have the disk keep", path, &error))
}

/// Returns when the names in a directory are on the disk.
pub(super) fn sync_dir(path: &Path) -> Result<(), SpoolError> {
    let synced = permit(Operation::Sync, path)
        .and_then(|()| if syncs() { File::open(path)?.sync_all() } else { Ok(()) });
    synced.map_err(|error| SpoolError::io("have the disk keep", path, &error))
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), SpoolError> {
    let renamed = permit(Operation::Rename, from).and_then(|()| fs::rename(from, to));
    renamed.map_err(|error| SpoolError::io("rename", from, &error))
}

/// Removes a file; that it is not there is as good.
pub(super) fn remove(path: &Path) -> Result<(), SpoolError> {
    match permit(Operation::Remove, path).and_then(|()| fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SpoolError::io("remove", path, &error)),
        _ => Ok(()),
    }
}

/// What a test can have fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Make,
    Open,
    Read,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "writing fails after so many bytes, which is a fault of its own")
    )]
    Write,
    Cut,
    Sync,
    Rename,
    Remove,
}

#[cfg(test)]
use super::tests::faults::{permit, permit_bytes, syncs};

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it is not always so")]
#[inline]
fn permit(_: Operation, _: &Path) -> io::Result<()> {
    Ok(())
}

/// How many bytes may be written before the disk is full; `None` for all.
#[cfg(not(test))]
#[inline]
fn permit_bytes(_: &[u8], _: &Path) -> Option<usize> {
    None
}

/// Whether the disk is asked at all.
#[cfg(not(test))]
#[inline]
fn syncs() -> bool {
    true
}
