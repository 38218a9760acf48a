//! Events as the package's `Event`: a dict that knows where it comes from.

use pyo3::{
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyType},
};

use super::{subscription::Delivery, values};
use crate::event::Event;

/// An `Event` with the fields of an event.
pub(super) fn object<'py>(py: Python<'py>, event: &Event, source: Delivery) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let object = CLASS.import(py, "synapse_rs.events", "Event")?.call0()?;
    values::fill(object.cast::<PyDict>()?, event.fields())?;
    object.setattr(intern!(py, "_delivery"), source)?;
    Ok(object)
}

/// Where an `Event` comes from.
pub(super) fn delivery<'py>(event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Delivery>> {
    Ok(event.getattr(intern!(event.py(), "_delivery"))?.cast_into::<Delivery>()?)
}
