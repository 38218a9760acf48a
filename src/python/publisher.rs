//! `Publisher`.
//!
//! * [`settings`]: what its keywords say.
//! * [`accept`]: accepting an event, and what is done when the queue is full.
//! * [`typed`]: the platform's own events by keyword.

mod accept;
mod settings;
mod typed;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pyo3::{
    exceptions::PyValueError,
    intern,
    prelude::*,
    types::{PyDict, PyString},
};

use self::{
    accept::Taken,
    settings::{Keywords, OnFull},
};
use super::{
    encode,
    errors::not_an_event,
    receipt::Receipt,
    registry::{self, Started},
    runtime,
    settings::{redis, seconds},
};
use crate::{
    config::RedisSettings,
    fork,
    publisher::{self as core, PublishError, PublisherConfig},
    stream::{Connection, StreamError},
};

/// Accepts events and has them sent by the module's background thread.
#[pyclass(frozen, subclass, module = "synapse_rs._core")]
pub(super) struct Publisher {
    settings: RedisSettings,
    config: PublisherConfig,
    on_full: OnFull,
    timeout: Duration,
    state: Mutex<State>,
}

/// Held only for moments, with the interpreter attached: so no other thread holds it at a fork.
struct State {
    closed: bool,
    dropped: u64,
    started: Option<Started>,
}

#[pymethods]
impl Publisher {
    #[new]
    #[pyo3(signature = (url = "redis://localhost:6379", *, source = "python", maxlen = 1_000_000, stream_maxlen = None,
        queue_events = 1_000_000, queue_bytes = 64 * 1024 * 1024, on_full = None, spool_dir = None,
        spool_bytes = 1024 * 1024 * 1024, linger = 0.0, timeout = 30.0, response_timeout = 30.0,
        max_batch_bytes = 512 * 1024, max_entry_bytes = 1024 * 1024, max_fields = 128))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a constructor")]
    fn new(
        url: &str,
        source: &str,
        maxlen: u64,
        stream_maxlen: Option<HashMap<String, u64>>,
        queue_events: u64,
        queue_bytes: u64,
        on_full: Option<&str>,
        spool_dir: Option<PathBuf>,
        spool_bytes: u64,
        linger: f64,
        timeout: f64,
        response_timeout: f64,
        max_batch_bytes: usize,
        max_entry_bytes: usize,
        max_fields: usize,
    ) -> PyResult<Self> {
        let on_full = OnFull::read(on_full, spool_dir.is_some())?;
        let config = Keywords {
            source,
            maxlen,
            stream_maxlen,
            queue_events,
            queue_bytes,
            spool_dir,
            spool_bytes,
            linger,
            response_timeout,
            max_batch_bytes,
            max_entry_bytes,
            max_fields,
        };
        Ok(Self {
            settings: redis(url)?,
            config: config.config()?,
            on_full,
            timeout: seconds("timeout", timeout)?,
            state: Mutex::new(State { closed: false, dropped: 0, started: None }),
        })
    }

    #[pyo3(signature = (timeout = 5.0))]
    fn connect(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        runtime::wait(py, connect(self.settings.clone(), seconds("timeout", timeout)?))
    }

    #[pyo3(signature = (timeout = 5.0))]
    fn connect_async<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Bound<'py, PyAny>> {
        runtime::awaitable(py, connect(self.settings.clone(), seconds("timeout", timeout)?))
    }

    fn publish(&self, py: Python<'_>, stream: &str, event: &Bound<'_, PyAny>) -> PyResult<()> {
        let encode = |body: &mut Vec<u8>| encode::event(body, stream, event, &self.config);
        self.accept(py, stream, false, encode).map(drop)
    }

    fn send(&self, py: Python<'_>, stream: &str, event: &Bound<'_, PyAny>) -> PyResult<Receipt> {
        let encode = |body: &mut Vec<u8>| encode::event(body, stream, event, &self.config);
        let Taken::Accepted(Some(receipt)) = self.accept(py, stream, true, encode)? else {
            unreachable!("an event with a receipt is accepted or refused, never dropped")
        };
        Ok(Receipt::new(receipt))
    }

    fn publish_many(&self, py: Python<'_>, stream: &str, events: &Bound<'_, PyAny>) -> PyResult<usize> {
        // All are encoded before the first is accepted: an invalid one leaves nothing behind.
        let mut bodies = Vec::new();
        let mut body = Vec::new();
        for (place, event) in events.try_iter()?.enumerate() {
            let start = body.len();
            let encoded = encode::event(&mut body, stream, &event?, &self.config).map_err(|error| {
                if error.is_instance_of::<PyValueError>(py) {
                    return not_an_event(format!(
                        "event {place} of the list: {}; none was published",
                        error.value(py)
                    ));
                }
                error
            })?;
            bodies.push((start..body.len(), encoded));
        }
        let (count, mut accepted) = (bodies.len(), 0);
        for (range, encoded) in bodies {
            let encode = |scratch: &mut Vec<u8>| {
                scratch.extend_from_slice(&body[range.clone()]);
                Ok(encoded.clone())
            };
            match self.accept(py, stream, false, encode) {
                Ok(Taken::Dropped) => {}
                Ok(_) => accepted += 1,
                Err(error) => {
                    let message =
                        format!("{}; {accepted} of the {count} events were accepted", error.value(py));
                    return Err(PyErr::from_type(error.get_type(py), message));
                }
            }
        }
        Ok(accepted)
    }

    fn publish_async<'py>(
        &self,
        py: Python<'py>,
        stream: String,
        event: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // First of all, so that nothing is published without a loop to await it in.
        let accepted = done(py)?;
        let publisher = self.started()?;
        let mut body = Vec::new();
        let encoded = encode::event(&mut body, &stream, event, &self.config)?;
        let accept = move || {
            publisher.publish_encoded(&stream, false, |scratch| {
                scratch.extend_from_slice(&body);
                Ok::<_, PublishError>(encoded.clone())
            })
        };
        let room_in = self.started()?;
        // Accepted at once when there is room: no trip through the background thread then.
        match accept() {
            Ok(_) => Ok(accepted),
            Err(PublishError::QueueFull(full)) => runtime::awaitable(py, async move {
                let mut full = full;
                loop {
                    room_in.room(full, None).await;
                    match accept() {
                        Err(PublishError::QueueFull(still)) => full = still,
                        other => return Ok(other.map(drop)?),
                    }
                }
            }),
            Err(error) => Err(error.into()),
        }
    }

    #[pyo3(signature = (timeout = 5.0))]
    fn flush(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let timeout = seconds("timeout", timeout)?;
        let Some(publisher) = self.running() else { return Ok(()) };
        runtime::wait(py, async move { Ok(publisher.flush(timeout).await?) })
    }

    #[pyo3(signature = (timeout = 5.0))]
    fn flush_async<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Bound<'py, PyAny>> {
        let timeout = seconds("timeout", timeout)?;
        let Some(publisher) = self.running() else { return done(py) };
        runtime::awaitable(py, async move { Ok(publisher.flush(timeout).await?) })
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.running().map(|publisher| publisher.stats()).unwrap_or_default();
        let dict = PyDict::new(py);
        dict.set_item("queued", stats.queued)?;
        dict.set_item("in_flight", stats.outstanding.saturating_sub(stats.queued))?;
        dict.set_item("outstanding_bytes", stats.outstanding_bytes)?;
        dict.set_item("published", stats.published)?;
        dict.set_item("retried", stats.retried)?;
        dict.set_item("spooled", stats.spooled)?;
        dict.set_item("spooled_bytes", stats.spooled_bytes)?;
        dict.set_item("failed", stats.failed)?;
        dict.set_item("dropped", self.lock().dropped)?;
        dict.set_item("possible_duplicates", stats.possible_duplicates)?;
        dict.set_item("lost_connections", stats.lost_connections)?;
        dict.set_item("last_error", stats.last_error)?;
        Ok(dict)
    }

    #[pyo3(signature = (timeout = 5.0))]
    fn close(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let timeout = seconds("timeout", timeout)?;
        self.lock().closed = true;
        let Some(publisher) = self.running() else { return Ok(()) };
        runtime::wait(py, async move { Ok(publisher.close(timeout).await?) })
    }

    #[pyo3(signature = (timeout = 5.0))]
    fn close_async<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Bound<'py, PyAny>> {
        let timeout = seconds("timeout", timeout)?;
        self.lock().closed = true;
        let Some(publisher) = self.running() else { return done(py) };
        runtime::awaitable(py, async move { Ok(publisher.close(timeout).await?) })
    }

    #[getter]
    fn closed(&self) -> bool {
        self.lock().closed
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let text = format!("<Publisher {} source={:?}>", self.settings, self.config.source);
        PyString::new(py, &text)
    }
}

impl Publisher {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The publisher of this process, if it has published anything.
    fn running(&self) -> Option<core::Publisher> {
        let state = self.lock();
        let started = state.started.as_ref()?;
        (started.generation == fork::generation()).then(|| started.publisher.clone())
    }

    /// The publisher of this process, started if need be.
    fn started(&self) -> PyResult<core::Publisher> {
        let generation = fork::generation();
        let mut state = self.lock();
        if state.closed {
            return Err(PublishError::Closed.into());
        }
        if let Some(started) = &state.started
            && started.generation == generation
        {
            return Ok(started.publisher.clone());
        }
        // What a parent had queued stays the parent's: its publisher is left as it is, its locks untouched.
        std::mem::forget(state.started.take());
        let (publisher, writer) = core::Publisher::new(self.settings.clone(), self.config.clone());
        runtime::handle()?.spawn(writer.run());
        state.started = Some(Started { generation, publisher: publisher.clone() });
        drop(state);
        registry::add(generation, &publisher);
        Ok(publisher)
    }
}

/// Says now what is wrong with the address, the password or the certificate.
async fn connect(settings: RedisSettings, timeout: Duration) -> PyResult<()> {
    if let Ok(connected) = tokio::time::timeout(timeout, Connection::open(&settings)).await {
        return Ok(connected.map(drop)?);
    }
    let reason = format!("no answer within {timeout:?}");
    Err(StreamError::Unreachable { address: settings.to_string(), reason }.into())
}

/// An awaitable that is done.
fn done(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let event_loop = py.import(intern!(py, "asyncio"))?.call_method0(intern!(py, "get_running_loop"))?;
    let future = event_loop.call_method0(intern!(py, "create_future"))?;
    future.call_method1(intern!(py, "set_result"), (py.None(),))?;
    Ok(future)
}
