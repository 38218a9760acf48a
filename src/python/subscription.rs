//! A consumer group's events, for the package's `Consumer`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyDict, PyList},
};

use super::{
    events, runtime,
    settings::{redis, seconds},
    values,
};
use crate::{
    consumer::{self as core, ConsumeError, ConsumerConfig, Kind, Settler, Verdict},
    filter::Filter,
    stream::EntryId,
};

/// A member of a consumer group.
#[pyclass(frozen, module = "synapse_rs._core")]
pub(super) struct Subscription {
    inner: Arc<tokio::sync::Mutex<Option<core::Subscription>>>,
    settler: Settler,
    consumer: String,
}

/// Where an event comes from, and where to say what became of it.
#[pyclass(frozen, module = "synapse_rs._core")]
pub(super) struct Delivery {
    stream: Arc<str>,
    id: EntryId,
    deliveries: u32,
    /// None of an event that was only watched.
    settler: Option<Settler>,
    is_settled: AtomicBool,
}

#[pymethods]
impl Subscription {
    /// Joins the group. `settings` are those of the package's `Consumer`, which documents them.
    #[staticmethod]
    #[pyo3(signature = (url, *, condition = None, **settings))]
    fn open<'py>(
        py: Python<'py>,
        url: &str,
        condition: Option<&Bound<'py, PyDict>>,
        settings: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let address = redis(url)?;
        let settings: Settings = match settings {
            Some(settings) => settings.as_any().extract()?,
            None => return Err(PyValueError::new_err("a consumer needs settings")),
        };
        let mut config = settings.config()?;
        if let Some(condition) = condition {
            config.condition = Some(Filter::from_json(&values::json("where", condition)?)?);
        }
        config.check()?;
        runtime::awaitable(py, async move {
            let inner = core::Subscription::open(address, config).await?;
            let (settler, consumer) = (inner.settler(), inner.consumer().to_owned());
            Ok::<_, ConsumeError>(Self {
                inner: Arc::new(tokio::sync::Mutex::new(Some(inner))),
                settler,
                consumer,
            })
        })
    }

    /// Waits until there may be something to take; false once it is closed. Safe to cancel.
    fn ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let settler = self.settler.clone();
        runtime::awaitable(py, async move { Ok::<_, PyErr>(settler.ready().await) })
    }

    /// At most `max_events` events that are ready, in stream order but for those that are delivered again. With
    /// `singly`, one that is delivered again comes by itself.
    #[pyo3(signature = (max_events, *, singly = false))]
    fn take<'py>(&self, py: Python<'py>, max_events: usize, singly: bool) -> PyResult<Bound<'py, PyList>> {
        let taken = match max_events {
            1 => self.settler.take(1, singly),
            // Decoding many takes a while, and needs nobody's lock.
            _ => py.detach(|| self.settler.take(max_events, singly)),
        };
        let event = |delivery: core::Delivery| {
            let source = Delivery {
                stream: delivery.stream,
                id: delivery.id,
                deliveries: delivery.deliveries,
                settler: Some(self.settler.clone()),
                is_settled: AtomicBool::new(false),
            };
            events::object(py, &delivery.event, source)
        };
        PyList::new(py, taken.into_iter().map(event).collect::<PyResult<Vec<_>>>()?)
    }

    /// All of these were handled, but for those that are settled already.
    fn ack_all(&self, events: &Bound<'_, PyList>) -> PyResult<()> {
        let mut settled = Vec::with_capacity(events.len());
        for event in events {
            let delivery = events::delivery(&event)?;
            let delivery = delivery.get();
            if delivery.settles() {
                settled.push((delivery.stream.clone(), delivery.id));
            }
        }
        self.settler.ack_all(&settled);
        Ok(())
    }

    /// What is needed to handle events is not there: none are handed out for so many seconds.
    fn pause(&self, after: f64) -> PyResult<()> {
        self.settler.pause(seconds("after", after)?);
        Ok(())
    }

    #[getter]
    fn consumer(&self) -> &str {
        &self.consumer
    }

    /// What it has done so far, and what it has in hand.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = serde_json::to_value(self.settler.stats());
        let stats = stats.map_err(|error| PyValueError::new_err(error.to_string()))?;
        values::dict(py, stats.as_object().unwrap_or(&serde_json::Map::new()))
    }

    /// Up to where each stream is settled.
    fn positions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let positions = PyDict::new(py);
        for (stream, id) in self.settler.positions() {
            positions.set_item(&*stream, id.to_string())?;
        }
        Ok(positions)
    }

    /// Stops reading, gives back what was not handled, and leaves the group.
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.inner.clone();
        runtime::awaitable_none(py, async move {
            let subscription = inner.lock().await.take();
            if let Some(subscription) = subscription {
                subscription.close().await;
            }
            Ok::<_, PyErr>(())
        })
    }
}

#[pymethods]
impl Delivery {
    /// Of an event that nobody waits to hear of.
    #[new]
    #[pyo3(signature = (stream, id, deliveries = 1))]
    fn new(stream: &str, id: &str, deliveries: u32) -> PyResult<Self> {
        let id = id
            .parse()
            .map_err(|error: crate::stream::MalformedEntryId| PyValueError::new_err(error.to_string()))?;
        Ok(Self::watched(stream.into(), id, deliveries))
    }

    #[getter]
    fn stream(&self) -> &str {
        &self.stream
    }

    #[getter]
    fn id(&self) -> String {
        self.id.to_string()
    }

    #[getter]
    fn deliveries(&self) -> u32 {
        self.deliveries
    }

    /// Whether it was said what became of the event, or nobody waits to hear.
    #[getter]
    fn is_settled(&self) -> bool {
        self.settler.is_none() || self.is_settled.load(Ordering::Relaxed)
    }

    fn ack(&self) {
        self.settle(Verdict::Done);
    }

    /// Failed: again after `delay` seconds (by default a delay that doubles), or to the dead letters at the limit.
    #[pyo3(signature = (reason, delay = None))]
    fn fail(&self, reason: &str, delay: Option<f64>) -> PyResult<()> {
        let delay = delay.map(|delay| seconds("delay", delay)).transpose()?;
        self.settle(Verdict::Failed { error: reason.to_owned(), delay });
        Ok(())
    }

    fn reject(&self, reason: &str) {
        self.settle(Verdict::Permanent { reason: "rejected", error: reason.to_owned() });
    }

    /// Its fields don't make what the reader wanted them to make.
    fn reject_undecodable(&self, reason: &str) {
        self.settle(Verdict::Permanent { reason: "undecodable", error: reason.to_owned() });
    }

    fn release(&self) {
        self.settle(Verdict::Released);
    }
}

impl Delivery {
    pub(super) fn watched(stream: Arc<str>, id: EntryId, deliveries: u32) -> Self {
        Self { stream, id, deliveries, settler: None, is_settled: AtomicBool::new(true) }
    }

    /// Whether it is this caller who settles it.
    fn settles(&self) -> bool {
        !self.is_settled.swap(true, Ordering::Relaxed)
    }

    fn settle(&self, verdict: Verdict) {
        if let Some(settler) = &self.settler
            && self.settles()
        {
            settler.settle(&self.stream, self.id, verdict);
        }
    }
}

/// Settings as the package gives them.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Settings {
    group: String,
    streams: Vec<String>,
    broadcast: bool,
    start: String,
    ordered_by: Option<String>,
    batch: usize,
    max_in_hand_bytes: usize,
    min_idle: f64,
    max_deliveries: u32,
    backoff: (f64, f64),
}

impl Settings {
    fn config(self) -> PyResult<ConsumerConfig> {
        Ok(ConsumerConfig {
            kind: if self.broadcast { Kind::Broadcast } else { Kind::Group },
            start: self.start,
            ordered_by: self.ordered_by,
            batch: self.batch,
            max_in_hand_bytes: self.max_in_hand_bytes,
            min_idle: seconds("min_idle", self.min_idle)?,
            max_deliveries: self.max_deliveries,
            backoff: (seconds("backoff", self.backoff.0)?, seconds("backoff", self.backoff.1)?),
            ..ConsumerConfig::new(self.group, self.streams)
        })
    }
}
