//! Python values as JSON text, written straight into the buffer.

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

use super::{encode::each, errors::not_an_event, fields, lazy::name};
use crate::event::encode::MAX_JSON_DEPTH;

/// Appends a value; `field` names it in errors.
pub(super) fn write(field: &str, value: &Bound<'_, PyAny>, body: &mut Vec<u8>) -> PyResult<()> {
    write_at(field, value, body, 0)
}

fn write_at(field: &str, value: &Bound<'_, PyAny>, body: &mut Vec<u8>, depth: usize) -> PyResult<()> {
    if depth > MAX_JSON_DEPTH {
        return Err(not_an_event(format!("field {field} is nested deeper than {MAX_JSON_DEPTH} levels")));
    }
    if value.is_none() {
        body.extend_from_slice(b"null");
    } else if let Ok(text) = value.cast::<PyString>() {
        write_str(utf8(field, text)?, body);
    } else if let Ok(value) = value.cast::<PyBool>() {
        body.extend_from_slice(if value.is_true() { b"true" } else { b"false" });
    } else if value.is_instance_of::<PyInt>() {
        write_int(field, value, body)?;
    } else if let Ok(number) = value.cast::<PyFloat>() {
        write_float(field, number.value(), body)?;
    } else if let Ok(dict) = value.cast::<PyDict>() {
        write_dict(field, dict, body, depth)?;
    } else if let Ok(list) = value.cast::<PyList>() {
        write_items(field, list.iter(), body, depth)?;
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        write_items(field, tuple.iter(), body, depth)?;
    } else {
        write_at(field, &plain(field, value, depth)?, body, depth + 1)?;
    }
    Ok(())
}

fn write_dict(field: &str, dict: &Bound<'_, PyDict>, body: &mut Vec<u8>, depth: usize) -> PyResult<()> {
    body.push(b'{');
    let mut is_first = true;
    each(dict, |key, value| {
        if !std::mem::take(&mut is_first) {
            body.push(b',');
        }
        let key = key.cast::<PyString>().map_err(|_| {
            not_an_event(format!(
                "field {field} holds an object with the key {}, expected a string",
                repr(key)
            ))
        })?;
        write_str(utf8(field, key)?, body);
        body.push(b':');
        write_at(field, value, body, depth + 1)
    })?;
    body.push(b'}');
    Ok(())
}

fn write_items<'py>(
    field: &str,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    body: &mut Vec<u8>,
    depth: usize,
) -> PyResult<()> {
    body.push(b'[');
    for (place, item) in items.enumerate() {
        if place > 0 {
            body.push(b',');
        }
        write_at(field, &item, body, depth + 1)?;
    }
    body.push(b']');
    Ok(())
}

fn write_int(field: &str, value: &Bound<'_, PyAny>, body: &mut Vec<u8>) -> PyResult<()> {
    let mut buffer = itoa::Buffer::new();
    let text = match (value.extract::<i64>(), value.extract::<u64>()) {
        (Ok(number), _) => buffer.format(number),
        (_, Ok(number)) => buffer.format(number),
        _ => return Err(too_large(field, value)),
    };
    body.extend_from_slice(text.as_bytes());
    Ok(())
}

fn write_float(field: &str, number: f64, body: &mut Vec<u8>) -> PyResult<()> {
    if !number.is_finite() {
        return Err(not_an_event(format!("field {field} holds {number}, expected a finite number")));
    }
    serde_json::to_writer(body, &number).map_err(|error| not_an_event(format!("field {field}: {error}")))
}

fn write_str(text: &str, body: &mut Vec<u8>) {
    serde_json::to_writer(body, text).expect("writing text to memory can't fail");
}

/// An integer that no reader of the streams could take.
pub(super) fn too_large(field: &str, value: &Bound<'_, PyAny>) -> PyErr {
    not_an_event(format!("field {field} is {}, expected an integer of at most 64 bits", repr(value)))
}

/// What a value of a class that JSON does not know stands for: dates and UUIDs their text, dataclasses
/// and pydantic models their fields, enumerations their value, `NumPy`'s scalars a number.
///
/// `depth` counts how often that was asked on the way here: what an object says it stands for may be the like of it.
pub(super) fn plain<'py>(
    field: &str,
    value: &Bound<'py, PyAny>,
    depth: usize,
) -> PyResult<Bound<'py, PyAny>> {
    if depth > MAX_JSON_DEPTH {
        return Err(not_an_event(format!("field {field} is nested deeper than {MAX_JSON_DEPTH} levels")));
    }
    let py = value.py();
    match stands_for(value) {
        Ok(Some(plain)) => Ok(plain),
        Ok(None) => Err(not_an_event(format!(
            "field {field} is {} of type {}, expected str, int, float, bool, None, list or dict",
            repr(value),
            value.get_type().name()?
        ))),
        Err(error) if error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyTypeError>(py) => {
            let (what, why) = (repr(value), error.value(py));
            Err(not_an_event(format!("field {field} is {what}, which can't be written: {why}")))
        }
        Err(error) => Err(error),
    }
}

fn stands_for<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    if value.hasattr(name!(py, "isoformat"))? {
        return value.call_method0(name!(py, "isoformat")).map(Some);
    }
    if let Some(fields) = fields::of_object(value)? {
        return Ok(Some(fields.into_any()));
    }
    if value.hasattr(name!(py, "item"))? {
        return value.call_method0(name!(py, "item")).map(Some);
    }
    let class = value.get_type();
    let is_text = class.name()?.to_str()? == "UUID" || value.hasattr(name!(py, "__fspath__"))?;
    if is_text {
        return Ok(Some(value.str()?.into_any()));
    }
    if value.hasattr(name!(py, "_value_"))? {
        return value.getattr(name!(py, "_value_")).map(Some);
    }
    Ok(None)
}

/// A string as UTF-8, which a lone surrogate (of a file name, say) has no form in.
pub(super) fn utf8<'a>(field: &str, text: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    text.to_str().map_err(|_| {
        not_an_event(format!(
            "field {field} is {}, which holds a lone surrogate; replace or encode it",
            repr(text)
        ))
    })
}

/// A value as Python shows it, cut short.
pub(super) fn repr(value: &Bound<'_, PyAny>) -> String {
    let text = value.repr().map_or_else(|_| "a value".to_owned(), |text| text.to_string());
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
