//! The table itself, in the order of the streams.

use super::{
    EventSchema, FieldSchema,
    Kind::{Bool, F64, Object, String, Timestamp, U64},
};
use crate::stream::{
    AGI_DECISIONS, ERROR_EVENTS, INFERENCE_EVENTS, MODEL_EVENTS, PLATFORM_EVENTS, TRAINING_EVENTS,
};

/// The fields of an event, followed by those that every event may have.
macro_rules! fields {
    ($($field:expr),* $(,)?) => {
        &[
            $($field,)*
            FieldSchema::new("user_id", String, "the user it belongs to; absent or `anonymous` for none"),
            FieldSchema::new("organization_id", String, "the organisation it belongs to"),
            FieldSchema::new("event", String, "what happened").required(),
            FieldSchema::new("timestamp", Timestamp, "when it was published, by the publisher's clock"),
            FieldSchema::new("source", String, "who published it"),
            FieldSchema::new("event_id", String, "the same on every retry of the publication"),
            FieldSchema::new("correlation_id", String, "joins the events of one cause"),
            FieldSchema::new("traceparent", String, "W3C trace context"),
        ]
    };
}

macro_rules! inference_fields {
    ($success:expr) => {
        fields![
            FieldSchema::new("model_name", String, "the model asked").required(),
            FieldSchema::new("version", String, "the model's version").required(),
            FieldSchema::new("latency_ms", F64, "how long the answer took, in milliseconds").required(),
            FieldSchema::new("request_id", String, "the request answered"),
            FieldSchema::new("tokens_used", U64, "tokens read and written"),
            FieldSchema::new("cost", F64, "price of the answer, in US dollars"),
            FieldSchema::new("confidence", F64, "how sure the model is, 0 to 1"),
            FieldSchema::new("success", Bool, "whether there was an answer").or($success),
            FieldSchema::new("error", String, "why there was none"),
        ]
    };
}

const MODEL_READY: &[FieldSchema] = fields![
    FieldSchema::new("model_name", String, "the model").required(),
    FieldSchema::new("version", String, "its version").required(),
    FieldSchema::new("registry_path", String, "where its files are").formerly("checkpoint_path"),
    FieldSchema::new("metadata", Object, "what the registry says of it"),
    FieldSchema::new("metrics", Object, "how well it did in evaluation"),
    FieldSchema::new("model_type", String, "what it does, for example `classifier`"),
    FieldSchema::new("accuracy", F64, "share of right answers in evaluation, 0 to 1"),
    FieldSchema::new("size_mb", F64, "size of its files, in megabytes"),
];

const MODEL_STATE: &[FieldSchema] = fields![
    FieldSchema::new("model_name", String, "the model").required(),
    FieldSchema::new("version", String, "its version"),
    FieldSchema::new("status", String, "its state, for example `loaded`"),
    FieldSchema::new("load_time_ms", F64, "how long loading took, in milliseconds"),
    FieldSchema::new("cache_location", String, "where its files are kept on the host"),
    FieldSchema::new("error", String, "why it is not loaded"),
];

const TRAINING: &[FieldSchema] = fields![
    FieldSchema::new("model_name", String, "the model in training").required(),
    FieldSchema::new("experiment_id", String, "the experiment the run is part of"),
    FieldSchema::new("status", String, "the run's state, for example `running`"),
    FieldSchema::new("step", U64, "steps done"),
    FieldSchema::new("progress", F64, "share of the run done, 0 to 1"),
    FieldSchema::new("metrics", Object, "loss, accuracy and the like at this step"),
    FieldSchema::new("error", String, "why the run failed"),
    FieldSchema::new("training_run_request_id", String, "the request that started the run"),
];

const PLATFORM: &[FieldSchema] = fields![
    FieldSchema::new("service", String, "the service in which it happened").required(),
    FieldSchema::new("action", String, "what was done").required(),
    FieldSchema::new(
        "data",
        Object,
        "to what: `task_id`, `result` (the task's version), `error` (the reason)"
    ),
];

const AGI_DECISION: &[FieldSchema] = fields![
    FieldSchema::new("decision_type", String, "what was decided on").formerly("type"),
    FieldSchema::new("action", Object, "what is to be done"),
    FieldSchema::new("target_service", String, "who is to do it"),
    FieldSchema::new("reasoning", String, "why"),
    FieldSchema::new("confidence", F64, "how sure the agent is, 0 to 1"),
];

const ERROR: &[FieldSchema] = fields![
    FieldSchema::new("error_type", String, "the kind of error").required(),
    FieldSchema::new("error_message", String, "what went wrong").required(),
    FieldSchema::new("context", Object, "where it went wrong"),
];

const fn on(
    stream: &'static str,
    event: &'static str,
    about: &'static str,
    fields: &'static [FieldSchema],
) -> EventSchema {
    EventSchema::new(Some(stream), Some(event), about, fields)
}

/// Every known event. The first that matches counts; the last is for all that nothing else names.
pub static ALL: [EventSchema; 22] = [
    on(INFERENCE_EVENTS, "inference-complete", "a model answered a request", inference_fields!(true)),
    on(INFERENCE_EVENTS, "inference-failed", "a model did not answer a request", inference_fields!(false)),
    on(MODEL_EVENTS, "model-ready", "a model can be loaded from the registry", MODEL_READY),
    on(MODEL_EVENTS, "model-loaded", "a model was loaded", MODEL_STATE),
    on(MODEL_EVENTS, "model-failed", "a model could not be loaded", MODEL_STATE),
    on(MODEL_EVENTS, "model-status", "the state of a model", MODEL_STATE),
    on(MODEL_EVENTS, "model-updated", "a model was replaced", MODEL_STATE),
    on(MODEL_EVENTS, "model-deprecated", "a model should no longer be used", MODEL_STATE),
    on(TRAINING_EVENTS, "training-started", "a training run began", TRAINING),
    on(TRAINING_EVENTS, "training-progress", "a training run went on", TRAINING),
    on(TRAINING_EVENTS, "training-checkpoint", "a training run saved its state", TRAINING),
    on(TRAINING_EVENTS, "training-complete", "a training run ended well", TRAINING),
    on(TRAINING_EVENTS, "training-failed", "a training run ended badly", TRAINING),
    on(PLATFORM_EVENTS, "task-created", "a task was created", PLATFORM),
    on(PLATFORM_EVENTS, "task-started", "work on a task began", PLATFORM),
    on(PLATFORM_EVENTS, "task-updated", "a task was changed", PLATFORM),
    on(PLATFORM_EVENTS, "task-completed", "a task was completed", PLATFORM),
    on(PLATFORM_EVENTS, "task-failed", "a task failed", PLATFORM),
    EventSchema::new(Some(PLATFORM_EVENTS), None, "anything else that happened on the platform", PLATFORM),
    on(AGI_DECISIONS, "agi-decision", "an agent decided", AGI_DECISION),
    on(ERROR_EVENTS, "error", "something went wrong", ERROR),
    EventSchema::new(None, None, "an event nobody has described", fields![]),
];
