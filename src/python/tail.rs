//! Streams read without a group, for the package's `tail`.

use std::sync::Arc;

use pyo3::{prelude::*, types::PyDict};
use serde_json::Value;

use super::{
    events, runtime,
    settings::{after, redis},
    subscription::Delivery,
    values,
};
use crate::{
    event::Event,
    filter,
    stream::{EntryId, StreamError},
    tail::{self as core, News},
};

/// A `where` condition.
#[pyclass(frozen, module = "synapse_rs._core")]
pub(super) struct Filter {
    inner: filter::Filter,
}

#[pymethods]
impl Filter {
    #[new]
    fn new(condition: &Bound<'_, PyDict>) -> PyResult<Self> {
        let condition = values::json("where", condition)?;
        Ok(Self { inner: filter::Filter::from_json(&condition)? })
    }

    /// Whether the fields of an event fulfil it.
    fn matches(&self, fields: &Bound<'_, PyDict>) -> PyResult<bool> {
        match values::json("event", fields)? {
            Value::Object(fields) => Ok(self.inner.matches(&Event::from(fields))),
            _ => Ok(false),
        }
    }
}

/// Reads streams from a place on.
#[pyclass(frozen, module = "synapse_rs._core")]
pub(super) struct Tail {
    inner: Arc<tokio::sync::Mutex<core::Tail>>,
    condition: Option<filter::Filter>,
}

/// Events on their way to Python.
struct Batch(Vec<(String, EntryId, Event)>);

impl<'py> IntoPyObject<'py> for Batch {
    type Target = pyo3::types::PyList;
    type Output = Bound<'py, Self::Target>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let object = |(stream, id, event): (String, EntryId, Event)| {
            events::object(py, &event, Delivery::watched(stream.into(), id, 1))
        };
        pyo3::types::PyList::new(py, self.0.into_iter().map(object).collect::<PyResult<Vec<_>>>()?)
    }
}

#[pymethods]
impl Tail {
    #[staticmethod]
    #[pyo3(signature = (url, streams, *, after, condition = None))]
    fn open<'py>(
        py: Python<'py>,
        url: &str,
        streams: Vec<String>,
        after: &str,
        condition: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let settings = redis(url)?;
        let place = self::after(after)?;
        let condition = match condition {
            Some(condition) => Some(filter::Filter::from_json(&values::json("where", condition)?)?),
            None => None,
        };
        runtime::awaitable(py, async move {
            let inner = core::Tail::open(settings, &streams, place).await?;
            Ok::<_, StreamError>(Self { inner: Arc::new(tokio::sync::Mutex::new(inner)), condition })
        })
    }

    /// The next events that fulfil the condition. Waits out failures of Redis that pass.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.inner.clone();
        let condition = self.condition.clone();
        runtime::awaitable(py, async move {
            let mut tail = inner.lock().await;
            loop {
                let entries = match tail.next().await {
                    News::Entries(entries) => entries,
                    // Of the wrong type, forbidden: waiting would not help.
                    News::Interrupted(error) if !error.is_transient() => return Err(error),
                    News::Interrupted(_) | News::Resumed(_) => continue,
                };
                let wanted =
                    |event: &Event| condition.as_ref().is_none_or(|condition| condition.matches(event));
                let events: Vec<_> = entries
                    .into_iter()
                    .filter_map(|entry| Some((entry.stream, entry.id, entry.event.ok().flatten()?)))
                    .filter(|(_, _, event)| wanted(event))
                    .collect();
                if !events.is_empty() {
                    return Ok(Batch(events));
                }
            }
        })
    }
}
