//! Ctrl-C and SIGTERM, while something is under way.

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

/// Ctrl-C and SIGTERM for work that is done in pieces, none of which is broken off.
#[derive(Debug)]
pub(crate) struct BetweenPieces {
    /// Without those that the system won't tell: these end the process.
    signals: Vec<Signal>,
}

impl BetweenPieces {
    /// Listens from now on.
    pub(crate) fn listen() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        Self { signals: kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    /// Whether one has come since it was last asked.
    pub(crate) async fn came(&mut self) -> bool {
        for signal in &mut self.signals {
            let came = tokio::select! {
                biased;
                _ = signal.recv() => true,
                () = std::future::ready(()) => false,
            };
            if came {
                return true;
            }
        }
        false
    }
}
