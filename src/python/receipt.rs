//! `Receipt`: what became of one event.

#![expect(clippy::doc_markdown, reason = "what Python shows is written as Python writes it")]
//!
//! Receipts that are awaited are completed in bulk: the writer puts outcomes into a ring that belongs
//! to the loop, and wakes the loop, through a socket it listens on, only when the ring was empty. So
//! the writer never waits for the interpreter, and thousands of receipts cost one wake-up.

use std::{
    io::{Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Instant,
};

use pyo3::{
    IntoPyObjectExt as _,
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyString, PyWeakrefReference},
};

use super::{
    arguments::Given,
    errors::not_delivered,
    lazy::{Lazy, name},
    runtime::SLICE,
};
use crate::{
    fork,
    publisher::{self, Outcome},
};

/// What became of one event: await it, or call `result()`.
#[pyclass(frozen, module = "synapse_rs")]
pub(super) struct Receipt {
    inner: publisher::Receipt,
    /// Of the process that sent the event, see [`fork::generation`].
    generation: u64,
}

impl Receipt {
    pub(super) fn new(inner: publisher::Receipt) -> Self {
        Self { inner, generation: fork::generation() }
    }

    /// The receipt, if its event is of this process: one of the process that forked this one is never settled here,
    /// and its locks may be held by a thread that is not here.
    fn here(&self) -> PyResult<&publisher::Receipt> {
        if self.generation == fork::generation() {
            return Ok(&self.inner);
        }
        Err(not_delivered(
            "the event was sent by the process that forked this one; only there its receipt tells what became of it",
        ))
    }
}

#[pymethods]
impl Receipt {
    /// Waits until Redis has the event and gives the id of its entry, for example `"1700000000000-0"`.
    ///
    /// Waits `timeout` seconds at most, or without a limit; for threads, event loops await the receipt itself.
    ///
    /// Raises:
    ///     DeliveryError: The event was refused or given up; or it was not acknowledged in time, and may still arrive.
    #[pyo3(signature = (timeout = None))]
    fn result<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyString>> {
        let inner = self.here()?;
        let seconds = |timeout: &Bound<'py, PyAny>| timeout.extract::<Given<f64>>()?.seconds("timeout");
        let limit = timeout.map(seconds).transpose()?;
        let begun = Instant::now();
        let outcome = loop {
            // In slices, so that an interrupt from the keyboard is heard.
            let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            let outcome = py.detach(|| inner.wait(Some(slice)));
            if outcome.is_some() || left == Some(slice) {
                break outcome;
            }
            py.check_signals()?;
        };
        match outcome {
            Some(outcome) => entry_id(py, &outcome),
            None => Err(not_delivered(format!(
                "not acknowledged after {} s; the event stays queued and may still arrive",
                limit.unwrap_or_default().as_secs_f64()
            ))),
        }
    }

    /// Whether it is known what became of the event.
    ///
    /// Raises:
    ///     DeliveryError: The event is of the process that forked this one.
    fn done(&self) -> PyResult<bool> {
        Ok(self.here()?.outcome().is_some())
    }

    /// Gives the id of the event's entry.
    ///
    /// Raises:
    ///     DeliveryError: The event was refused or given up.
    fn __await__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.here()?;
        let event_loop = py.import(name!(py, "asyncio"))?.call_method0(name!(py, "get_running_loop"))?;
        let future = event_loop.call_method0(name!(py, "create_future"))?;
        if let Some(outcome) = inner.outcome() {
            complete(&future, &outcome)?;
        } else {
            let ring = Arc::downgrade(&ring_of(&event_loop)?);
            let future = future.clone().unbind();
            inner.on_settled(move |outcome| ring_in(&ring, future, outcome));
        }
        future.call_method0(name!(py, "__await__"))
    }

    fn __repr__(&self) -> String {
        let Ok(inner) = self.here() else { return "<Receipt of another process>".to_owned() };
        match inner.outcome() {
            None => "<Receipt pending>".to_owned(),
            Some(Ok(id)) => format!("<Receipt {id}>"),
            Some(Err(error)) => format!("<Receipt failed: {error}>"),
        }
    }
}

fn entry_id<'py>(py: Python<'py>, outcome: &Outcome) -> PyResult<Bound<'py, PyString>> {
    match outcome {
        Ok(id) => Ok(PyString::new(py, &id.to_string())),
        Err(error) => Err(error.clone().into()),
    }
}

/// Completes a future, unless it was cancelled meanwhile.
fn complete(future: &Bound<'_, PyAny>, outcome: &Outcome) -> PyResult<()> {
    let py = future.py();
    if future.call_method0(name!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    match entry_id(py, outcome) {
        Ok(id) => future.call_method1(name!(py, "set_result"), (id,))?,
        Err(error) => future.call_method1(name!(py, "set_exception"), (error.into_bound_py_any(py)?,))?,
    };
    Ok(())
}

// === the ring of a loop ===

/// Outcomes that wait for their loop. Bounded by the receipts that are awaited.
struct Ring {
    settled: Mutex<Vec<(Py<PyAny>, Outcome)>>,
    bell: UnixStream,
}

impl Ring {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Py<PyAny>, Outcome)>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A loop's end of its ring. Held by the loop alone, as its reader of `listening`: closed, the loop lets go of it.
#[pyclass(frozen, weakref)]
pub(super) struct LoopRing {
    ring: Arc<Ring>,
    listening: UnixStream,
    /// A child of `fork` that goes on with its parent's loop must not share the socket.
    generation: u64,
}

#[pymethods]
impl LoopRing {
    /// Called by the loop when the bell has rung.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let _ = (&self.listening).read(&mut [0; 64]);
        let settled = std::mem::take(&mut *self.ring.lock());
        // One that fails, of a signal's handler for example, leaves none of the others waiting.
        let mut first = Ok(());
        for (future, outcome) in settled {
            let completed = complete(future.bind(py), &outcome);
            if first.is_ok() {
                first = completed;
            }
        }
        first
    }
}

/// In the writer's thread: no interpreter is needed.
fn ring_in(ring: &Weak<Ring>, future: Py<PyAny>, outcome: &Outcome) {
    // A loop that is gone is not an error: nobody waits for the outcome any more.
    let Some(ring) = ring.upgrade() else { return };
    let mut settled = ring.lock();
    settled.push((future, outcome.clone()));
    let was_empty = settled.len() == 1;
    drop(settled);
    if was_empty {
        // A full socket has rung already.
        let _ = (&ring.bell).write(&[1]);
    }
}

/// The ring of a loop, made when it is first asked for.
fn ring_of(event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Ring>> {
    // Per loop a weak reference to its end.
    static RINGS: Lazy<PyAny> = Lazy::new();
    let py = event_loop.py();
    let rings = RINGS.get_or_try_init(py, || py.import("weakref")?.call_method0("WeakKeyDictionary"))?;
    let known = rings.call_method1(name!(py, "get"), (event_loop,))?;
    if let Ok(known) = known.cast::<PyWeakrefReference>()
        && let Some(known) = known.upgrade_as::<LoopRing>()?
        && known.get().generation == fork::generation()
    {
        return Ok(known.get().ring.clone());
    }
    let (ring, end) = new_ring(event_loop)?;
    rings.set_item(event_loop, PyWeakrefReference::new(end.as_any())?)?;
    Ok(ring)
}

fn new_ring<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<(Arc<Ring>, Bound<'py, LoopRing>)> {
    let py = event_loop.py();
    let failed =
        |error: std::io::Error| PyRuntimeError::new_err(format!("a socket to wake the loop: {error}"));
    let (bell, listening) = UnixStream::pair().map_err(failed)?;
    bell.set_nonblocking(true).map_err(failed)?;
    listening.set_nonblocking(true).map_err(failed)?;
    let fd = listening.as_raw_fd();
    let ring = Arc::new(Ring { settled: Mutex::new(Vec::new()), bell });
    let end = LoopRing { ring: ring.clone(), listening, generation: fork::generation() };
    let end = Bound::new(py, end)?;
    event_loop.call_method1(name!(py, "add_reader"), (fd, end.getattr(name!(py, "drain"))?))?;
    Ok((ring, end))
}
