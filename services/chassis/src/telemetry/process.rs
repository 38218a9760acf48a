//! What the operating system counts about this process, under the names that Prometheus clients use.
//!
//! Written by hand: seconds of processor time are a counter with fractions, which the recorder has not.

use std::{fmt::Write as _, fs, sync::LazyLock, time::Duration};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// What `/proc/self/stat` says.
#[derive(Debug, PartialEq)]
struct Stat {
    processor: Duration,
    threads: u64,
    /// After the system's start, in clock ticks.
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// The start of the system, in seconds since 1970.
static BOOTED: LazyLock<Option<u64>> = LazyLock::new(|| {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
});

/// Appends them; nothing where there is no `/proc`.
pub(super) fn render(text: &mut String) {
    let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| parse(&stat)) else { return };
    let mut write = |name, kind, help, value: f64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    write(
        "process_cpu_seconds_total",
        "counter",
        "Processor time of the user and the system.",
        stat.processor.as_secs_f64(),
    );
    write(
        "process_resident_memory_bytes",
        "gauge",
        "Memory in use.",
        stat.resident_pages as f64 * page_size() as f64,
    );
    write("process_virtual_memory_bytes", "gauge", "Memory addressed.", stat.virtual_bytes as f64);
    write("process_threads", "gauge", "Threads.", stat.threads as f64);
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        write("process_open_fds", "gauge", "Open files and sockets.", open.count() as f64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        write("process_max_fds", "gauge", "How many files and sockets may be open.", most as f64);
    }
    if let Some(booted) = *BOOTED {
        let started = booted as f64 + stat.started_ticks as f64 / clock_ticks_per_second() as f64;
        write("process_start_time_seconds", "gauge", "Start of the process, seconds since 1970.", started);
    }
}

/// Reads the fields of proc(5); the name of the command may hold blanks and parentheses.
fn parse(stat: &str) -> Option<Stat> {
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // proc(5) counts from 1, with the state as field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)? + field(15)?;
    Some(Stat {
        processor: Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64),
        threads: field(20)?,
        started_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_command_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 10 0 0 0 250 50 0 0 20 0 9 0 12345 1048576 77 18446744073709551615";
        let parsed = parse(stat).unwrap();
        assert_eq!(parsed.processor, Duration::from_secs_f64(300.0 / clock_ticks_per_second() as f64));
        assert_eq!((parsed.threads, parsed.started_ticks), (9, 12345));
        assert_eq!((parsed.virtual_bytes, parsed.resident_pages), (1_048_576, 77));
        assert_eq!(parse("7 (x) S 1"), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory_and_began_lately() {
        let spin = std::time::Instant::now();
        while spin.elapsed() < Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        let mut text = String::new();
        render(&mut text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is missing in:\n{text}")).parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - value("process_start_time_seconds")).abs() < 3600.0);
    }
}
