//! A publisher's part that belongs to one process: its writer runs on the background thread there.

use std::{sync::Arc, time::Duration};

use pyo3::prelude::*;

use super::on_error::{Callback, Sender};
use crate::{
    config::RedisSettings,
    fork,
    publisher::{self as core, FlushError, PublisherConfig},
    python::{runtime, settings::LONGEST},
    shutdown::Shutdown,
};

/// How long the end of a closed publisher is waited for: of its writer, and at least so long of `on_error`.
const GRACE: Duration = Duration::from_secs(1);

/// A publisher that runs in this process, or did in the one that forked it.
#[derive(Clone)]
pub(in crate::python) struct Started {
    /// Of the process, see [`fork::generation`].
    generation: u64,
    pub(in crate::python) publisher: core::Publisher,
    /// The writer has ended: all that was accepted is settled, one way or the other.
    ended: Shutdown,
    given_up: Option<Sender>,
}

impl Started {
    /// A publisher whose writer runs.
    pub(super) fn start(
        py: Python<'_>,
        settings: &RedisSettings,
        config: &PublisherConfig,
        on_error: Option<&Arc<Callback>>,
    ) -> PyResult<Self> {
        let handle = runtime::handle(py)?;
        let generation = fork::generation();
        let given_up = on_error.map(|callback| Sender::start(py, callback)).transpose()?;
        let on_given_up = given_up.as_ref().map(Sender::on_given_up);
        let config = PublisherConfig { on_given_up, ..config.clone() };
        let (publisher, writer) = core::Publisher::new(settings.clone(), config);
        let ended = Shutdown::new();
        let end = End { ended: ended.clone(), given_up: given_up.clone() };
        handle.spawn(async move {
            let _end = end;
            writer.run().await;
        });
        Ok(Self { generation, publisher, ended, given_up })
    }

    /// Whether it is of this process.
    pub(in crate::python) fn is_here(&self) -> bool {
        self.generation == fork::generation()
    }

    pub(in crate::python) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Accepts no more, waits until redis has what was accepted, and ends the writer; what is left is given up, and
    /// `on_error` told.
    pub(in crate::python) async fn close(self, timeout: Duration) -> Result<(), FlushError> {
        let closed = self.publisher.close(timeout).await;
        let _ = tokio::time::timeout(GRACE, self.ended.cancelled()).await;
        if let Some(given_up) = self.given_up {
            let _ = tokio::task::spawn_blocking(move || given_up.done(timeout.max(GRACE))).await;
        }
        closed
    }

    /// Nobody publishes through it any more: its writer ends when redis has what was accepted.
    pub(super) fn leave(self) {
        if !self.is_here() {
            // Its locks may be held by a thread that is not here.
            std::mem::forget(self);
        } else if !self.publisher.is_closed()
            && let Some(handle) = runtime::running()
        {
            handle.spawn(self.close(LONGEST));
        }
    }
}

/// Says that the writer has ended, however it did.
struct End {
    ended: Shutdown,
    given_up: Option<Sender>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.ended.cancel();
        if let Some(given_up) = &self.given_up {
            given_up.end();
        }
    }
}
