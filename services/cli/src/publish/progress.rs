//! How far a long publication is, on a terminal.

use std::{fs::File, os::fd::AsFd as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error: by bytes where the input is a file, else a count. Nothing where no one looks.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts at nothing.
    pub(crate) fn start() -> Self {
        let (length, template) = match file_length() {
            Some(length) => (Some(length), "{bar:30.cyan/dim} {percent:>3}%  {msg}  {elapsed} of {duration}"),
            None => (None, "{spinner:.cyan} {msg}  {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar =
            ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr_with_hz(10)).with_style(style);
        Self { bar }
    }

    /// So many more bytes were read.
    pub(crate) fn read(&self, bytes: usize) {
        self.bar.inc(u64::try_from(bytes).unwrap_or(0));
    }

    /// So many events are acknowledged in all.
    pub(crate) fn acknowledged(&self, count: u64) {
        // Text for every event would cost more than the event.
        if count.is_multiple_of(256) {
            self.bar.set_message(format!("{} published", crate::human::counted(count, "event")));
        }
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The length of standard input if it is a file, in bytes.
fn file_length() -> Option<u64> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let metadata = File::from(stdin).metadata().ok()?;
    metadata.is_file().then_some(metadata.len())
}
