//! Children that die with us, whatever ends us.
//!
//! The one place with unsafe code of this program. `PR_SET_PDEATHSIG` makes the kernel send a signal to a child
//! when its parent ends, even by SIGKILL. Two traps:
//!
//! * "Parent" means the *thread* that forked. A child forked by a worker of a thread pool would be killed when the
//!   pool retires that thread. So only the main thread may fork, which ends with the process; `up` runs its
//!   runtime there, and [`hold`] refuses to do its work anywhere else.
//! * A parent that dies between `fork` and `prctl` sends nothing. So the child looks at who its parent is after
//!   the call, and gives up if that is not us.

use std::io;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::process::Command;

/// Has the kernel kill the child that this command starts (SIGKILL) when this process ends.
///
/// # Errors
///
/// Outside the main thread, whose end alone is the end of the process.
pub(crate) fn hold(command: &mut Command) -> io::Result<()> {
    if rustix::thread::gettid() != getpid() {
        return Err(io::Error::other("children can be started from the main thread only"));
    }
    let parent = getpid();
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe calls are allowed.
    // It makes two bare system calls (prctl, getppid) and builds errors that hold a number; it allocates nothing,
    // takes no lock and touches no memory of the parent but the copied `parent`.
    #[expect(unsafe_code, reason = "pre_exec is the only way to call prctl in the child before exec")]
    unsafe {
        command.pre_exec(move || leash_to(parent));
    }
    Ok(())
}

fn leash_to(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from(io::ErrorKind::BrokenPipe)) }
}
