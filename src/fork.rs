//! Noticing that this process is the child of a `fork`.
//!
//! A child has copies of its parent's memory: random generators that would repeat their sequence,
//! queues that are the parent's, handles of threads that do not run. Asking for the process id on
//! every event would tell, but is a system call (about 60 ns); [`generation`] is one load.

use std::sync::{
    Once,
    atomic::{AtomicU64, Ordering},
};

static GENERATION: AtomicU64 = AtomicU64::new(1);

/// How many forks lie between this process and the one that first asked, plus one.
///
/// A value kept from before a fork differs from what the child gets; it never changes otherwise.
/// Never 0, so that 0 can stand for "not yet asked".
#[inline]
pub fn generation() -> u64 {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(count_forks);
    GENERATION.load(Ordering::Relaxed)
}

/// Has the C library count up in every child from now on.
#[cfg(unix)]
#[expect(unsafe_code, reason = "the C library offers no other way to learn of a fork without a system call")]
fn count_forks() {
    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler is a function of this library, which stays loaded while the process
    // lives (the C library drops handlers of a library that is unloaded). It runs in the child
    // before `fork` returns there and does nothing but a lock-free addition, which is
    // async-signal-safe.
    let status = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    assert!(status == 0, "no memory to register the fork handler (error {status})");
}

#[cfg(not(unix))]
fn count_forks() {}

#[cfg(test)]
mod tests;
