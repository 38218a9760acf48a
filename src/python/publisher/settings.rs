//! What a publisher's keywords say.

use std::{collections::HashMap, path::PathBuf};

use pyo3::{exceptions::PyValueError, prelude::*};

use crate::{
    event::encode::Limits,
    publisher::{PublisherConfig, SpoolConfig},
    python::settings::seconds,
};

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
    pub(super) fn read(text: Option<&str>, has_spool: bool) -> PyResult<Self> {
        match text {
            None | Some("spool") if has_spool => Ok(Self::Spool),
            None => Ok(Self::Default),
            Some("wait") => Ok(Self::Wait),
            Some("raise") => Ok(Self::Raise),
            Some("drop") => Ok(Self::Drop),
            Some("spool") => Err(PyValueError::new_err(
                "on_full is \"spool\", which needs spool_dir: the directory to keep events in",
            )),
            Some(other) => Err(PyValueError::new_err(format!(
                "on_full is {other:?}, expected \"wait\", \"raise\", \"spool\" or \"drop\""
            ))),
        }
    }
}

/// The keywords that make up a [`PublisherConfig`].
pub(super) struct Keywords<'a> {
    pub source: &'a str,
    pub maxlen: u64,
    pub stream_maxlen: Option<HashMap<String, u64>>,
    pub queue_events: u64,
    pub queue_bytes: u64,
    pub spool_dir: Option<PathBuf>,
    pub spool_bytes: u64,
    pub linger: f64,
    pub response_timeout: f64,
    pub max_batch_bytes: usize,
    pub max_entry_bytes: usize,
    pub max_fields: usize,
}

impl Keywords<'_> {
    pub(super) fn config(self) -> PyResult<PublisherConfig> {
        at_least("queue_events", self.queue_events, 1)?;
        at_least("queue_bytes", self.queue_bytes, 1024)?;
        at_least("spool_bytes", self.spool_bytes, 1024 * 1024)?;
        at_least("max_batch_bytes", self.max_batch_bytes as u64, 1024)?;
        at_least("max_entry_bytes", self.max_entry_bytes as u64, 256)?;
        at_least("max_fields", self.max_fields as u64, 4)?;
        if self.source.is_empty() {
            return Err(PyValueError::new_err(
                "source is empty, expected the name of this program, for example \"cyrex\"",
            ));
        }
        let spool = self.spool_dir.map(|dir| SpoolConfig { dir, max_bytes: self.spool_bytes });
        if let Some(spool) = &spool {
            // Taken at the first event only: by then the process may have forked.
            spool.check().map_err(|error| PyValueError::new_err(format!("spool_dir: {error}")))?;
        }
        Ok(PublisherConfig {
            source: self.source.to_owned(),
            maxlen: self.maxlen,
            stream_maxlen: self.stream_maxlen.unwrap_or_default(),
            queue_events: self.queue_events,
            queue_bytes: self.queue_bytes,
            linger: seconds("linger", self.linger)?,
            max_batch_bytes: self.max_batch_bytes,
            limits: Limits { max_fields: self.max_fields, max_bytes: self.max_entry_bytes },
            response_timeout: seconds("response_timeout", self.response_timeout)?,
            spool,
            on_given_up: None,
        })
    }
}

fn at_least(name: &str, value: u64, least: u64) -> PyResult<()> {
    if value >= least {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("{name} is {value}, expected at least {least}")))
}
