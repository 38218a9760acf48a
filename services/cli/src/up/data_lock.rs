//! One `synapse up` per data directory: two servers on one append-only file would destroy it.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// The file in the directory that is locked, and holds the process id of who locked it.
const FILE_NAME: &str = "synapse-up.lock";
/// How long the children of an `up` that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the directory can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Somebody else's.
    #[error(
        "{} is in use by another synapse up{}; stop that one, or set DATA_DIR to another directory",
        directory.display(),
        owner.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process that locked it, if it wrote its id.
        owner: Option<u32>,
    },
    /// Can't be made or written.
    #[error("{} can't be used: {source}; set DATA_DIR to a directory that can be written to", directory.display())]
    Unusable {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The right to run a server on a directory, as long as this and all its [shares](DataLock::share) are open.
#[derive(Debug)]
pub(crate) struct DataLock {
    file: File,
}

impl DataLock {
    /// Makes the directory if need be and locks it, waiting a moment for the leftovers of an earlier `up` to go.
    pub(crate) async fn acquire(directory: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable { directory: directory.to_owned(), source };
        // For its owner alone: the events in it are nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
        let mut file = open(&directory.join(FILE_NAME)).map_err(unusable)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                // An owner that lives will not be gone in a moment; one that was killed takes its server with it.
                Err(TryLockError::WouldBlock)
                    if Instant::now() < deadline && !owner(&mut file).is_some_and(is_alive) =>
                {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let owner = owner(&mut file);
                    return Err(LockError::InUse { directory: directory.to_owned(), owner });
                }
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
            }
        }
        sign(&mut file).map_err(unusable)?;
        Ok(Self { file })
    }

    /// Another handle of the same lock, for the server itself: it is held until the server too has ended.
    pub(crate) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn owner(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

#[cfg(test)]
mod tests;
