//! How far a long piece of work is, on a terminal.

use std::{fs::File, os::fd::AsFd as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::human;

/// Text for every event would cost more than the event.
const MESSAGE_EVERY: u64 = 256;

/// A bar on standard error, or a count where the end is not known. Nothing where no one looks.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    noun: &'static str,
    done: &'static str,
}

impl Progress {
    /// Of reading standard input, by bytes where it is a file; `done` is what happens to each event.
    pub fn of_input(done: &'static str) -> Self {
        match input_length() {
            Some(length) => Self::with(Some(length), BY_LENGTH, "event", done),
            None => Self::with(None, COUNTED, "event", done),
        }
    }

    /// Of a way of known length, if it is known; `done` is what happens to each thing.
    pub fn of(length: Option<u64>, noun: &'static str, done: &'static str) -> Self {
        let template = if length.is_some() { BY_LENGTH } else { COUNTED };
        let progress = Self::with(length, template, noun, done);
        progress.say(0);
        progress
    }

    /// Of something that does not say how far it is.
    pub fn waiting(what: &'static str) -> Self {
        let progress = Self::with(None, COUNTED, what, what);
        progress.bar.set_message(what);
        progress.bar.enable_steady_tick(std::time::Duration::from_millis(100));
        progress
    }

    fn with(length: Option<u64>, template: &str, noun: &'static str, done: &'static str) -> Self {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let target = ProgressDrawTarget::stderr_with_hz(10);
        Self { bar: ProgressBar::with_draw_target(length, target).with_style(style), noun, done }
    }

    /// So many more bytes were read.
    pub fn read(&self, bytes: usize) {
        self.bar.inc(u64::try_from(bytes).unwrap_or(0));
    }

    /// So many events of the input are done in all.
    pub fn acknowledged(&self, count: u64) {
        if count.is_multiple_of(MESSAGE_EVERY) {
            self.say(count);
        }
    }

    /// It is so far, and so many of the things are done in all.
    pub fn reached(&self, position: u64, count: u64) {
        self.bar.set_position(position);
        self.say(count);
    }

    fn say(&self, count: u64) {
        self.bar.set_message(format!("{} {}", human::counted(count, self.noun), self.done));
    }

    /// Takes the bar off the screen.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

const BY_LENGTH: &str = "{bar:30.cyan/dim} {percent:>3}%  {msg}  {elapsed} of {duration}";
const COUNTED: &str = "{spinner:.cyan} {msg}  {elapsed}";

/// The length of standard input if it is a file, in bytes.
fn input_length() -> Option<u64> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let metadata = File::from(stdin).metadata().ok()?;
    metadata.is_file().then_some(metadata.len())
}
