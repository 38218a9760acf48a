//! Waiting for Redis: `connect`, `flush` and `close`, for threads and for event loops.

use std::time::Duration;

use pyo3::prelude::*;

use super::{Publisher, Started};
use crate::{
    config::RedisSettings,
    python::{
        arguments::Given::{self, Right},
        lazy::name,
        runtime,
    },
    stream::{Connection, StreamError},
};

#[pymethods]
impl Publisher {
    /// Connects once, to say early what is wrong with the address, the password or the certificate.
    ///
    /// Publishing does not need it. Waits `timeout` seconds at most.
    ///
    /// Raises:
    ///     ConnectionFailed: Redis can't be reached in time, or refuses the credentials.
    #[pyo3(signature = (timeout = Right(5.0)), text_signature = "($self, timeout=5.0)")]
    fn connect(&self, py: Python<'_>, timeout: Given<f64>) -> PyResult<()> {
        runtime::wait(py, connect(self.settings.clone(), timeout.seconds("timeout")?))
    }

    /// As `connect`, for event loops.
    #[pyo3(signature = (timeout = Right(5.0)), text_signature = "($self, timeout=5.0)")]
    fn connect_async<'py>(&self, py: Python<'py>, timeout: Given<f64>) -> PyResult<Bound<'py, PyAny>> {
        runtime::awaitable_none(py, connect(self.settings.clone(), timeout.seconds("timeout")?))
    }

    /// Waits until Redis has all that was accepted so far, `timeout` seconds at most. The publisher goes on.
    ///
    /// With a spool it waits for what is on disk too.
    ///
    /// Raises:
    ///     DeliveryError: Redis does not have all in time, or events were given up since the last flush. What waits stays
    ///         queued.
    #[pyo3(signature = (timeout = Right(5.0)), text_signature = "($self, timeout=5.0)")]
    fn flush(&self, py: Python<'_>, timeout: Given<f64>) -> PyResult<()> {
        let timeout = timeout.seconds("timeout")?;
        match self.to_flush(py)? {
            Some(running) if running.has_ended() => Ok(running.publisher.flush_blocking(Duration::ZERO)?),
            Some(running) => runtime::wait(py, async move { running.publisher.flush(timeout).await }),
            None => Ok(()),
        }
    }

    /// As `flush`, for event loops.
    #[pyo3(signature = (timeout = Right(5.0)), text_signature = "($self, timeout=5.0)")]
    fn flush_async<'py>(&self, py: Python<'py>, timeout: Given<f64>) -> PyResult<Bound<'py, PyAny>> {
        let timeout = timeout.seconds("timeout")?;
        match self.to_flush(py)? {
            Some(running) => {
                runtime::awaitable_none(py, async move { running.publisher.flush(timeout).await })
            }
            None => done(py),
        }
    }

    /// Accepts no more and waits until Redis has all that was accepted, `timeout` seconds at most.
    ///
    /// What is left then is on disk if there is a spool; without one it is given up, and `on_error` told. Closed again, it
    /// does nothing.
    ///
    /// Raises:
    ///     DeliveryError: Events were given up, now or since the last flush.
    #[pyo3(signature = (timeout = Right(5.0)), text_signature = "($self, timeout=5.0)")]
    fn close(&self, py: Python<'_>, timeout: Given<f64>) -> PyResult<()> {
        let timeout = timeout.seconds("timeout")?;
        self.lock().closed = true;
        match self.running() {
            Some(running) if running.has_ended() => Ok(running.publisher.flush_blocking(Duration::ZERO)?),
            Some(running) => runtime::wait(py, running.close(timeout)),
            None => Ok(()),
        }
    }

    /// As `close`, for event loops.
    #[pyo3(signature = (timeout = Right(5.0)), text_signature = "($self, timeout=5.0)")]
    fn close_async<'py>(&self, py: Python<'py>, timeout: Given<f64>) -> PyResult<Bound<'py, PyAny>> {
        let timeout = timeout.seconds("timeout")?;
        self.lock().closed = true;
        match self.running() {
            Some(running) => runtime::awaitable_none(py, running.close(timeout)),
            None => done(py),
        }
    }
}

impl Publisher {
    /// The part of it in this process; a spool may hold what an earlier process left, so that it is started for that.
    fn to_flush(&self, py: Python<'_>) -> PyResult<Option<Started>> {
        if self.config.spool.is_some() && !self.lock().closed {
            self.started(py)?;
        }
        Ok(self.running())
    }
}

/// Says now what is wrong with the address, the password or the certificate.
async fn connect(settings: RedisSettings, timeout: Duration) -> Result<(), StreamError> {
    if let Ok(connected) = tokio::time::timeout(timeout, Connection::open(&settings)).await {
        return connected.map(drop);
    }
    let reason = format!("no answer within {timeout:?}");
    Err(StreamError::Unreachable { address: settings.to_string(), reason })
}

/// An awaitable that is done.
pub(super) fn done(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let event_loop = py.import(name!(py, "asyncio"))?.call_method0(name!(py, "get_running_loop"))?;
    let future = event_loop.call_method0(name!(py, "create_future"))?;
    future.call_method1(name!(py, "set_result"), (py.None(),))?;
    Ok(future)
}
