//! The Python module `synapse_rs._core`. The public package `synapse_rs` wraps and documents it.
//!
//! * [`publisher`]: `Publisher`, its settings, and what happens when its queue is full.
//! * [`encode`]: walks a Python event straight into the buffer of the next request.
//! * [`fields`]: an event of any accepted class as a dict of its fields.
//! * [`trace_context`]: the current span of OpenTelemetry, for events to carry on.
//! * [`receipt`]: `Receipt`, awaited or waited for; many are completed by one wake-up of their loop.
//! * [`subscription`], [`tail`]: events for the package's `Consumer` and `tail`.
//! * [`events`], [`values`]: events and JSON values as Python objects.
//! * [`registry`]: the publishers to flush when the process ends.
//! * [`runtime`]: the one background thread, started at first use and again in a forked child ([`per_process`]).
//! * [`logging`]: what the core logs, for Python's `logging`; [`mailbox`]: the way from there to threads of Python's.
//! * [`errors`]: each cause to a named exception.

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

use pyo3::prelude::*;

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
    #[expect(clippy::unnecessary_wraps, reason = "asked for by PyO3")]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::logging::install();
        Ok(())
    }
}
