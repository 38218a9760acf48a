//! The platform's own events by keyword, straight into the request: no dict, no allocation.

use std::time::SystemTime;

use pyo3::{prelude::*, types::PyDict};

use super::Publisher;
use crate::{event::encode::EntryEncoder, python::encode, stream::INFERENCE_EVENTS};

/// A keyword and its value, if it was given.
type Keyword<'a, 'py> = (&'static str, Option<&'a Bound<'py, PyAny>>);

#[pymethods]
impl Publisher {
    #[pyo3(signature = (*, model_name, version, latency_ms, user_id = None, request_id = None, tokens_used = None,
        cost = None, confidence = None, success = None, error = None, **extra))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of an event")]
    fn publish_inference(
        &self,
        py: Python<'_>,
        model_name: &Bound<'_, PyAny>,
        version: &Bound<'_, PyAny>,
        latency_ms: &Bound<'_, PyAny>,
        user_id: Option<&Bound<'_, PyAny>>,
        request_id: Option<&Bound<'_, PyAny>>,
        tokens_used: Option<&Bound<'_, PyAny>>,
        cost: Option<&Bound<'_, PyAny>>,
        confidence: Option<&Bound<'_, PyAny>>,
        success: Option<bool>,
        error: Option<&Bound<'_, PyAny>>,
        extra: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let success = match success {
            Some(success) => success,
            None => !is_given(error)?,
        };
        let name = if success { "inference-complete" } else { "inference-failed" };
        let keywords = [
            ("model_name", Some(model_name)),
            ("version", Some(version)),
            ("latency_ms", Some(latency_ms)),
            ("user_id", user_id),
            ("request_id", request_id),
            ("tokens_used", tokens_used),
            ("cost", cost),
            ("confidence", confidence),
            ("error", error),
        ];
        self.typed(py, INFERENCE_EVENTS, name, &keywords, extra, |entry| Ok(entry.bool("success", success)?))
    }
}

impl Publisher {
    fn typed(
        &self,
        py: Python<'_>,
        stream: &str,
        name: &str,
        keywords: &[Keyword<'_, '_>],
        extra: Option<&Bound<'_, PyDict>>,
        more: impl Fn(&mut EntryEncoder<'_>) -> PyResult<()>,
    ) -> PyResult<()> {
        let encode = |body: &mut Vec<u8>| {
            let mut entry = EntryEncoder::begin(body, stream, name, &self.config.limits)?;
            for (field, value) in keywords {
                if let Some(value) = value {
                    encode::field(&mut entry, field, value)?;
                }
            }
            more(&mut entry)?;
            if let Some(extra) = extra {
                encode::all(&mut entry, extra)?;
            }
            Ok(entry.finish(&self.config.source, SystemTime::now())?)
        };
        self.accept(py, stream, false, encode).map(drop)
    }
}

/// Whether an error was given: neither `None` nor an empty text.
fn is_given(error: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
    error.map_or(Ok(false), PyAnyMethods::is_truthy)
}
