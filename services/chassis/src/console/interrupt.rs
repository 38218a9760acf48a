//! Ctrl-C and SIGTERM, while something is under way.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C and SIGTERM for work that is done in pieces, none of which is broken off.
#[derive(Debug)]
pub struct BetweenPieces {
    /// Without those that the system won't tell: these end the process.
    signals: Vec<Signal>,
}

impl BetweenPieces {
    /// Listens from now on.
    pub fn listen() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        Self { signals: kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    /// Whether one has come since it was last asked.
    pub async fn came(&mut self) -> bool {
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
