//! Accepting an event, and what is done when the queue is full.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::{Publisher, settings::OnFull};
use crate::{
    event::encode::Encoded,
    publisher::{self as core, Full, PublishError},
    python::{errors::queue_is_full, lazy::name, runtime::SLICE},
};

/// How long an event loop is held up for the disk to make room.
const LOOP_PATIENCE: Duration = Duration::from_millis(100);

/// What became of an event at the call.
pub(super) enum Taken {
    Accepted(Option<core::Receipt>),
    /// There was no room, and `on_full` is `"drop"`.
    Dropped,
}

/// Why an event was not accepted, by whom.
enum Refusal {
    Python(PyErr),
    Publish(PublishError),
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

impl Publisher {
    /// Accepts an event, doing what `on_full` says when there is no room.
    pub(super) fn accept(
        &self,
        py: Python<'_>,
        stream: &str,
        receipt: bool,
        encode: impl Fn(&mut Vec<u8>) -> PyResult<Encoded>,
    ) -> PyResult<Taken> {
        let publisher = self.started(py)?;
        let mut deadline = None;
        loop {
            let accepted =
                publisher.publish_encoded(stream, receipt, |body| encode(body).map_err(Refusal::Python));
            let full = match accepted {
                Ok(receipt) => return Ok(Taken::Accepted(receipt)),
                Err(Refusal::Publish(PublishError::QueueFull(full))) => full,
                Err(Refusal::Publish(error)) => return Err(error.into()),
                Err(Refusal::Python(error)) => return Err(error),
            };
            let mut limit = self.timeout;
            let waits = match self.on_full {
                OnFull::Drop if !receipt => {
                    self.lock().dropped += 1;
                    metrics::counter!("synapse_publisher_dropped_total").increment(1);
                    return Ok(Taken::Dropped);
                }
                OnFull::Drop | OnFull::Raise => false,
                OnFull::Default => !in_event_loop(py)?,
                OnFull::Spool if in_event_loop(py)? => {
                    // The disk makes room in milliseconds, or not at all.
                    limit = limit.min(LOOP_PATIENCE);
                    publisher.stats().spool_error.is_none()
                }
                OnFull::Wait | OnFull::Spool => true,
            };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
            if !waits || !wait_for_room(py, &publisher, full, deadline)? {
                return Err(self.no_room(&publisher, full));
            }
        }
    }

    fn no_room(&self, publisher: &core::Publisher, full: Full) -> PyErr {
        let error = PublishError::QueueFull(full);
        match (&self.config.spool, self.on_full) {
            (Some(spool), OnFull::Spool) => {
                let reason = publisher.stats().spool_error.unwrap_or_else(|| "the disk is slow".to_owned());
                queue_is_full(format!("{error}; the spool {} made no room: {reason}", spool.dir.display()))
            }
            _ => error.into(),
        }
    }
}

/// Waits until there may be room, or the publisher was closed; `false` if `deadline` passes first.
fn wait_for_room(
    py: Python<'_>,
    publisher: &core::Publisher,
    full: Full,
    deadline: Instant,
) -> PyResult<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let has_room = py.detach(|| publisher.room_blocking(full, left.min(SLICE)));
        if has_room || publisher.is_closed() {
            return Ok(true);
        }
        if left <= SLICE {
            return Ok(false);
        }
        py.check_signals()?;
    }
}

/// Whether this thread runs an event loop, which must not be held up.
fn in_event_loop(py: Python<'_>) -> PyResult<bool> {
    let running = py.import(name!(py, "asyncio"))?.call_method0(name!(py, "_get_running_loop"))?;
    Ok(!running.is_none())
}
