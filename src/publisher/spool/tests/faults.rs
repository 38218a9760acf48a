//! Failures of the disk, on demand and for the thread that asked.

use std::{
    cell::{Cell, RefCell},
    io,
    path::Path,
};

use crate::publisher::spool::disk::Operation;

thread_local! {
    static SYNCS: Cell<bool> = const { Cell::new(true) };
    static FAULTS: RefCell<Vec<Fault>> = const { RefCell::new(Vec::new()) };
}

/// Which operation fails, and how.
#[derive(Clone, Copy, Debug)]
pub(in crate::publisher::spool) struct Fault {
    pub operation: Operation,
    /// How many of them go well before.
    pub after: u32,
    /// How many fail then.
    pub times: u32,
    /// How much of a write that fails is written.
    pub bytes: usize,
}

impl Fault {
    /// The next one fails.
    pub(in crate::publisher::spool) fn next(operation: Operation) -> Self {
        Self { operation, after: 0, times: 1, bytes: 0 }
    }
}

/// While it lives, what this thread does with the disk fails as it was told to.
pub(in crate::publisher::spool) struct Failing;

pub(in crate::publisher::spool) fn fail<const N: usize>(faults: [Fault; N]) -> Failing {
    FAULTS.set(faults.to_vec());
    Failing
}

impl Drop for Failing {
    fn drop(&mut self) {
        FAULTS.take();
    }
}

fn strikes(operation: Operation) -> Option<Fault> {
    FAULTS.with_borrow_mut(|faults| {
        let mut faults = faults.iter_mut();
        let fault = faults.find(|fault| fault.operation == operation && fault.times > 0)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        Some(*fault)
    })
}

pub(in crate::publisher::spool) fn permit(operation: Operation, _: &Path) -> io::Result<()> {
    match strikes(operation) {
        Some(_) => Err(io::Error::other("a test has it fail")),
        None => Ok(()),
    }
}

pub(in crate::publisher::spool) fn permit_bytes(bytes: &[u8], _: &Path) -> Option<usize> {
    strikes(Operation::Write).map(|fault| fault.bytes.min(bytes.len()))
}

/// From now on this thread spares the disk: for tests that bring about themselves what syncs are for, and for those
/// with many cases.
pub(in crate::publisher::spool) fn spare_the_disk() {
    SYNCS.set(false);
}

pub(in crate::publisher::spool) fn syncs() -> bool {
    SYNCS.get()
}
