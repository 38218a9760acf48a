//! Whose a slot is.
//!
//! The invariant: at any moment at most one [`SlotLock`] exists for a slot, in one process. Between
//! processes a POSIX record lock on the slot's lock file sees to that; it ends with the process,
//! however that ends, and a child of `fork` does not have it. Within a process such locks do not
//! exclude, and any closing of the file lets go of the lock, whichever handle it was. So the
//! registry of this process says which slots it holds, and nothing here opens the lock file of a
//! slot that is in it. A child finds by [`fork::generation`] that the registry is its parent's and
//! begins an empty one; the parent's is leaked with the lock of whatever thread held it.

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use rustix::{
    fs::{FlockOperation, fcntl_lock},
    io::Errno,
};

use super::{SpoolError, disk};
use crate::{fork, sync::Mutex};

const NAME: &str = "lock";

/// Which directory, whatever path it is reached by: device and inode.
type SlotId = (u64, u64);

struct Registry {
    generation: u64,
    held: Mutex<HashSet<SlotId>>,
}

static REGISTRY: AtomicPtr<Registry> = AtomicPtr::new(ptr::null_mut());

/// While it lives, a slot belongs to who has it.
pub(super) struct SlotLock {
    id: SlotId,
    registry: &'static Registry,
    /// Holds the lock; taken out only at the end.
    file: Option<File>,
}

impl SlotLock {
    /// Takes a slot if nobody has it.
    pub(super) fn try_lock(slot: &Path) -> Result<Option<Self>, SpoolError> {
        let metadata = slot.metadata().map_err(|error| SpoolError::io("look at", slot, &error))?;
        let id = (metadata.dev(), metadata.ino());
        let registry = registry();
        // Held while the file is opened, locked or closed: nobody else of this process does so meanwhile.
        let mut held = registry.held.lock();
        if held.contains(&id) {
            return Ok(None);
        }
        let path = slot.join(NAME);
        let file = disk::open_or_make(&path)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::ACCESS | Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(SpoolError::io("lock", &path, &io::Error::from(error))),
        }
        held.insert(id);
        Ok(Some(Self { id, registry, file: Some(file) }))
    }

    /// Whether this process has taken it, and not the one it was forked from.
    pub(super) fn is_ours(&self) -> bool {
        self.registry.generation == fork::generation()
    }
}

impl Drop for SlotLock {
    fn drop(&mut self) {
        if self.is_ours() {
            let mut held = self.registry.held.lock();
            drop(self.file.take());
            held.remove(&self.id);
        } else {
            // Closing it would let go of the lock, should this child have taken the slot since.
            std::mem::forget(self.file.take());
        }
    }
}

fn registry() -> &'static Registry {
    let generation = fork::generation();
    loop {
        let current = REGISTRY.load(Ordering::Acquire);
        if let Some(registry) = leaked(current)
            && registry.generation == generation
        {
            return registry;
        }
        let new = Box::into_raw(Box::new(Registry { generation, held: Mutex::default() }));
        // Of those that threads may make at once, one stays.
        let _ = REGISTRY.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire);
    }
}

#[expect(unsafe_code, reason = "an atomic pointer is the only shared place that needs no lock after a fork")]
fn leaked(registry: *mut Registry) -> Option<&'static Registry> {
    // SAFETY: the pointer is null, or came from `Box::into_raw` in `registry` and is never freed.
    unsafe { registry.as_ref() }
}
