//! One of something per process.
//!
//! A child of `fork` finds by [`fork::generation`] that what there is is its parent's, leaves it untouched (leaked, no
//! lock taken) and makes its own.

use std::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::fork;

/// A place for one `T` per process, which stays until the process ends.
pub(super) struct PerProcess<T: 'static>(AtomicPtr<Owned<T>>);

struct Owned<T> {
    generation: u64,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// That of this process, if there is one.
    pub(super) fn get(&self) -> Option<&'static T> {
        let owned = leaked(self.0.load(Ordering::Acquire))?;
        (owned.generation == fork::generation()).then_some(&owned.value)
    }

    /// That of this process: `value`, unless there is one; and whether it is `value`.
    pub(super) fn get_or_set(&self, value: T) -> (&'static T, bool) {
        let generation = fork::generation();
        if let Some(known) = self.get() {
            return (known, false);
        }
        // One that loses a race is leaked as well: that happens once in a process's life, if ever.
        let new: &'static Owned<T> = Box::leak(Box::new(Owned { generation, value }));
        let mut current = self.0.load(Ordering::Acquire);
        loop {
            if let Some(owned) = leaked(current)
                && owned.generation == generation
            {
                return (&owned.value, false);
            }
            let new = ptr::from_ref(new).cast_mut();
            match self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(other) => current = other,
            }
        }
        (&new.value, true)
    }
}

#[expect(unsafe_code, reason = "an atomic pointer is the only shared place that needs no lock after a fork")]
fn leaked<T>(owned: *mut Owned<T>) -> Option<&'static Owned<T>> {
    // SAFETY: the pointer is null, or came from `Box::leak` in `get_or_set` and is never freed. Only shared references are made of it, and `T` is `Sync`.
    unsafe { owned.as_ref() }
}
