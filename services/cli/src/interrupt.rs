//! Ctrl-C, while something is under way.

use crate::failure::Failure;

/// Does the work, unless Ctrl-C comes first.
pub(crate) async fn or_ctrl_c(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        ended = work => ended,
        _ = tokio::signal::ctrl_c() => Err(interrupted()),
    }
}

/// What a command that Ctrl-C has ended says.
pub(crate) fn interrupted() -> Failure {
    Failure::Other("interrupted".to_owned())
}
