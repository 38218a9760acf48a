//! Every publisher of this process whose writer has not ended, for the flush at the process's end.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use pyo3::{exceptions::PyException, prelude::*};

use super::{publisher::Started, runtime, settings::seconds};

static STARTED: Mutex<Vec<Started>> = Mutex::new(Vec::new());

fn lock() -> std::sync::MutexGuard<'static, Vec<Started>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers a publisher that was started.
pub(super) fn add(publisher: Started) {
    let mut started = lock();
    let (kept, gone) = started.drain(..).partition(|known| known.is_here() && !known.has_ended());
    *started = kept;
    started.push(publisher);
    drop(started);
    // When the lock is free: the end of what a publisher holds may run any code.
    forget_others(gone);
}

/// Sends what is queued in any publisher of this process, for at most `timeout` seconds, and closes them.
///
/// Gives a line for each that could not send everything.
#[pyfunction]
pub(super) fn flush_all(py: Python<'_>, timeout: f64) -> PyResult<Vec<String>> {
    let deadline = Instant::now() + seconds("timeout", timeout)?;
    let started = std::mem::take(&mut *lock());
    let (here, others): (Vec<_>, Vec<_>) = started.into_iter().partition(Started::is_here);
    forget_others(others);
    let mut failures = Vec::new();
    for publisher in here.into_iter().filter(|publisher| !publisher.has_ended()) {
        // In whole milliseconds: it may be told of.
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX));
        let address = publisher.publisher.settings().to_string();
        match runtime::wait(py, publisher.close(left)) {
            Err(error) if error.is_instance_of::<PyException>(py) => {
                failures.push(format!("{address}: {}", error.value(py)));
            }
            // Or interrupted by a signal.
            other => other?,
        }
    }
    Ok(failures)
}

/// A parent's are left as they are, their locks untouched; those of this process have ended.
fn forget_others(publishers: Vec<Started>) {
    for publisher in publishers {
        if !publisher.is_here() {
            std::mem::forget(publisher);
        }
    }
}
