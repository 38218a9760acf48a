//! The Python module `synapse_rs._core`. The public package `synapse_rs` wraps and documents it.
//!
//! * [`publisher`]: `Publisher`, its settings, and what happens when its queue is full.
//! * [`encode`]: walks a Python event straight into the buffer of the next request.
//! * [`receipt`]: `Receipt`, awaited or waited for; many are completed by one wake-up of their loop.
//! * [`subscription`], [`tail`]: events for the package's `Consumer` and `tail`.
//! * [`events`], [`values`]: events and JSON values as Python objects.
//! * [`registry`]: the publishers to flush when the process ends.
//! * [`runtime`]: the one background thread, started at first use and again in a forked child.
//! * [`errors`]: each cause to a named exception.

mod encode;
mod errors;
mod events;
mod json;
mod publisher;
mod receipt;
mod registry;
mod runtime;
mod settings;
mod subscription;
mod tail;
mod values;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _core {
    #[pymodule_export]
    use super::{
        publisher::Publisher,
        receipt::Receipt,
        registry::flush_all,
        runtime::stop,
        subscription::{Delivery, Subscription},
        tail::{Filter, Tail},
    };
}
