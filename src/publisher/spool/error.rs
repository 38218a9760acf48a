//! What can go wrong with a spool.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why something can't be kept on disk, or not be had from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// More would wait than is allowed. Nothing was written.
    #[error(
        "the spool {} is full: {bytes} bytes wait for redis, and {needed} more would exceed the limit of {limit}; \
         bring redis back, or raise the limit", dir.display()
    )]
    Full {
        /// Where the records are.
        dir: PathBuf,
        /// Bytes that wait.
        bytes: u64,
        /// Bytes that were to be added.
        needed: u64,
        /// What [`max_bytes`](super::SpoolConfig::max_bytes) allows.
        limit: u64,
    },
    /// The operating system refuses.
    #[error("can't {action} {}: {reason}; {}", path.display(), advice(*kind))]
    Io {
        /// What was to be done, for example `write to`.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's words.
        reason: String,
        /// What kind of trouble it is.
        kind: io::ErrorKind,
    },
    /// Something else has the name of the directory.
    #[error("{} is not a directory; name one for the spool that exists or can be made", path.display())]
    NotADirectory {
        /// What is none.
        path: PathBuf,
    },
    /// Other publishers have all places of the directory.
    #[error(
        "all {slots} places of the spool {} are in use by other publishers; close some, or name another directory",
        dir.display()
    )]
    NoSlot {
        /// The directory.
        dir: PathBuf,
        /// How many places it has.
        slots: usize,
    },
    /// A later version of this library wrote it. It was left as it is.
    #[error(
        "{} has the unknown format {version}; let the version of this library that wrote it send what is in it, \
         or move it away", path.display()
    )]
    UnknownFormat {
        /// Which file.
        path: PathBuf,
        /// The format it names.
        version: u32,
    },
    /// No record may have that many bytes. Nothing was written.
    #[error("a record of {bytes} bytes can't be kept in the spool {}: the limit is {limit}", dir.display())]
    RecordTooLarge {
        /// The spool.
        dir: PathBuf,
        /// Bytes of the record.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// No note may have that many bytes. Nothing was written.
    #[error("a note of {bytes} bytes can't be kept in a spool: the limit is {limit}")]
    NoteTooLarge {
        /// Bytes of the note.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// This process is a fork of the one that opened the spool.
    #[error("the spool {} belongs to the process that this one was forked from; open one of its own", dir.display())]
    Inherited {
        /// The spool.
        dir: PathBuf,
    },
}

impl SpoolError {
    pub(super) fn io(action: &'static str, path: &Path, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotADirectory {
            return Self::NotADirectory { path: path.to_owned() };
        }
        Self::Io { action, path: path.to_owned(), reason: error.to_string(), kind: error.kind() }
    }

    /// Whether there is no room: on the disk, in the quota or below the limit. More may fit later.
    pub fn is_no_room(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io { kind, .. } => is_no_space(*kind),
            _ => false,
        }
    }
}

fn is_no_space(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        kind if is_no_space(kind) => "free space there, or name another directory for the spool",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let this process write there, or name another directory for the spool"
        }
        _ => "look after the disk, or name another directory for the spool",
    }
}
