//! Each cause to a named exception. The classes are Python's own, in `synapse_rs.errors`.

use pyo3::{
    PyErr, PyTypeInfo as _,
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    types::PyType,
};

use super::{
    lazy::{Lazy, name},
    runtime,
};
use crate::{
    config::InvalidRedisUrl,
    consumer::ConsumeError,
    event::InvalidEvent,
    filter::InvalidFilter,
    publisher::{DeliveryError, FlushError, PublishError},
    stream::StreamError,
};

macro_rules! exception {
    ($function:ident, $name:literal) => {
        fn $function(message: impl std::fmt::Display) -> PyErr {
            static CLASS: Lazy<PyType> = Lazy::new();
            new(&CLASS, $name, message.to_string())
        }
    };
}

exception!(synapse_error, "SynapseError");
exception!(connection_failed, "ConnectionFailed");
exception!(queue_full, "QueueFull");
exception!(delivery_error, "DeliveryError");
exception!(invalid_event, "InvalidEvent");
exception!(closed, "Closed");

/// An error of ours with another text. Any other, of a signal's handler for example, goes on as it is, with a note.
pub(super) fn with_text(py: Python<'_>, error: PyErr, text: impl FnOnce(&str) -> String) -> PyErr {
    let own = ["InvalidEvent", "QueueFull", "Closed"].map(|name| synapse_class(py, name));
    let class = error.get_type(py);
    if own.iter().flatten().any(|own| own.is(&class)) {
        return PyErr::from_type(class, text(&error.value(py).to_string()));
    }
    // An exception may refuse notes; it is what counts.
    let _ = error.value(py).call_method1(name!(py, "add_note"), (text("interrupted"),));
    error
}

fn synapse_class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(name!(py, "synapse_rs.errors"))?.getattr(name)
}

fn new(class: &'static Lazy<PyType>, name: &str, message: String) -> PyErr {
    Python::attach(|py| match class.get_or_try_init(py, || named(py, name)) {
        Ok(class) => PyErr::from_type(class.clone(), message),
        // The package is broken or being torn down: the message still gets out.
        Err(_) => PyErr::from_type(PyRuntimeError::type_object(py), message),
    })
}

fn named<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    Ok(py.import("synapse_rs.errors")?.getattr(name)?.cast_into()?)
}

impl From<PublishError> for PyErr {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::InvalidEvent(error) => error.into(),
            PublishError::InvalidStream { .. } => invalid_event(error),
            PublishError::QueueFull(_) => queue_full(error),
            // Closed for it, not by whoever publishes.
            PublishError::Closed if runtime::is_ending() => closed(runtime::ENDING_TEXT),
            PublishError::Closed => closed(error),
        }
    }
}

impl From<InvalidEvent> for PyErr {
    fn from(error: InvalidEvent) -> Self {
        invalid_event(error)
    }
}

impl From<DeliveryError> for PyErr {
    fn from(error: DeliveryError) -> Self {
        delivery_error(error)
    }
}

impl From<FlushError> for PyErr {
    fn from(error: FlushError) -> Self {
        delivery_error(error)
    }
}

impl From<StreamError> for PyErr {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Unreachable { .. } | StreamError::Unauthorized { .. } => connection_failed(error),
            StreamError::Refused { .. } | StreamError::Unexpected { .. } => synapse_error(error),
        }
    }
}

impl From<ConsumeError> for PyErr {
    fn from(error: ConsumeError) -> Self {
        match error {
            ConsumeError::InvalidSetting { .. } => PyValueError::new_err(error.to_string()),
            ConsumeError::Stream(error) => error.into(),
        }
    }
}

impl From<InvalidRedisUrl> for PyErr {
    fn from(error: InvalidRedisUrl) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<InvalidFilter> for PyErr {
    fn from(error: InvalidFilter) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// An event that is no event at all: not even its fields can be walked.
pub(super) fn not_an_event(message: impl std::fmt::Display) -> PyErr {
    invalid_event(message)
}

/// An event found no room.
pub(super) fn queue_is_full(message: impl std::fmt::Display) -> PyErr {
    queue_full(message)
}

/// Used after it was closed.
pub(super) fn is_closed(message: impl std::fmt::Display) -> PyErr {
    closed(message)
}

/// Nothing was heard in time.
pub(super) fn not_delivered(message: impl std::fmt::Display) -> PyErr {
    delivery_error(message)
}
