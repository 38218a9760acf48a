//! "Received inference event": how many, once a second at most.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use synapse_rs::shutdown::Shutdown;
use tokio::time::interval;

use crate::sample::Sample;

/// How often it is told.
const EVERY: Duration = Duration::from_secs(1);

/// Events that were received since that was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    inference: AtomicU64,
    training: AtomicU64,
}

impl Told {
    pub(super) fn received(&self, sample: &Sample) {
        let counter = if matches!(sample, Sample::Inference(_)) { &self.inference } else { &self.training };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells until `shutdown`.
    pub(super) async fn tell(&self, shutdown: &Shutdown) {
        let mut beat = interval(EVERY);
        while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
            self.tell_now();
        }
    }

    pub(super) fn tell_now(&self) {
        let (inference, training) =
            (self.inference.swap(0, Ordering::Relaxed), self.training.swap(0, Ordering::Relaxed));
        if inference > 0 {
            tracing::info!(count = inference, "Received inference event");
        }
        if training > 0 {
            tracing::info!(count = training, "Received training event");
        }
    }
}
