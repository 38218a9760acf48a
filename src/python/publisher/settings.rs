//! What a publisher's keywords say.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::PyMapping,
};

use crate::{
    event::encode::Limits,
    publisher::{PublisherConfig, SpoolConfig},
    python::{arguments::Given, json::repr},
};

/// What `on_full` may be.
const ON_FULL: &str = "\"wait\", \"raise\", \"spool\" or \"drop\"";

/// As long as the name of a stream may be, which the core refuses at the first event.
const MAX_STREAM_NAME_BYTES: usize = 512;

/// A name goes out with every event.
const MAX_SOURCE_BYTES: usize = 512;

/// A server takes some time to answer; in less, every connection would count as lost.
const LEAST_RESPONSE_TIMEOUT: Duration = Duration::from_millis(100);

/// What to do with an event that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFull {
    /// Wait in a plain thread, raise in one whose event loop is running.
    Default,
    Wait,
    Raise,
    /// The writer makes room on disk: wait for that, which takes moments, in any thread.
    Spool,
    Drop,
}

impl OnFull {
    pub(super) fn read(given: Option<&Bound<'_, PyAny>>, has_spool: bool) -> PyResult<Self> {
        let text =
            given.map(|given| given.extract::<Given<String>>()?.named("on_full", ON_FULL)).transpose()?;
        match text.as_deref() {
            None | Some("spool") if has_spool => Ok(Self::Spool),
            None => Ok(Self::Default),
            Some("wait") => Ok(Self::Wait),
            Some("raise") => Ok(Self::Raise),
            Some("drop") => Ok(Self::Drop),
            Some("spool") => Err(PyValueError::new_err(
                "on_full is \"spool\", which needs spool_dir: the directory to keep events in",
            )),
            Some(other) => Err(PyValueError::new_err(format!("on_full is {other:?}, expected {ON_FULL}"))),
        }
    }
}

/// The keywords that make up a [`PublisherConfig`], as they were given.
pub(super) struct Keywords<'a, 'py> {
    pub source: Given<String>,
    pub maxlen: Given<u64>,
    pub stream_maxlen: Option<&'a Bound<'py, PyAny>>,
    pub queue_events: Given<u64>,
    pub queue_bytes: Given<u64>,
    pub spool_dir: Option<&'a Bound<'py, PyAny>>,
    pub spool_bytes: Given<u64>,
    pub linger: Given<f64>,
    pub response_timeout: Given<f64>,
    pub max_batch_bytes: Given<u64>,
    pub max_entry_bytes: Given<u64>,
    pub max_fields: Given<u64>,
}

impl Keywords<'_, '_> {
    pub(super) fn config(self) -> PyResult<PublisherConfig> {
        let spool_bytes = self.spool_bytes.whole("spool_bytes", 1024 * 1024)?;
        let config = PublisherConfig {
            source: source(self.source)?,
            maxlen: self.maxlen.whole("maxlen", 0)?,
            stream_maxlen: self.stream_maxlen.map(stream_maxlen).transpose()?.unwrap_or_default(),
            queue_events: self.queue_events.whole("queue_events", 1)?,
            queue_bytes: self.queue_bytes.whole("queue_bytes", 1024)?,
            linger: self.linger.seconds("linger")?,
            max_batch_bytes: self.max_batch_bytes.size("max_batch_bytes", 1024)?,
            limits: Limits {
                max_fields: self.max_fields.size("max_fields", 4)?,
                max_bytes: self.max_entry_bytes.size("max_entry_bytes", 256)?,
            },
            response_timeout: response_timeout(self.response_timeout)?,
            spool: self.spool_dir.map(|dir| spool(dir, spool_bytes)).transpose()?,
            on_given_up: None,
        };
        if let Some(spool) = &config.spool {
            // Taken at the first event only: by then the process may have forked.
            spool.check().map_err(|error| PyValueError::new_err(format!("spool_dir: {error}")))?;
        }
        Ok(config)
    }
}

fn source(given: Given<String>) -> PyResult<String> {
    let expected = "the name of this program, for example \"cyrex\"";
    let source = given.named("source", expected)?;
    if source.is_empty() {
        return Err(PyValueError::new_err(format!("source is empty, expected {expected}")));
    }
    if source.len() > MAX_SOURCE_BYTES {
        let bytes = source.len();
        return Err(PyValueError::new_err(format!(
            "source has {bytes} bytes, expected at most {MAX_SOURCE_BYTES}: {expected}"
        )));
    }
    Ok(source)
}

fn stream_maxlen(given: &Bound<'_, PyAny>) -> PyResult<HashMap<String, u64>> {
    let expected = "a dict of streams' names to whole numbers";
    let Ok(given) = given.cast::<PyMapping>() else {
        return Err(PyTypeError::new_err(format!("stream_maxlen is {}, expected {expected}", repr(given))));
    };
    let mut limits = HashMap::new();
    for item in given.items()?.try_iter()? {
        let (stream, limit) = item?.extract::<(Given<String>, Given<u64>)>()?;
        let stream = stream.named("a name in stream_maxlen", "the name of a stream")?;
        if stream.is_empty() || stream.len() > MAX_STREAM_NAME_BYTES {
            return Err(PyValueError::new_err(format!(
                "a name in stream_maxlen has {} bytes, expected the name of a stream, of 1 to {MAX_STREAM_NAME_BYTES}",
                stream.len()
            )));
        }
        let limit = limit.whole(&format!("stream_maxlen[{stream:?}]"), 0)?;
        limits.insert(stream, limit);
    }
    Ok(limits)
}

fn response_timeout(given: Given<f64>) -> PyResult<Duration> {
    let timeout = given.seconds("response_timeout")?;
    if timeout >= LEAST_RESPONSE_TIMEOUT {
        return Ok(timeout);
    }
    Err(PyValueError::new_err(format!(
        "response_timeout is {:?}, expected seconds from {:?}",
        timeout.as_secs_f64(),
        LEAST_RESPONSE_TIMEOUT.as_secs_f64()
    )))
}

fn spool(given: &Bound<'_, PyAny>, max_bytes: u64) -> PyResult<SpoolConfig> {
    let dir = given.extract::<Given<PathBuf>>()?.named("spool_dir", "the path of a directory")?;
    // Where it is must not change with the working directory. Refused if empty.
    let dir = std::path::absolute(&dir)
        .map_err(|error| PyValueError::new_err(format!("spool_dir is {}: {error}", repr(given))))?;
    Ok(SpoolConfig { dir, max_bytes })
}
