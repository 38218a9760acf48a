//! JSON values as Python objects.

use pyo3::{
    IntoPyObjectExt as _,
    prelude::*,
    types::{PyDict, PyList, PyString},
};
use serde_json::{Map, Value};

use super::{errors::not_an_event, json};

/// A dict of an object's members.
pub(super) fn dict<'py>(py: Python<'py>, fields: &Map<String, Value>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    fill(&dict, fields)?;
    Ok(dict)
}

/// Puts an object's members into a dict.
pub(super) fn fill(dict: &Bound<'_, PyDict>, fields: &Map<String, Value>) -> PyResult<()> {
    let py = dict.py();
    for (name, value) in fields {
        // Names repeat from event to event: interned, each is made once.
        dict.set_item(PyString::intern(py, name), object(py, value)?)?;
    }
    Ok(())
}

fn object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(value) => value.into_bound_py_any(py),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into_bound_py_any(py),
            (None, Some(number)) => number.into_bound_py_any(py),
            (None, None) => number.as_f64().into_bound_py_any(py),
        },
        Value::String(text) => text.into_bound_py_any(py),
        Value::Array(items) => {
            let items = items.iter().map(|item| object(py, item)).collect::<PyResult<Vec<_>>>()?;
            Ok(PyList::new(py, items)?.into_any())
        }
        Value::Object(members) => Ok(dict(py, members)?.into_any()),
    }
}

/// The JSON value that a Python object stands for.
pub(super) fn json(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let mut text = Vec::new();
    json::write(name, value, &mut text)?;
    serde_json::from_slice(&text).map_err(|error| not_an_event(format!("{name}: {error}")))
}
