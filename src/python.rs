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
//! * [`lazy`]: Python objects that are made when they are first asked for, without a lock.
//! * [`errors`]: each cause to a named exception.

mod arguments;
mod encode;
mod errors;
mod events;
mod fields;
mod json;
mod lazy;
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

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
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
    use pyo3::{exceptions::PyImportError, prelude::*};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        if !super::is_main_interpreter(module.py()) {
            return Err(PyImportError::new_err(
                "synapse_rs can't be imported in a subinterpreter; use threads or processes instead",
            ));
        }
        super::logging::install();
        super::prepare(module.py());
        Ok(())
    }
}

/// Whether this is the first interpreter of the process: what is kept here, threads among it, serves one alone.
#[expect(unsafe_code, reason = "PyO3 has no safe way to ask")]
fn is_main_interpreter(_: pyo3::Python<'_>) -> bool {
    // SAFETY: called by a thread that is attached to an interpreter, of which it asks.
    unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) == 0 }
}

/// Has made now what would be made under a lock when it is first used: a fork might catch that held.
fn prepare(py: pyo3::Python<'_>) {
    use pyo3::PyTypeInfo as _;

    crate::fork::generation();
    receipt::LoopRing::type_object(py);
    runtime::OpenLoop::type_object(py);
    let _ = py.None().bind(py).cast::<pyo3::types::PyMapping>();
}
