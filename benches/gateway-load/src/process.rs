//! CPU and memory of the server's process, as the kernel counts them.

use std::{fs, io, time::Duration};

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time of all its threads, to the nanosecond: the ticks of `/proc/PID/stat` are 10 ms long.
    pub(crate) cpu: Duration,
    /// Resident memory, in bytes.
    pub(crate) resident_bytes: u64,
}

impl Usage {
    /// Reads it for a process of ours.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
        let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        Ok(Self { cpu: cpu_time(pid)?, resident_bytes: pages * page_bytes() })
    }
}

/// The process's CPU clock.
fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both only write to the variable they are given, which lives until they return.
    #[allow(unsafe_code, reason = "the standard library has no clocks of other processes")]
    let (found, read) = unsafe {
        let found = libc::clock_getcpuclockid(pid, &raw mut clock);
        (found, libc::clock_gettime(clock, &raw mut time))
    };
    if found != 0 {
        return Err(io::Error::from_raw_os_error(found));
    }
    if read != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0)))
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf only reads a constant of the system.
    #[allow(unsafe_code, reason = "the standard library has no sysconf")]
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}
