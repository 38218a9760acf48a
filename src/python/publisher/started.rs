//! A publisher's part that belongs to one process: its writer runs on the background thread there.

use std::{sync::Arc, time::Duration};

use pyo3::prelude::*;

use super::on_error::{Callback, Sender};
use crate::{
    config::RedisSettings,
    fork,
    publisher::{self as core, FlushError, PublisherConfig},
    python::runtime,
};

/// How long `on_error` may take at the end of a publisher, at least.
const GRACE: Duration = Duration::from_secs(1);

/// A publisher that runs in this process, or did in the one that forked it.
#[derive(Clone)]
pub(in crate::python) struct Started {
    /// Of the process, see [`fork::generation`].
    generation: u64,
    pub(in crate::python) publisher: core::Publisher,
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
        let end = given_up.clone().map(EndOfGivenUp);
        handle.spawn(async move {
            let _end = end;
            writer.run().await;
        });
        Ok(Self { generation, publisher, given_up })
    }

    /// This publisher for who watches it: it ends without minding such a clone.
    pub(super) fn watched(&self) -> Self {
        Self { publisher: self.publisher.watched(), ..self.clone() }
    }

    /// Whether it is of this process.
    pub(in crate::python) fn is_here(&self) -> bool {
        self.generation == fork::generation()
    }

    pub(in crate::python) fn has_ended(&self) -> bool {
        self.publisher.has_ended()
    }

    /// Accepts no more, waits until redis has what was accepted, and ends the writer; what is left then is in the spool,
    /// or given up and `on_error` told. Called by `on_error`, it does not wait for itself.
    pub(in crate::python) fn close(
        self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), FlushError>> + Send + 'static {
        let Self { publisher, given_up, .. } = self;
        let told = given_up.filter(|given_up| !given_up.is_at_work_here());
        async move {
            let closed = publisher.close(timeout).await;
            if let Some(told) = told {
                let _ = tokio::task::spawn_blocking(move || told.done(timeout.max(GRACE))).await;
            }
            closed
        }
    }

    /// Nobody publishes through it any more: its writer ends when redis has what was accepted.
    pub(super) fn leave(self) {
        if !self.is_here() {
            // Its locks may be held by a thread that is not here.
            std::mem::forget(self);
        }
    }
}

/// Says that the writer has ended, however it did: no more events are given up.
struct EndOfGivenUp(Sender);

impl Drop for EndOfGivenUp {
    fn drop(&mut self) {
        self.0.end();
    }
}
