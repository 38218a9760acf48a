//! Events as the package's `Event`: a dict that knows where it comes from.

use pyo3::{
    prelude::*,
    types::{PyDict, PyType},
};

use super::{
    lazy::{Lazy, name},
    subscription::Delivery,
    values,
};
use crate::event::Event;

/// An `Event` with the fields of an event.
pub(super) fn object<'py>(py: Python<'py>, event: &Event, source: Delivery) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: Lazy<PyType> = Lazy::new();
    let import = || Ok(py.import("synapse_rs.events")?.getattr("Event")?.cast_into()?);
    let object = CLASS.get_or_try_init(py, import)?.call0()?;
    values::fill(object.cast::<PyDict>()?, event.fields())?;
    object.setattr(name!(py, "_delivery"), source)?;
    Ok(object)
}

/// Where an `Event` comes from.
pub(super) fn delivery<'py>(event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Delivery>> {
    Ok(event.getattr(name!(event.py(), "_delivery"))?.cast_into::<Delivery>()?)
}
