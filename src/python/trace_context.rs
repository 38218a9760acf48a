//! The current span of OpenTelemetry, for events to carry on.
//!
//! OpenTelemetry is never imported here: a process that does not use it pays one look into `sys.modules`.

use pyo3::{exceptions::PyException, prelude::*, types::PyDict};

use super::lazy::{Lazy, name};

/// A W3C trace context: `00-<trace id>-<span id>-<flags>`.
pub(super) struct Traceparent([u8; 55]);

impl Traceparent {
    fn new(trace_id: u128, span_id: u64, flags: u8) -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&mut text[3..35], trace_id);
        hex(&mut text[36..52], span_id.into());
        hex(&mut text[53..], flags.into());
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits and dashes are ASCII")
    }
}

fn hex(digits: &mut [u8], mut number: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

/// That of the current span, if OpenTelemetry is in use and there is one.
pub(super) fn current(py: Python<'_>) -> PyResult<Option<Traceparent>> {
    static MODULES: Lazy<PyDict> = Lazy::new();
    let import = || Ok(py.import("sys")?.getattr("modules")?.cast_into()?);
    let modules = MODULES.get_or_try_init(py, import)?;
    let Some(api) = modules.get_item(name!(py, "opentelemetry.trace"))? else { return Ok(None) };
    match span(&api) {
        // Half imported, or not the OpenTelemetry we know: no reason not to publish.
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
        span => span,
    }
}

fn span(api: &Bound<'_, PyAny>) -> PyResult<Option<Traceparent>> {
    let py = api.py();
    let span = api.call_method0(name!(py, "get_current_span"))?;
    let context = span.call_method0(name!(py, "get_span_context"))?;
    if !context.getattr(name!(py, "is_valid"))?.is_truthy()? {
        return Ok(None);
    }
    let trace_id = context.getattr(name!(py, "trace_id"))?.extract()?;
    let span_id = context.getattr(name!(py, "span_id"))?.extract()?;
    let flags = context.getattr(name!(py, "trace_flags"))?.extract()?;
    Ok(Some(Traceparent::new(trace_id, span_id, flags)))
}
