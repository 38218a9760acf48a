//! Every publisher that was started in this process, for the flush at its end.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use pyo3::prelude::*;

use super::settings::seconds;
use crate::{fork, publisher as core};

/// A publisher and the process it belongs to.
pub(super) struct Started {
    /// Of the process, see [`fork::generation`].
    pub generation: u64,
    pub publisher: core::Publisher,
}

static STARTED: Mutex<Vec<Started>> = Mutex::new(Vec::new());

/// Remembers a publisher that was started.
pub(super) fn add(generation: u64, publisher: &core::Publisher) {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    // A parent's are left as they are; those of this process that ended need no flush.
    for index in (0..started.len()).rev() {
        if started[index].generation != generation {
            std::mem::forget(started.swap_remove(index));
        } else if started[index].publisher.is_closed() {
            started.swap_remove(index);
        }
    }
    started.push(Started { generation, publisher: publisher.clone() });
}

/// Sends what is queued in any publisher of this process, for at most `timeout` seconds, and closes them.
///
/// Gives a line for each that could not send everything.
#[pyfunction]
pub(super) fn flush_all(py: Python<'_>, timeout: f64) -> PyResult<Vec<String>> {
    let deadline = Instant::now() + seconds("timeout", timeout)?;
    let generation = fork::generation();
    let started = std::mem::take(&mut *STARTED.lock().unwrap_or_else(PoisonError::into_inner));
    let mut failures = Vec::new();
    for Started { generation: of, publisher } in started {
        if of != generation {
            std::mem::forget(publisher);
            continue;
        }
        if publisher.is_closed() {
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if let Err(error) = py.detach(|| publisher.close_blocking(left)) {
            failures.push(format!("{}: {error}", publisher.settings()));
        }
    }
    Ok(failures)
}
