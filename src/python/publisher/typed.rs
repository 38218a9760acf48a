//! The platform's own events by keyword, straight into the request: no dict, no allocation.

use pyo3::{
    prelude::*,
    types::{PyBool, PyDict},
};

use super::Publisher;
use crate::{
    event::schema,
    python::{
        encode::{self, Context},
        errors::not_an_event,
    },
    stream::{AGI_DECISIONS, ERROR_EVENTS, INFERENCE_EVENTS, MODEL_EVENTS, PLATFORM_EVENTS, TRAINING_EVENTS},
};

/// A keyword that may be given. Of the wrong type it is refused with the field's name, as in any event.
type Given<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// The last words of the names on the training stream.
const TRAINING: [&str; 5] = ["started", "progress", "checkpoint", "complete", "failed"];

#[pymethods]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of events")]
impl Publisher {
    /// Publishes `inference-complete` to `inference-events`; with an `error`, or `success=False`, `inference-failed`.
    ///
    /// `latency_ms` is in milliseconds.
    /// Keywords that are `None` are left out; further ones are fields as well.
    ///
    /// Raises:
    ///     InvalidEvent: A field is not of the type that the stream asks for. A `ValueError` as well.
    ///     QueueFull: There is no room, and none came in time.
    ///     Closed: The publisher was closed, or the process is ending.
    #[pyo3(signature = (*, model_name, version, latency_ms, user_id = None, request_id = None, tokens_used = None,
        cost = None, confidence = None, success = None, error = None, **extra))]
    fn publish_inference(
        &self,
        py: Python<'_>,
        model_name: &Bound<'_, PyAny>,
        version: &Bound<'_, PyAny>,
        latency_ms: &Bound<'_, PyAny>,
        user_id: Given<'_, '_>,
        request_id: Given<'_, '_>,
        tokens_used: Given<'_, '_>,
        cost: Given<'_, '_>,
        confidence: Given<'_, '_>,
        success: Given<'_, '_>,
        error: Given<'_, '_>,
        extra: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let by_error = PyBool::new(py, !is_something(error)?);
        let success = success.unwrap_or(&by_error);
        let name = if success.is_truthy()? { "inference-complete" } else { "inference-failed" };
        let fields = [
            ("model_name", Some(model_name)),
            ("version", Some(version)),
            ("latency_ms", Some(latency_ms)),
            ("user_id", user_id),
            ("request_id", request_id),
            ("tokens_used", tokens_used),
            ("cost", cost),
            ("confidence", confidence),
            ("success", Some(success)),
            ("error", error),
        ];
        self.publish_fields(py, INFERENCE_EVENTS, name, &fields, extra)
    }

    /// Publishes `model-ready` to `model-events`.
    ///
    /// `size_mb` is in megabytes.
    /// Keywords that are `None` are left out; further ones are fields as well.
    ///
    /// Raises:
    ///     InvalidEvent: A field is not of the type that the stream asks for. A `ValueError` as well.
    ///     QueueFull: There is no room, and none came in time.
    ///     Closed: The publisher was closed, or the process is ending.
    #[pyo3(signature = (*, model_name, version, registry_path = None, metadata = None, metrics = None,
        model_type = None, accuracy = None, size_mb = None, **extra))]
    fn publish_model_ready(
        &self,
        py: Python<'_>,
        model_name: &Bound<'_, PyAny>,
        version: &Bound<'_, PyAny>,
        registry_path: Given<'_, '_>,
        metadata: Given<'_, '_>,
        metrics: Given<'_, '_>,
        model_type: Given<'_, '_>,
        accuracy: Given<'_, '_>,
        size_mb: Given<'_, '_>,
        extra: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let fields = [
            ("model_name", Some(model_name)),
            ("version", Some(version)),
            ("registry_path", registry_path),
            ("metadata", metadata),
            ("metrics", metrics),
            ("model_type", model_type),
            ("accuracy", accuracy),
            ("size_mb", size_mb),
        ];
        self.publish_fields(py, MODEL_EVENTS, "model-ready", &fields, extra)
    }

    /// Publishes to `training-events`: by default `training-progress`, with an `error` `training-failed`.
    ///
    /// `event` names another, in full or by its last word: started, progress, checkpoint, complete or failed.
    /// Keywords that are `None` are left out; further ones are fields as well.
    ///
    /// Raises:
    ///     InvalidEvent: A field is not of the type that the stream asks for. A `ValueError` as well.
    ///     QueueFull: There is no room, and none came in time.
    ///     Closed: The publisher was closed, or the process is ending.
    #[pyo3(signature = (*, model_name, event = None, experiment_id = None, status = None, step = None,
        progress = None, metrics = None, error = None, training_run_request_id = None, **extra))]
    fn publish_training(
        &self,
        py: Python<'_>,
        model_name: &Bound<'_, PyAny>,
        event: Given<'_, '_>,
        experiment_id: Given<'_, '_>,
        status: Given<'_, '_>,
        step: Given<'_, '_>,
        progress: Given<'_, '_>,
        metrics: Given<'_, '_>,
        error: Given<'_, '_>,
        training_run_request_id: Given<'_, '_>,
        extra: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let name = match event {
            Some(event) => training_name(encode::name(event)?)?,
            None if is_something(error)? => "training-failed",
            None => "training-progress",
        };
        let fields = [
            ("model_name", Some(model_name)),
            ("experiment_id", experiment_id),
            ("status", status),
            ("step", step),
            ("progress", progress),
            ("metrics", metrics),
            ("error", error),
            ("training_run_request_id", training_run_request_id),
        ];
        self.publish_fields(py, TRAINING_EVENTS, name, &fields, extra)
    }

    /// Publishes the named event to `platform-events`: what a service did for whom.
    ///
    /// Keywords that are `None` are left out; further ones are fields as well.
    ///
    /// Raises:
    ///     InvalidEvent: A field is not of the type that the stream asks for. A `ValueError` as well.
    ///     QueueFull: There is no room, and none came in time.
    ///     Closed: The publisher was closed, or the process is ending.
    #[pyo3(signature = (*, event, service, action, user_id = None, organization_id = None, data = None, **extra))]
    fn publish_platform(
        &self,
        py: Python<'_>,
        event: &Bound<'_, PyAny>,
        service: &Bound<'_, PyAny>,
        action: &Bound<'_, PyAny>,
        user_id: Given<'_, '_>,
        organization_id: Given<'_, '_>,
        data: Given<'_, '_>,
        extra: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let fields = [
            ("service", Some(service)),
            ("action", Some(action)),
            ("user_id", user_id),
            ("organization_id", organization_id),
            ("data", data),
        ];
        self.publish_fields(py, PLATFORM_EVENTS, encode::name(event)?, &fields, extra)
    }

    /// Publishes `agi-decision` to `agi-decisions`.
    ///
    /// Keywords that are `None` are left out; further ones are fields as well.
    ///
    /// Raises:
    ///     InvalidEvent: A field is not of the type that the stream asks for. A `ValueError` as well.
    ///     QueueFull: There is no room, and none came in time.
    ///     Closed: The publisher was closed, or the process is ending.
    #[pyo3(signature = (*, decision_type = None, action = None, target_service = None, reasoning = None,
        confidence = None, **extra))]
    fn publish_agi_decision(
        &self,
        py: Python<'_>,
        decision_type: Given<'_, '_>,
        action: Given<'_, '_>,
        target_service: Given<'_, '_>,
        reasoning: Given<'_, '_>,
        confidence: Given<'_, '_>,
        extra: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let fields = [
            ("decision_type", decision_type),
            ("action", action),
            ("target_service", target_service),
            ("reasoning", reasoning),
            ("confidence", confidence),
        ];
        self.publish_fields(py, AGI_DECISIONS, "agi-decision", &fields, extra)
    }

    /// Publishes `error` to `error-events`.
    ///
    /// Keywords that are `None` are left out; further ones are fields as well.
    ///
    /// Raises:
    ///     InvalidEvent: A field is not of the type that the stream asks for. A `ValueError` as well.
    ///     QueueFull: There is no room, and none came in time.
    ///     Closed: The publisher was closed, or the process is ending.
    #[pyo3(signature = (*, error_type, error_message, context = None, **extra))]
    fn publish_error(
        &self,
        py: Python<'_>,
        error_type: &Bound<'_, PyAny>,
        error_message: &Bound<'_, PyAny>,
        context: Given<'_, '_>,
        extra: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let fields =
            [("error_type", Some(error_type)), ("error_message", Some(error_message)), ("context", context)];
        self.publish_fields(py, ERROR_EVENTS, "error", &fields, extra)
    }
}

impl Publisher {
    fn publish_fields(
        &self,
        py: Python<'_>,
        stream: &str,
        name: &str,
        fields: &[(&str, Given<'_, '_>)],
        extra: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let context = Context::current(py, &self.config)?;
        let encode = |body: &mut Vec<u8>| {
            let mut entry = context.begin(body, stream, name)?;
            for (field, value) in fields {
                if let Some(value) = value {
                    encode::field(&mut entry, field, value)?;
                }
            }
            if let Some(extra) = extra {
                encode::all(&mut entry, extra)?;
            }
            context.finish(entry)
        };
        self.accept(py, stream, false, encode).map(drop)
    }
}

/// Whether an error was given: neither `None` nor an empty text.
fn is_something(error: Given<'_, '_>) -> PyResult<bool> {
    error.map_or(Ok(false), PyAnyMethods::is_truthy)
}

/// The name of a training event, which may be given by its last word alone.
fn training_name(event: &str) -> PyResult<&str> {
    let name = schema::canonical_name(TRAINING_EVENTS, event);
    match name.strip_prefix("training-") {
        Some(word) if TRAINING.contains(&word) => Ok(name),
        _ => Err(not_an_event(format!(
            "event is {event:?}, expected one of training-{}",
            TRAINING.join(", training-")
        ))),
    }
}
