//! One log of many processes: their lines with time, name and level, in the order they came.
//!
//! Written by a thread of its own behind a bounded queue: a terminal that is stopped (Ctrl-S) or a pipe that
//! nobody reads must hold up neither `up` nor, through their own full pipes, the services. Lines that find the
//! queue full are counted, and the count is written when there is room again.

pub(crate) mod record;

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use synapse_chassis::settings::LogFormat;

use self::record::{Level, Record};
use crate::terminal::Terminal;

/// Lines that may wait for a slow terminal.
const QUEUE_LINES: usize = 4096;
/// How long the last lines may take at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Where every line goes; clones write to the same log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    queue: SyncSender<String>,
    dropped: Arc<AtomicU64>,
    format: LogFormat,
    terminal: Terminal,
}

impl Log {
    /// Starts a log on standard output.
    pub(crate) fn start(format: LogFormat, terminal: Terminal) -> (Self, LogWriter) {
        let (queue, lines) = sync_channel(QUEUE_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let log =
            Self { queue, dropped: dropped.clone(), format, terminal: Terminal { width: None, ..terminal } };
        let thread = thread::spawn(move || write_all(&lines, &dropped));
        (log, LogWriter { thread })
    }

    /// A line of `up` itself.
    pub(crate) fn say(&self, level: Level, message: impl Into<String>) {
        self.write("up", &Record::now(level, message));
    }

    /// A line of one of the processes.
    pub(crate) fn write(&self, name: &str, record: &Record) {
        self.put(match self.format {
            LogFormat::Text => record.as_line(name).render(self.terminal),
            LogFormat::Json => record.as_json(name),
        });
    }

    /// Text for people as it is; nothing where programs read the log.
    pub(crate) fn show(&self, text: &str) {
        if self.format == LogFormat::Text {
            self.put(text.to_owned());
        }
    }

    /// Whether colours are written.
    pub(crate) fn has_colors(&self) -> bool {
        self.terminal.colors && self.format == LogFormat::Text
    }

    fn put(&self, line: String) {
        if self.queue.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The thread that writes; ends when the last [`Log`] is dropped.
#[derive(Debug)]
pub(crate) struct LogWriter {
    thread: thread::JoinHandle<()>,
}

impl LogWriter {
    /// Waits until everything is written, or a stopped terminal has had its second.
    pub(crate) fn finish(self) {
        let deadline = Instant::now() + FLUSH_LIMIT;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn write_all(lines: &Receiver<String>, dropped: &AtomicU64) {
    let mut stdout = io::stdout();
    for line in lines {
        // The reader of a closed pipe wants no more of it; the platform goes on.
        let _ = stdout.write_all((line + "\n").as_bytes()).and_then(|()| stdout.flush());
        let missed = dropped.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let _ = writeln!(stdout, "… {missed} lines were not shown: this output was not read fast enough");
        }
    }
}
