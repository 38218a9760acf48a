//! Walks a Python event straight into the buffer of the next request.

use std::time::SystemTime;

use pyo3::{
    intern,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple},
};

use super::{
    errors::not_an_event,
    json::{self, repr, too_large},
};
use crate::{
    event::encode::{Encoded, EntryEncoder, JsonKind},
    publisher::PublisherConfig,
};

/// An event as the caller gave it, as a dict.
pub(super) fn fields<'py>(event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(dict) = event.cast::<PyDict>() {
        return Ok(dict.clone());
    }
    let py = event.py();
    let dumped = if event.hasattr(intern!(py, "model_dump"))? {
        event.call_method0(intern!(py, "model_dump"))?
    } else if event.hasattr(intern!(py, "__dataclass_fields__"))? {
        py.import(intern!(py, "dataclasses"))?.call_method1(intern!(py, "asdict"), (event,))?
    } else if event.cast::<PyMapping>().is_ok() {
        py.get_type::<PyDict>().call1((event,))?
    } else {
        return Err(not_an_event(format!(
            "{} is not an event: expected a dict, a dataclass or an object with model_dump()",
            repr(event)
        )));
    };
    Ok(dumped.cast_into::<PyDict>()?)
}

/// The event's name.
pub(super) fn name<'py>(fields: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyString>> {
    match fields.get_item(intern!(fields.py(), "event"))? {
        Some(name) => name.cast_into::<PyString>().map_err(|error| {
            not_an_event(format!("field event is {}, expected a string", repr(&error.into_inner())))
        }),
        None => Err(not_an_event(
            "field event is missing: it names the event, for example \"inference-complete\"",
        )),
    }
}

/// Writes an event that is a dict with its name in it.
pub(super) fn event(
    body: &mut Vec<u8>,
    stream: &str,
    event: &Bound<'_, PyAny>,
    config: &PublisherConfig,
) -> PyResult<Encoded> {
    let fields = fields(event)?;
    let name = name(&fields)?;
    let mut entry = EntryEncoder::begin(body, stream, json::utf8("event", &name)?, &config.limits)?;
    all(&mut entry, &fields)?;
    Ok(entry.finish(&config.source, SystemTime::now())?)
}

/// Writes all fields of a dict.
pub(super) fn all(entry: &mut EntryEncoder<'_>, fields: &Bound<'_, PyDict>) -> PyResult<()> {
    for (key, value) in fields.iter() {
        let key = key
            .cast::<PyString>()
            .map_err(|_| not_an_event(format!("the field name {} is not a string", repr(&key))))?;
        field(entry, json::utf8("(its name)", key)?, &value)?;
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
