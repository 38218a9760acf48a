//! CPU and memory of the server's process, as the kernel counts them.

use std::{fs, io, time::Duration};

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Resident memory, in bytes.
    pub(crate) resident_bytes: u64,
}

impl Usage {
    /// Reads it from `/proc/PID`.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the program's name in brackets and may hold spaces; utime and stime are 14 and 15.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
        let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
        let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        Ok(Self {
            cpu: Duration::from_secs_f64(ticks as f64 / system(libc::_SC_CLK_TCK) as f64),
            resident_bytes: pages * system(libc::_SC_PAGESIZE),
        })
    }
}

fn system(name: libc::c_int) -> u64 {
    // SAFETY: sysconf only reads a constant of the system.
    #[allow(unsafe_code, reason = "the standard library has no sysconf")]
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).unwrap_or(1)
}
