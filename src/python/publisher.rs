//! `Publisher`.

#![expect(clippy::doc_markdown, reason = "what Python shows is written as Python writes it")]
//!
//! * [`settings`]: what its keywords say.
//! * [`accept`]: accepting an event, and what is done when the queue is full.
//! * [`typed`]: the platform's own events by keyword.
//! * [`waiting`]: for Redis: `connect`, `flush` and `close`.
//! * [`started`]: the part of it that belongs to one process.
//! * [`on_error`]: events that are given up, on their way to a function of Python.

mod accept;
mod on_error;
mod settings;
mod started;
mod typed;
mod waiting;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pyo3::{
    PyTraverseError, PyVisit,
    prelude::*,
    types::{PyDict, PyString},
};

use self::{
    accept::Taken,
    on_error::Callback,
    settings::{Keywords, OnFull},
    waiting::done,
};
pub(super) use self::{on_error::Letters, started::Started};
use super::{
    arguments::Given::{self, Right},
    encode::{self, Context},
    errors::{self, not_an_event},
    logging,
    receipt::Receipt,
    registry, runtime,
    settings::redis,
};
use crate::{
    config::RedisSettings,
    publisher::{self as core, PublishError, PublisherConfig},
};

/// How many events of a list are encoded between two looks at signals.
const SIGNALS_EVERY: usize = 1000;

/// Accepts events and has them sent by the module's background thread.
#[pyclass(frozen, subclass, module = "synapse_rs._core")]
pub(super) struct Publisher {
    settings: RedisSettings,
    config: PublisherConfig,
    on_full: OnFull,
    timeout: Duration,
    on_error: Option<Arc<Callback>>,
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
    #[pyo3(signature = (url = Right("redis://localhost:6379"), *, source = Right("python".to_owned()),
        maxlen = Right(1_000_000), stream_maxlen = None, queue_events = Right(1_000_000),
        queue_bytes = Right(67_108_864), on_full = None, spool_dir = None, spool_bytes = Right(1_073_741_824),
        on_error = None, linger = Right(0.0), timeout = Right(30.0), response_timeout = Right(30.0),
        max_batch_bytes = Right(524_288), max_entry_bytes = Right(1_048_576), max_fields = Right(128)),
        text_signature = "(url='redis://localhost:6379', *, source='python', maxlen=1000000, stream_maxlen=None, \
            queue_events=1000000, queue_bytes=67108864, on_full=None, spool_dir=None, spool_bytes=1073741824, \
            on_error=None, linger=0.0, timeout=30.0, response_timeout=30.0, max_batch_bytes=524288, \
            max_entry_bytes=1048576, max_fields=128)")]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a constructor")]
    fn new(
        py: Python<'_>,
        url: Given<&str>,
        source: Given<String>,
        maxlen: Given<u64>,
        stream_maxlen: Option<&Bound<'_, PyAny>>,
        queue_events: Given<u64>,
        queue_bytes: Given<u64>,
        on_full: Option<&Bound<'_, PyAny>>,
        spool_dir: Option<&Bound<'_, PyAny>>,
        spool_bytes: Given<u64>,
        on_error: Option<&Bound<'_, PyAny>>,
        linger: Given<f64>,
        timeout: Given<f64>,
        response_timeout: Given<f64>,
        max_batch_bytes: Given<u64>,
        max_entry_bytes: Given<u64>,
        max_fields: Given<u64>,
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
        logging::refresh(py)?;
        Ok(Self {
            settings: redis(url.named("url", "an address, for example \"redis://localhost:6379\"")?)?,
            config: config.config()?,
            on_full,
            timeout: timeout.seconds("timeout")?,
            on_error: on_error.map(Callback::new).transpose()?,
            state: Mutex::new(State { closed: false, dropped: 0, started: None }),
        })
    }

    /// Accepts one event for a stream and returns at once; the background thread sends it.
    ///
    /// An event is a dict, a dataclass or an object with `model_dump()`. When the queue is full, `on_full` says what is
    /// done; by default a plain thread waits up to the publisher's `timeout`, one with a running event loop raises.
    ///
    /// Raises:
    ///     InvalidEvent: The event is not of the shape that its stream asks for. A `ValueError` as well.
    ///     QueueFull: There is no room, and none came in time.
    ///     Closed: The publisher was closed, or the process is ending.
    fn publish(&self, py: Python<'_>, stream: Given<&str>, event: &Bound<'_, PyAny>) -> PyResult<()> {
        let stream = stream.stream()?;
        let context = Context::current(py, &self.config)?;
        let encode = |body: &mut Vec<u8>| encode::event(body, stream, event, &context);
        self.accept(py, stream, false, encode).map(drop)
    }

    /// As `publish`, with a receipt that tells what became of the event.
    ///
    /// Raises:
    ///     InvalidEvent: The event is not of the shape that its stream asks for. A `ValueError` as well.
    ///     QueueFull: There is no room, and none came in time; also with `on_full="drop"`.
    ///     Closed: The publisher was closed, or the process is ending.
    fn send(&self, py: Python<'_>, stream: Given<&str>, event: &Bound<'_, PyAny>) -> PyResult<Receipt> {
        let stream = stream.stream()?;
        let context = Context::current(py, &self.config)?;
        let encode = |body: &mut Vec<u8>| encode::event(body, stream, event, &context);
        let Taken::Accepted(Some(receipt)) = self.accept(py, stream, true, encode)? else {
            unreachable!("an event with a receipt is accepted or refused, never dropped")
        };
        Ok(Receipt::new(receipt))
    }

    /// Accepts many events for one stream, in order, and gives how many were accepted: all, but with `on_full="drop"`.
    ///
    /// All are encoded before the first is accepted: if one is invalid, none is published. Together they may have
    /// `queue_bytes`. If the queue gets full in between, the events before stay accepted and the error tells how many.
    ///
    /// Raises:
    ///     InvalidEvent: An event is invalid, the error tells its place; or all have more than `queue_bytes`.
    ///     QueueFull: There is no room, and none came in time.
    ///     Closed: The publisher was closed, or the process is ending.
    fn publish_many(
        &self,
        py: Python<'_>,
        stream: Given<&str>,
        events: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        let stream = stream.stream()?;
        // All are encoded before the first is accepted: an invalid one leaves nothing behind.
        let context = Context::current(py, &self.config)?;
        let mut bodies = Vec::new();
        let mut body = Vec::new();
        for (place, event) in events.try_iter()?.enumerate() {
            let start = body.len();
            let encoded = encode::event(&mut body, stream, &event?, &context).map_err(|error| {
                errors::with_text(py, error, |text| {
                    format!("event {place} of the list: {text}; none was published")
                })
            })?;
            bodies.push((start..body.len(), encoded));
            if place > 0 && body.len() as u64 > self.config.queue_bytes {
                return Err(not_an_event(format!(
                    "the list has more than queue_bytes, which is {}, after {place} events; none was published: \
                     publish it in parts, or allow more",
                    self.config.queue_bytes
                )));
            }
            if place % SIGNALS_EVERY == SIGNALS_EVERY - 1 {
                py.check_signals()?;
            }
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
                    let text = |text: &str| format!("{text}; {accepted} of the {count} events were accepted");
                    return Err(errors::with_text(py, error, text));
                }
            }
        }
        Ok(accepted)
    }

    /// As `publish`, and awaits room without a limit where `publish` would wait or raise; cancelled meanwhile, the
    /// event is not published. With room the event is accepted by the call itself, before it is awaited.
    ///
    /// Raises:
    ///     InvalidEvent: The event is not of the shape that its stream asks for. A `ValueError` as well.
    ///     Closed: The publisher was closed, or the process is ending.
    ///     RuntimeError: No event loop is running.
    fn publish_async<'py>(
        &self,
        py: Python<'py>,
        stream: Given<&str>,
        event: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let stream = stream.stream()?.to_owned();
        // First of all, so that nothing is published without a loop to await it in.
        let accepted = done(py)?;
        let publisher = self.started(py)?;
        let room_in = publisher.clone();
        let mut body = Vec::new();
        let encoded = encode::event(&mut body, &stream, event, &Context::current(py, &self.config)?)?;
        let accept = move || {
            publisher.publish_encoded(&stream, false, |scratch| {
                scratch.extend_from_slice(&body);
                Ok::<_, PublishError>(encoded.clone())
            })
        };
        // Accepted at once when there is room: no trip through the background thread then.
        match accept() {
            Ok(_) => Ok(accepted),
            Err(PublishError::QueueFull(full)) => runtime::awaitable_none(py, async move {
                let mut full = full;
                loop {
                    room_in.room(full, None).await;
                    match accept() {
                        Err(PublishError::QueueFull(still)) => full = still,
                        other => return other.map(drop),
                    }
                }
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// What the publisher has done in this process so far, and what waits; see `PublisherStats`.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.running().map(|running| running.publisher.stats()).unwrap_or_default();
        let dict = PyDict::new(py);
        dict.set_item("queued", stats.queued)?;
        dict.set_item("in_flight", stats.outstanding.saturating_sub(stats.queued))?;
        dict.set_item("outstanding_bytes", stats.outstanding_bytes)?;
        dict.set_item("published", stats.published)?;
        dict.set_item("retried", stats.retried)?;
        dict.set_item("spooled", stats.spooled)?;
        dict.set_item("spooled_bytes", stats.spooled_bytes)?;
        dict.set_item("spool_error", stats.spool_error)?;
        dict.set_item("failed", stats.failed)?;
        dict.set_item("dropped", self.lock().dropped)?;
        dict.set_item("possible_duplicates", stats.possible_duplicates)?;
        dict.set_item("lost_connections", stats.lost_connections)?;
        dict.set_item("last_error", stats.last_error)?;
        Ok(dict)
    }

    /// Whether `close` or `close_async` was called.
    #[getter]
    fn closed(&self) -> bool {
        self.lock().closed
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.on_error.as_ref().map_or(Ok(()), |on_error| on_error.traverse(&visit))
    }

    fn __clear__(&self) {
        if let Some(on_error) = &self.on_error {
            on_error.clear();
        }
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

    /// The part of it in this process, if it has published anything here.
    fn running(&self) -> Option<Started> {
        self.lock().started.as_ref().filter(|started| started.is_here()).cloned()
    }

    /// The publisher of this process, started if need be.
    fn started(&self, py: Python<'_>) -> PyResult<core::Publisher> {
        if let Some(publisher) = self.open()? {
            return Ok(publisher);
        }
        // Not under the lock: starting threads may run any code, of a finalizer that publishes for one.
        let new = Started::start(py, &self.settings, &self.config, self.on_error.as_ref())?;
        let mut state = self.lock();
        if let Some(other) = state.started.as_ref().filter(|started| started.is_here()) {
            let publisher = other.publisher.clone();
            drop(state);
            // Another thread was faster.
            new.leave();
            return Ok(publisher);
        }
        // What a parent had queued stays the parent's: its publisher is left as it is, its locks untouched.
        std::mem::forget(state.started.replace(new.clone()));
        drop(state);
        registry::add(new.watched());
        Ok(new.publisher)
    }

    /// The publisher of this process if it has been started, and is not closed.
    fn open(&self) -> PyResult<Option<core::Publisher>> {
        let state = self.lock();
        if state.closed {
            return Err(PublishError::Closed.into());
        }
        let here = state.started.as_ref().filter(|started| started.is_here());
        Ok(here.map(|started| started.publisher.clone()))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let started = self.lock().started.take();
        if let Some(started) = started {
            started.leave();
        }
    }
}
