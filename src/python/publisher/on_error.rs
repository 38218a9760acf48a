//! `on_error`: events that are given up, on their way to a function of Python.
//!
//! The writer, which must not wait, copies them into a mailbox; a thread of Python's takes them out and calls.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::PyValueError,
    prelude::*,
    types::{PyDict, PyList},
};

use crate::{
    event::decode,
    publisher::{DeliveryError, GivenUp, OnGivenUp},
    python::{lazy::name, mailbox::Mailbox, values},
};

/// How many events may wait to be told of.
const MAX_EVENTS: usize = 10_000;

/// How many bytes they may have.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The function of `on_error`. It stands here and nowhere else, so that the garbage collector can see who holds it.
pub(super) struct Callback(Mutex<Option<Py<PyAny>>>);

impl Callback {
    pub(super) fn new(function: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        let py = function.py();
        let inspect = py.import(name!(py, "inspect"))?;
        let is_async = |function: &Bound<'_, PyAny>| {
            inspect.call_method1(name!(py, "iscoroutinefunction"), (function,))?.is_truthy()
        };
        let call = function.get_type().getattr(name!(py, "__call__"));
        if !function.is_callable()
            || is_async(function)?
            || call.is_ok_and(|call| is_async(&call).is_ok_and(|is| is))
        {
            return Err(PyValueError::new_err(format!(
                "on_error is {}, expected a function, not async, of a stream, an event and an error",
                function.repr()?
            )));
        }
        Ok(Arc::new(Self(Mutex::new(Some(function.clone().unbind())))))
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Whoever has it locked is using it: then it is not garbage.
        match self.0.try_lock() {
            Ok(function) => visit.call(&*function),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn clear(&self) {
        // Let go of when the lock is free: its end may run any code.
        let function = self.lock().take();
        drop(function);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.lock().as_ref().map(|function| function.clone_ref(py))
    }
}

/// An event that was given up, and why.
struct Letter {
    stream: String,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    error: DeliveryError,
}

/// The events of one publisher that were given up, for the thread that tells of them.
#[pyclass(frozen, module = "synapse_rs._core")]
pub(in crate::python) struct Letters {
    mailbox: Arc<Mailbox<Letter>>,
    callback: Arc<Callback>,
}

/// What a publisher holds of its letters.
#[derive(Clone)]
pub(super) struct Sender(Arc<Mailbox<Letter>>);

impl Sender {
    /// A mailbox for events that are given up, and the thread that empties it.
    pub(super) fn start(py: Python<'_>, callback: &Arc<Callback>) -> PyResult<Self> {
        let mailbox = Arc::new(Mailbox::new(MAX_EVENTS, MAX_BYTES));
        let letters = Letters { mailbox: mailbox.clone(), callback: callback.clone() };
        py.import(name!(py, "synapse_rs._background"))?
            .call_method1(name!(py, "tell_of_given_up"), (letters,))?;
        Ok(Self(mailbox))
    }

    /// What the writer calls.
    pub(super) fn on_given_up(&self) -> OnGivenUp {
        let mailbox = self.0.clone();
        OnGivenUp(Arc::new(move |given_up: &GivenUp<'_>| {
            let bytes = given_up.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
            mailbox.put(bytes, || Letter {
                stream: given_up.stream.to_owned(),
                fields: given_up.fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
                error: given_up.error.clone(),
            });
        }))
    }

    /// The writer has ended: no more are given up.
    pub(super) fn end(&self) {
        self.0.end();
    }

    /// Whether this thread is the one that tells of events.
    pub(super) fn is_at_work_here(&self) -> bool {
        self.0.is_at_work_here()
    }

    /// Waits until the function was told of all.
    pub(super) fn done(&self, timeout: Duration) -> bool {
        self.0.done(timeout)
    }
}

#[pymethods]
impl Letters {
    /// Waits for events that were given up: the function to be told, each stream, event and error, and how many more
    /// there were for which there was no room. `None` at the end.
    #[expect(clippy::type_complexity, reason = "a tuple of Python's")]
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<(Option<Py<PyAny>>, Bound<'py, PyList>, u64)>> {
        let Some(taken) = self.mailbox.take(py) else { return Ok(None) };
        let letters = taken.items.into_iter().map(|letter| {
            let event = letter.event(py)?;
            PyResult::Ok((letter.stream, event, PyErr::from(letter.error).into_value(py)))
        });
        let letters = PyList::new(py, letters.collect::<PyResult<Vec<_>>>()?)?;
        Ok(Some((self.callback.get(py), letters, taken.left_out)))
    }
}

impl Letter {
    /// The event as a reader would get it, or its texts if no reader would.
    fn event<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let pairs = || self.fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        if let Ok(decoded) = decode(&self.stream, pairs())
            && let Some(event) = decoded.event()
        {
            return values::dict(py, event.fields());
        }
        let texts = PyDict::new(py);
        for (name, value) in pairs() {
            texts.set_item(String::from_utf8_lossy(name), String::from_utf8_lossy(value))?;
        }
        Ok(texts)
    }
}
