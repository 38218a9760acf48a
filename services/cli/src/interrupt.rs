//! Ctrl-C, while something is under way.

use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// Ctrl-C for work that is done in pieces, none of which is broken off.
#[derive(Debug)]
pub(crate) struct BetweenPieces {
    /// Nothing where the system won't tell: then Ctrl-C ends the process.
    signal: Option<Signal>,
}

impl BetweenPieces {
    /// Listens from now on.
    pub(crate) fn listen() -> Self {
        Self { signal: signal(SignalKind::interrupt()).ok() }
    }

    /// Whether it has come since it was last asked.
    pub(crate) async fn came(&mut self) -> bool {
        let Some(signal) = &mut self.signal else { return false };
        tokio::select! {
            biased;
            _ = signal.recv() => true,
            () = std::future::ready(()) => false,
        }
    }
}
