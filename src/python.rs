//! The Python module `synapse_rs._core`. The public package `synapse_rs` wraps and documents it.
//!
//! * [`publisher`]: `Publisher`, its settings, and what happens when its queue is full.
//! * [`encode`]: walks a Python event straight into the buffer of the next request.
//! * [`fields`]: an event of any accepted class as a dict of its fields.
//! * [`trace_context`]: the current span of OpenTelemetry, for events to carry on.
//! * [`receipt`]: `Receipt`, awaited or waited for; many are completed by one wake-up of their loop.
//! * [`subscription`], [`tail`]: events for the package's `Consumer` and `tail`.
//! * [`events`], [`values`]: events and JSON values as Python objects.
//! * [`arguments`]: arguments whose errors tell name, value and what is allowed.
//! * [`registry`]: the publishers to flush when the process ends.
//! * [`runtime`]: the one background thread, started at first use and again in a forked child ([`per_process`]).
//! * [`logging`]: what the core logs, for Python's `logging`; [`mailbox`]: the way from there to threads of Python's.
//! * [`errors`]: each cause to a named exception.

mod arguments;
mod encode;
mod errors;
mod events;
mod fields;
mod json;
mod logging;
mod mailbox;
mod per_process;
mod publisher;
mod receipt;
mod registry;
mod runtime;
mod settings;
mod subscription;
mod tail;
mod trace_context;
mod values;

use pyo3::{exceptions::PyImportError, prelude::*};

/// The background thread and the classes are one per process; a second interpreter's end would end them for the first.
#[expect(unsafe_code, reason = "nothing else tells which interpreter this is")]
fn refuse_subinterpreters() -> PyResult<()> {
    // SAFETY: a module is initialised with its interpreter attached to this thread, which both calls ask for.
    let interpreter = unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) };
    if interpreter == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "synapse_rs works in the main interpreter only, not in subinterpreters; publish from there, or use processes",
    ))
}

#[pymodule(gil_used = true)]
mod _core {
    #[pymodule_export]
    use super::{
        logging::{end_records, set_record_level, take_records},
        publisher::{Letters, Publisher},
        receipt::Receipt,
        registry::flush_all,
        runtime::stop,
        subscription::{Delivery, Subscription},
        tail::{Filter, Tail},
    };
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::refuse_subinterpreters()?;
        super::logging::install();
        Ok(())
    }
}
