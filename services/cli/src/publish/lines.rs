//! Standard input, line by line.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Stdin, stdin};

/// The longest line, in bytes: an entry of 1 MiB, every character of it escaped.
const MAX_LINE_BYTES: usize = 8 << 20;

/// Read at once: each read is a trip to another thread.
const BUFFER_BYTES: usize = 128 << 10;

/// The lines of standard input with their numbers, from 1.
#[derive(Debug)]
pub(crate) struct Lines<R = BufReader<Stdin>> {
    input: R,
    number: u64,
    /// The beginning of the next line, when reading it was interrupted.
    line: Vec<u8>,
}

impl Lines {
    /// From standard input.
    pub(crate) fn of_stdin() -> Self {
        Self::of(BufReader::with_capacity(BUFFER_BYTES, stdin()))
    }
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// From any input.
    pub(crate) fn of(input: R) -> Self {
        Self { input, number: 0, line: Vec::new() }
    }

    /// The next line without its end; `None` after the last. Errors name the line.
    ///
    /// Safe to cancel: what was read of a line is kept.
    pub(crate) async fn next(&mut self) -> Result<Option<(u64, String)>, String> {
        let room = MAX_LINE_BYTES + 1 - self.line.len();
        let mut input = (&mut self.input).take(room as u64);
        if let Err(error) = input.read_until(b'\n', &mut self.line).await {
            return Err(format!("standard input can't be read: {error}"));
        }
        if self.line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number;
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(format!(
                "line {number}: longer than {MAX_LINE_BYTES} bytes; is it one event per line?"
            ));
        }
        let text =
            String::from_utf8(line).map_err(|error| format!("line {number}: {}", error.utf8_error()))?;
        Ok(Some((number, text)))
    }
}

#[cfg(test)]
mod tests;
