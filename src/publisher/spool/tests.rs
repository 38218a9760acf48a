//! Tests of the spool.

mod damage;
mod failures;
pub(super) mod faults;
mod log;
mod model;
mod processes;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Spool, SpoolConfig, SpoolError, read::Records};

/// A directory with one slot in use at most.
struct Bench {
    dir: TempDir,
    max_bytes: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with_limit(1024 * 1024 * 1024)
    }

    fn with_limit(max_bytes: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let is_spared = !faults::syncs() && memory.is_dir();
        let dir = if is_spared { TempDir::new_in(memory) } else { TempDir::new() };
        Self { dir: dir.unwrap(), max_bytes }
    }

    fn config(&self) -> SpoolConfig {
        SpoolConfig { dir: self.dir.path().join("spool"), max_bytes: self.max_bytes }
    }

    fn slot(&self) -> PathBuf {
        self.config().dir.join("0000")
    }

    /// The one spool that is there.
    fn open(&self) -> Spool {
        let mut spools = Spool::open_all(&self.config()).unwrap();
        assert_eq!(spools.len(), 1, "there is one slot");
        spools.pop_back().unwrap()
    }
}

fn append(spool: &mut Spool, records: &[&[u8]]) -> Result<u64, SpoolError> {
    spool.append(records.iter().map(|record| [*record]))
}

/// Everything from the next record on.
fn drain(spool: &mut Spool) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let records = spool.read(4096).unwrap();
        if records.is_empty() {
            return all;
        }
        all.extend(owned(&records));
    }
}

fn owned(records: &Records) -> impl Iterator<Item = (u64, Vec<u8>)> {
    records.iter().map(|(number, record)| (number, record.to_owned()))
}

fn contents(records: &[(u64, Vec<u8>)]) -> Vec<&[u8]> {
    records.iter().map(|(_, record)| record.as_slice()).collect()
}

/// The names of the files in a directory that are segments or come from one, in order.
fn segment_files(slot: &Path) -> Vec<String> {
    let names = std::fs::read_dir(slot).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.contains(".log"));
    names.sort();
    names
}
