//! Batches of a consumer group's events, for the package's `Consumer`.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyDict, PyList},
};

use super::{
    runtime,
    settings::{redis, seconds},
    values,
};
use crate::{
    consumer::{self as core, ConsumerConfig, Delivery, Settler, retry_delay},
    event::Event,
    shutdown::Shutdown,
};

/// An event as the package takes it: stream, entry id, deliveries, fields.
type Row<'py> = (String, String, u32, Bound<'py, PyDict>);

/// A member of a consumer group.
#[pyclass(frozen, module = "synapse_rs._core")]
pub(super) struct Subscription {
    inner: Arc<tokio::sync::Mutex<Option<core::Subscription>>>,
    /// Read and not yet taken: an awaitable that is cancelled at the last moment would drop what it carries.
    read: Arc<Mutex<Vec<Delivery>>>,
    /// Ends the waiting for news, so that closing need not wait for it.
    closing: Shutdown,
    settler: Settler,
    consumer: String,
}

#[pymethods]
impl Subscription {
    #[staticmethod]
    #[pyo3(signature = (url, *, group, streams, start, batch, min_idle, max_deliveries, backoff))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a constructor")]
    fn open<'py>(
        py: Python<'py>,
        url: &str,
        group: String,
        streams: Vec<String>,
        start: String,
        batch: usize,
        min_idle: f64,
        max_deliveries: u32,
        backoff: (f64, f64),
    ) -> PyResult<Bound<'py, PyAny>> {
        let settings = redis(url)?;
        if max_deliveries == 0 {
            return Err(PyValueError::new_err("max_deliveries is 0, expected at least 1"));
        }
        let config = ConsumerConfig {
            start,
            batch,
            min_idle: seconds("min_idle", min_idle)?,
            max_deliveries,
            backoff: (seconds("backoff", backoff.0)?, seconds("backoff", backoff.1)?),
            ..ConsumerConfig::new(group, streams)
        };
        runtime::awaitable(py, async move {
            let inner = core::Subscription::open(settings, config).await?;
            let (settler, consumer) = (inner.settler(), inner.consumer().to_owned());
            let inner = Arc::new(tokio::sync::Mutex::new(Some(inner)));
            Ok(Self { inner, read: Arc::default(), closing: Shutdown::new(), settler, consumer })
        })
    }

    /// Waits until there is something to take; false once it is closed. Safe to cancel.
    fn ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (inner, read, closing) = (self.inner.clone(), self.read.clone(), self.closing.clone());
        runtime::awaitable(py, async move {
            let next = async {
                let mut inner = inner.lock().await;
                if !read.lock().is_empty() {
                    return true;
                }
                let Some(subscription) = inner.as_mut() else { return false };
                let Some(batch) = subscription.next().await else { return false };
                read.lock().extend(batch);
                true
            };
            Ok(closing.run_until_cancelled(next).await.unwrap_or(false))
        })
    }

    /// The batch that was read, in stream order; empty if somebody else has taken it.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let batch = std::mem::take(&mut *self.read.lock());
        let row = |delivery: Delivery| -> PyResult<Row<'py>> {
            let fields = values::dict(py, delivery.event.fields())?;
            Ok((delivery.stream.to_string(), delivery.id.to_string(), delivery.deliveries, fields))
        };
        PyList::new(py, batch.into_iter().map(row).collect::<PyResult<Vec<_>>>()?)
    }

    fn ack(&self, stream: &str, entry: &str, deliveries: u32) -> PyResult<()> {
        self.settler.ack(&delivery(stream, entry, deliveries)?);
        Ok(())
    }

    fn release(&self, stream: &str, entry: &str, deliveries: u32) -> PyResult<()> {
        self.settler.release(&delivery(stream, entry, deliveries)?);
        Ok(())
    }

    /// Failed: again after `delay` seconds (by default a delay that doubles), or to the dead letters at the limit.
    #[pyo3(signature = (stream, entry, deliveries, reason, delay = None))]
    fn fail(
        &self,
        stream: &str,
        entry: &str,
        deliveries: u32,
        reason: &str,
        delay: Option<f64>,
    ) -> PyResult<()> {
        let delivery = delivery(stream, entry, deliveries)?;
        let config = self.settler.config();
        if deliveries >= config.max_deliveries {
            self.settler.reject(&delivery, "max_deliveries", reason);
            return Ok(());
        }
        let delay: Duration = match delay {
            Some(delay) => seconds("delay", delay)?,
            None => retry_delay(config.backoff, deliveries),
        };
        self.settler.retry(&delivery, delay);
        Ok(())
    }

    fn reject(&self, stream: &str, entry: &str, deliveries: u32, reason: &str) -> PyResult<()> {
        self.settler.reject(&delivery(stream, entry, deliveries)?, "rejected", reason);
        Ok(())
    }

    #[getter]
    fn consumer(&self) -> &str {
        &self.consumer
    }

    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.closing.cancel();
        let inner = self.inner.clone();
        runtime::awaitable(py, async move {
            let subscription = inner.lock().await.take();
            if let Some(subscription) = subscription {
                subscription.close().await;
            }
            Ok(())
        })
    }
}

fn delivery(stream: &str, entry: &str, deliveries: u32) -> PyResult<Delivery> {
    let id = entry
        .parse()
        .map_err(|error: crate::stream::MalformedEntryId| PyValueError::new_err(error.to_string()))?;
    Ok(Delivery { stream: stream.into(), id, deliveries, event: Event::default() })
}
