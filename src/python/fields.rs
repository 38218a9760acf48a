//! An event of any accepted class as a dict of its fields.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pyo3::{
    exceptions::{PyAttributeError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyDict, PyMapping, PyString, PyType, PyWeakrefReference},
};

use super::{errors::not_an_event, json::repr, lazy::name};

/// An event's fields: those of a dict are the dict itself.
pub(super) fn of<'py>(event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(dict) = event.cast::<PyDict>() {
        return Ok(dict.clone());
    }
    if let Some(fields) = of_object(event)? {
        return Ok(fields);
    }
    if event.cast::<PyMapping>().is_ok() {
        return Ok(event.py().get_type::<PyDict>().call1((event,))?.cast_into::<PyDict>()?);
    }
    Err(not_an_event(format!(
        "{} is not an event: expected a dict, a dataclass or an object with model_dump()",
        repr(event)
    )))
}

/// The fields of a dataclass or of an object with `model_dump()`; of what lies in their values nothing is copied, nor
/// asked: that is for who writes it.
pub(super) fn of_object<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyDict>>> {
    let shape = shape_of(&object.get_type())?;
    match shape.how {
        How::Dict | How::Extended => match from_dict(object, &shape)? {
            Some(fields) => Ok(Some(fields)),
            // Something else was put there, or taken away.
            None if object.hasattr(name!(object.py(), "model_dump"))? => dump(object).map(Some),
            None => from_attributes(object, &shape.names).map(Some),
        },
        How::Attributes => from_attributes(object, &shape.names).map(Some),
        How::Dump => dump(object).map(Some),
        // An object can have what its class has not (`__getattr__`); a class has what is for its objects.
        How::Other if object.is_instance_of::<PyType>() => Ok(None),
        How::Other if object.hasattr(name!(object.py(), "model_dump"))? => dump(object).map(Some),
        How::Other => Ok(None),
    }
}

/// An object's own dict, if it holds the names of the class in their order and no others.
fn from_dict<'py>(object: &Bound<'py, PyAny>, shape: &Shape) -> PyResult<Option<Bound<'py, PyDict>>> {
    let (py, names) = (object.py(), &shape.names);
    let Ok(dict) = object.getattr(name!(py, "__dict__"))?.cast_into::<PyDict>() else { return Ok(None) };
    // Without the GIL another thread can change it between any two steps.
    #[cfg(Py_GIL_DISABLED)]
    let dict = dict.copy()?;
    // Names are interned, so that the same text is the same object.
    let fits = dict.len() == names.len() && dict.iter().zip(names).all(|((key, _), name)| key.is(name));
    if !fits {
        return Ok(None);
    }
    if let How::Extended = shape.how
        && let Ok(others) = object.getattr(name!(py, "__pydantic_extra__"))?.cast::<PyDict>()
        && !others.is_empty()
    {
        let all = dict.copy()?;
        all.update(others.as_mapping())?;
        return Ok(Some(all));
    }
    Ok(Some(dict))
}

fn from_attributes<'py>(object: &Bound<'py, PyAny>, names: &[Py<PyString>]) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(object.py());
    for name in names {
        fields.set_item(name, object.getattr(name).map_err(|error| unusable(object, error))?)?;
    }
    Ok(fields)
}

fn dump<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let py = object.py();
    let dumped = object.call_method0(name!(py, "model_dump")).map_err(|error| unusable(object, error))?;
    dumped.cast_into::<PyDict>().map_err(|error| {
        let found = repr(&error.into_inner());
        not_an_event(format!("model_dump() of {} gave {found}, expected a dict", repr(object)))
    })
}

/// An object that does not give its fields is an invalid event; whatever else went wrong goes on as it is.
fn unusable(object: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let py = object.py();
    let is_its_fault = error.is_instance_of::<PyValueError>(py)
        || error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyAttributeError>(py);
    if is_its_fault {
        return not_an_event(format!("{} does not give its fields: {}", repr(object), error.value(py)));
    }
    error
}

// === what is known of classes ===

/// How objects of a class give up their fields; found out in Python, by `synapse_rs._shapes`.
struct Shape {
    how: How,
    names: Vec<Py<PyString>>,
}

#[derive(Clone, Copy)]
enum How {
    /// They are in `__dict__`.
    Dict,
    /// They are in `__dict__` and in `__pydantic_extra__`.
    Extended,
    /// They are attributes.
    Attributes,
    /// By `model_dump()`.
    Dump,
    /// Neither a model nor a dataclass.
    Other,
}

struct Known {
    /// Tells the class from one that is made at its address when it is gone.
    class: Py<PyWeakrefReference>,
    shape: Arc<Shape>,
}

/// How many classes are known at most; a program that makes classes as it goes begins anew.
const MAX_CLASSES: usize = 1024;

/// Held only for moments in which no object's end and no Python code is run: so nobody holds it at a fork.
static CLASSES: Mutex<Option<HashMap<usize, Known>>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<HashMap<usize, Known>>> {
    CLASSES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Found out once: what is done to a class later does not count.
fn shape_of(class: &Bound<'_, PyType>) -> PyResult<Arc<Shape>> {
    let address = class.as_ptr() as usize;
    if let Some(shape) = known(class, address) {
        return Ok(shape);
    }
    let shape = Arc::new(find(class)?);
    let known = Known { class: PyWeakrefReference::new(class.as_any())?.unbind(), shape: shape.clone() };
    let mut guard = lock();
    let classes = guard.get_or_insert_default();
    let gone = if classes.len() >= MAX_CLASSES { std::mem::take(classes) } else { HashMap::new() };
    let before = classes.insert(address, known);
    // What they held ends when the lock is free.
    drop(guard);
    drop((gone, before));
    Ok(shape)
}

fn known(class: &Bound<'_, PyType>, address: usize) -> Option<Arc<Shape>> {
    let py = class.py();
    let (known, shape) = {
        let classes = lock();
        let known = classes.as_ref()?.get(&address)?;
        (known.class.clone_ref(py), known.shape.clone())
    };
    let is_same = known.bind(py).upgrade().is_some_and(|same| same.is(class));
    is_same.then_some(shape)
}

fn find(class: &Bound<'_, PyType>) -> PyResult<Shape> {
    let py = class.py();
    let shapes = py.import(name!(py, "synapse_rs._shapes"))?;
    let (how, names): (String, Vec<Bound<'_, PyString>>) =
        shapes.call_method1(name!(py, "shape"), (class,))?.extract()?;
    let how = match how.as_str() {
        "dict" => How::Dict,
        "extended" => How::Extended,
        "attributes" => How::Attributes,
        "dump" => How::Dump,
        _ => How::Other,
    };
    let interned = |name: Bound<'_, PyString>| match name.to_str() {
        Ok(text) => PyString::intern(py, text).unbind(),
        Err(_) => name.unbind(),
    };
    Ok(Shape { how, names: names.into_iter().map(interned).collect() })
}
