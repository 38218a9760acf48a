//! Asking before something is gone for good.

use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin};

use crate::failure::Failure;

/// Asks at the terminal; without one the answer has to be given beforehand, by `--yes`.
///
/// The question goes to standard error, so that output can be piped.
pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::Usage(format!("{question} There is no terminal to answer at: give --yes")));
    }
    let mut stderr = stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    // A closed or broken terminal is no yes.
    let _ = stdin().lock().read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Other("nothing was done".to_owned())),
    }
}
