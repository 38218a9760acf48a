//! Standard output for data, standard error for notes.

use std::{
    fmt,
    io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::sleep;

use crate::failure::Failure;

/// How soon a closed output is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Standard output, buffered: to be flushed where a reader waits.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// A line of data.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = stdout();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// A line on standard error, for whoever watches; a closed one hears nothing.
pub(crate) fn note(message: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// A note that only a person at a terminal has a use for.
pub(crate) fn hint(message: fmt::Arguments<'_>) {
    if io::stderr().is_terminal() {
        note(message);
    }
}

/// Waits until nobody reads our standard output any more, for whoever may have nothing to write for long.
pub(crate) async fn closed() {
    while !is_closed() {
        sleep(LOOK_EVERY).await;
    }
}

/// Whether nobody reads it any more, known without writing to it.
fn is_closed() -> bool {
    let stdout = io::stdout();
    let mut descriptors = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    poll(&mut descriptors, Some(&at_once)).is_ok() && descriptors[0].revents().intersects(gone)
}
