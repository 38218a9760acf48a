//! The slots of a directory.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
};

use super::{Spool, SpoolConfig, SpoolError, disk, lock::SlotLock};

/// How many publishers can share a directory.
const MAX_SLOTS: usize = 1_000;

/// Digits of a slot's name.
const NAME_DIGITS: usize = 4;

/// See [`Spool::open_all`].
pub(super) fn open_all(config: &SpoolConfig) -> Result<VecDeque<Spool>, SpoolError> {
    let dir = &config.dir;
    disk::make_dir(dir)?;
    let (mut left, mut spare, mut skipped) = (Vec::new(), None, Vec::new());
    for slot in slots(dir)? {
        let path = path_of(dir, slot);
        let opened = match SlotLock::try_lock(&path) {
            Ok(None) => continue,
            Ok(Some(lock)) => Spool::open(lock, path, config),
            Err(error) => Err(error),
        };
        let spool = match opened {
            Ok(spool) => spool,
            Err(error) => {
                // Not a loss for all who share the directory: others are free.
                skipped.push(error.to_string());
                continue;
            }
        };
        if !spool.is_empty() {
            left.push(spool);
        } else if spare.is_none() {
            spare = Some(spool);
        }
    }
    left.sort_by_key(Spool::made_at_ms);
    if left.is_empty() {
        left.push(match spare {
            Some(spool) => spool,
            None => make(config)?,
        });
    }
    if let Some(own) = left.last_mut() {
        own.recovery.skipped = skipped;
    }
    Ok(left.into())
}

/// See [`SpoolConfig::check`].
pub(super) fn check(config: &SpoolConfig) -> Result<(), SpoolError> {
    disk::make_dir(&config.dir)?;
    let path = config.dir.join(format!(".check.{}.{:08x}", std::process::id(), fastrand::u32(..)));
    let file = disk::open_or_make(&path)?;
    let written = disk::write_at(&file, &path, b"synapse", 0);
    let removed = disk::remove(&path);
    written.and(removed)
}

/// A slot that nobody has made before.
fn make(config: &SpoolConfig) -> Result<Spool, SpoolError> {
    for slot in 0..MAX_SLOTS {
        let path = path_of(&config.dir, slot);
        if path.exists() {
            continue;
        }
        disk::make_dir(&path)?;
        // Another process may have been faster.
        if let Some(lock) = SlotLock::try_lock(&path)? {
            disk::sync_dir(&config.dir)?;
            let spool = Spool::open(lock, path, config)?;
            if spool.is_empty() {
                return Ok(spool);
            }
        }
    }
    Err(SpoolError::NoSlot { dir: config.dir.clone(), slots: MAX_SLOTS })
}

fn path_of(dir: &Path, slot: usize) -> PathBuf {
    dir.join(format!("{slot:0NAME_DIGITS$}"))
}

/// The numbers of the slots that there are, in order.
fn slots(dir: &Path) -> Result<Vec<usize>, SpoolError> {
    let failed = |error: &std::io::Error| SpoolError::io("list", dir, error);
    let mut slots = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let slot = name.parse().ok().filter(|slot| *slot < MAX_SLOTS && name.len() == NAME_DIGITS);
        if let Some(slot) = slot
            && entry.path().is_dir()
        {
            slots.push(slot);
        }
    }
    slots.sort_unstable();
    Ok(slots)
}
