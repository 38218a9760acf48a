//! Walks a Python event straight into the buffer of the next request.

use std::time::SystemTime;

use pyo3::{
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

use super::{
    errors::not_an_event,
    fields,
    json::{self, repr, too_large},
    lazy::name,
    trace_context::{self, Traceparent},
};
use crate::{
    event::encode::{Encoded, EntryEncoder, JsonKind},
    publisher::PublisherConfig,
};

/// What the publisher and its caller's surroundings add to an event.
pub(super) struct Context<'a> {
    config: &'a PublisherConfig,
    /// Of the current span, for events that have none of their own.
    traceparent: Option<Traceparent>,
}

impl<'a> Context<'a> {
    /// That of this moment, in this thread.
    pub(super) fn current(py: Python<'_>, config: &'a PublisherConfig) -> PyResult<Self> {
        Ok(Self { config, traceparent: trace_context::current(py)? })
    }

    /// Begins an entry.
    pub(super) fn begin<'e>(
        &'e self,
        body: &'e mut Vec<u8>,
        stream: &'e str,
        name: &'e str,
    ) -> PyResult<EntryEncoder<'e>> {
        Ok(EntryEncoder::begin(body, stream, name, &self.config.limits)?)
    }

    /// Ends an entry.
    pub(super) fn finish(&self, mut entry: EntryEncoder<'_>) -> PyResult<Encoded> {
        if let Some(traceparent) = &self.traceparent {
            entry.str_if_absent("traceparent", traceparent.as_str())?;
        }
        Ok(entry.finish(&self.config.source, SystemTime::now())?)
    }
}

/// The name of an event.
pub(super) fn name<'a>(name: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    match name.cast::<PyString>() {
        Ok(name) => json::utf8("event", name),
        Err(_) => Err(not_an_event(format!("field event is {}, expected a string", repr(name)))),
    }
}

/// Writes an event that has its name in it.
pub(super) fn event(
    body: &mut Vec<u8>,
    stream: &str,
    event: &Bound<'_, PyAny>,
    context: &Context<'_>,
) -> PyResult<Encoded> {
    let fields = fields::of(event)?;
    let Some(name) = fields.get_item(name!(fields.py(), "event"))? else {
        return Err(not_an_event(
            "field event is missing: it names the event, for example \"inference-complete\"",
        ));
    };
    let mut entry = context.begin(body, stream, self::name(&name)?)?;
    all(&mut entry, &fields)?;
    context.finish(entry)
}

/// Writes all fields of a dict.
pub(super) fn all(entry: &mut EntryEncoder<'_>, fields: &Bound<'_, PyDict>) -> PyResult<()> {
    each(fields, |key, value| {
        let key = key
            .cast::<PyString>()
            .map_err(|_| not_an_event(format!("the field name {} is not a string", repr(key))))?;
        field(entry, json::utf8("(its name)", key)?, value)
    })
}

/// Does something with each member of a dict, which may run code that changes the dict: refused then.
pub(super) fn each<'py>(
    dict: &Bound<'py, PyDict>,
    mut with: impl FnMut(&Bound<'py, PyAny>, &Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    let size = dict.len();
    // Without the GIL another thread can change it between any two steps.
    #[cfg(Py_GIL_DISABLED)]
    let members = dict.copy()?;
    #[cfg(not(Py_GIL_DISABLED))]
    let members = dict;
    // The iterator panics where it would have to look beyond what there was.
    for (key, value) in members.iter().take(size) {
        with(&key, &value)?;
        if dict.len() != size {
            return Err(not_an_event("a dict was changed while it was written; publish a copy of it"));
        }
    }
    Ok(())
}

/// Writes one field.
pub(super) fn field(entry: &mut EntryEncoder<'_>, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    field_at(entry, name, value, 0)
}

fn field_at(
    entry: &mut EntryEncoder<'_>,
    name: &str,
    value: &Bound<'_, PyAny>,
    depth: usize,
) -> PyResult<()> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(entry.str(name, json::utf8(name, text)?)?);
    }
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return Ok(entry.f64(name, number.value())?);
    }
    if value.is_none() {
        return Ok(entry.null(name)?);
    }
    if let Ok(value) = value.cast_exact::<PyBool>() {
        return Ok(entry.bool(name, value.is_true())?);
    }
    if value.is_instance_of::<PyInt>() {
        return integer(entry, name, value);
    }
    let kind = if value.is_instance_of::<PyDict>() {
        JsonKind::Object
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        JsonKind::Array
    } else if let Ok(number) = value.cast::<PyFloat>() {
        return Ok(entry.f64(name, number.value())?);
    } else {
        return field_at(entry, name, &json::plain(name, value, depth)?, depth + 1);
    };
    entry.json_with(name, kind, |body| json::write(name, value, body))
}

fn integer(entry: &mut EntryEncoder<'_>, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(number) = value.extract::<i64>() {
        match u64::try_from(number) {
            Ok(number) => entry.u64(name, number)?,
            Err(_) => entry.i64(name, number)?,
        }
        return Ok(());
    }
    match value.extract::<u64>() {
        Ok(number) => Ok(entry.u64(name, number)?),
        Err(_) => Err(too_large(name, value)),
    }
}
