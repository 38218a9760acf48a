//! What an event says, as a sample.

use serde_json::{Map, Value};
use synapse_rs::{
    EntryId, Event,
    event::timestamp::LENGTH,
    stream::{INFERENCE_EVENTS, TRAINING_EVENTS},
};

use super::{Inference, InvalidTime, PointTime, Sample, Training};

/// How many figures of training one event may have.
pub const MAX_METRICS: usize = 1_000;

/// Why an event that should be a sample can't be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No time.
    #[error(transparent)]
    Time(#[from] InvalidTime),
    /// Too many figures.
    #[error("metrics has {0} numbers, expected {MAX_METRICS} at most")]
    Metrics(usize),
}

impl Sample {
    /// What an event of a stream says; `None` if it is of a kind that is not stored.
    pub fn of(stream: &str, id: EntryId, event: Event) -> Result<Option<Self>, Unfit> {
        let name = event.name();
        match stream {
            INFERENCE_EVENTS if matches!(name, "inference-complete" | "inference-failed") => {
                let success = !event.inference_failed();
                let time = PointTime::of(first_id(&event, id))?;
                Ok(Some(Self::Inference(inference(time, success, event.into_fields()))))
            }
            TRAINING_EVENTS => match state_of(name) {
                Some(state) => {
                    let time = PointTime::of(first_id(&event, id))?;
                    training(time, state, event.into_fields()).map(|training| Some(Self::Training(training)))
                }
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

/// The entry that this one repeats, or itself.
fn first_id(event: &Event, id: EntryId) -> EntryId {
    event.str("replay_of").and_then(|first| first.parse().ok()).unwrap_or(id)
}

/// What the name of an event of training says about the run.
fn state_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "training-started" => "started",
        "training-progress" => "progress",
        "training-checkpoint" => "checkpoint",
        "training-complete" => "complete",
        "training-failed" => "failed",
        _ => return None,
    })
}

// The types of the fields, and that the required ones are there, is what decoding has seen to.

fn inference(time: PointTime, success: bool, fields: Map<String, Value>) -> Inference {
    let mut read = Inference {
        time,
        model_name: String::new(),
        version: String::new(),
        user_id: None,
        latency_ms: 0.0,
        tokens_used: None,
        confidence: None,
        cost: None,
        success,
        event_time: None,
    };
    for (name, value) in fields {
        match name.as_str() {
            "model_name" => read.model_name = text(value).unwrap_or_default(),
            "version" => read.version = text(value).unwrap_or_default(),
            "user_id" => read.user_id = text(value).filter(|user| !user.is_empty()),
            "latency_ms" => read.latency_ms = value.as_f64().unwrap_or_default(),
            "tokens_used" => read.tokens_used = value.as_u64(),
            "confidence" => read.confidence = value.as_f64(),
            "cost" => read.cost = value.as_f64(),
            "timestamp" => read.event_time = event_time(&value),
            _ => {}
        }
    }
    read
}

fn training(time: PointTime, state: &str, fields: Map<String, Value>) -> Result<Training, Unfit> {
    let mut read = Training {
        time,
        experiment_id: None,
        model_name: String::new(),
        status: String::new(),
        progress: None,
        step: None,
        event_time: None,
        metrics: Vec::new(),
    };
    for (name, value) in fields {
        match name.as_str() {
            "model_name" => read.model_name = text(value).unwrap_or_default(),
            "experiment_id" => read.experiment_id = text(value).filter(|id| !id.is_empty()),
            "status" => read.status = text(value).unwrap_or_default(),
            "progress" => read.progress = value.as_f64(),
            "step" => read.step = value.as_u64(),
            "timestamp" => read.event_time = event_time(&value),
            "metrics" => {
                if let Value::Object(metrics) = value {
                    read.metrics = numbers(metrics);
                }
            }
            _ => {}
        }
    }
    if read.status.is_empty() {
        state.clone_into(&mut read.status);
    }
    match read.metrics.len() {
        ..=MAX_METRICS => Ok(read),
        many => Err(Unfit::Metrics(many)),
    }
}

/// The numbers among them; what is nested is not looked into.
fn numbers(metrics: Map<String, Value>) -> Vec<(String, f64)> {
    let number = |value: Value| value.as_f64().filter(|number| number.is_finite());
    metrics.into_iter().filter_map(|(name, value)| Some((name, number(value)?))).collect()
}

fn text(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

/// When it was published, if that is within the years that a time can be of.
fn event_time(value: &Value) -> Option<PointTime> {
    let text = value.as_str().filter(|text| text.len() == LENGTH)?;
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(PointTime::from_ns)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: EntryId = EntryId::new(1_795_424_694_440, 3);

    fn sample(stream: &str, event: Value) -> Sample {
        let event: Event = serde_json::from_value(event).unwrap();
        Sample::of(stream, ID, event).unwrap().unwrap()
    }

    #[test]
    fn an_inference_fails_by_its_name_or_its_success() {
        for (event, success) in [
            (json!({"event": "inference-complete", "success": true}), true),
            (json!({"event": "inference-complete", "success": false}), false),
            (json!({"event": "inference-failed", "success": true}), false),
            (json!({"event": "inference-complete"}), true),
        ] {
            let Sample::Inference(read) = sample(INFERENCE_EVENTS, event) else { panic!("an inference") };
            assert_eq!(read.success, success);
            assert_eq!(read.time.ns(), 1_795_424_694_440_000_003);
        }
    }

    #[test]
    fn a_replayed_event_has_the_time_of_the_first() {
        let event = json!({"event": "inference-complete", "replay_of": "5-1", "timestamp": "1970-01-01T00:00:01.000002Z"});
        let Sample::Inference(read) = sample(INFERENCE_EVENTS, event) else { panic!("an inference") };
        assert_eq!(read.time.ns(), 5_000_001);
        assert_eq!(read.event_time, Some(PointTime::from_ns(1_000_002_000)));
    }

    #[test]
    fn training_has_a_status_and_flat_figures() {
        let event = json!({
            "event": "training-progress", "experiment_id": "e", "model_name": "m", "step": 3,
            "metrics": {"loss": 0.5, "epoch": 2, "best": true, "lr": {"now": 1e-3}, "note": "7"},
        });
        let Sample::Training(read) = sample(TRAINING_EVENTS, event.clone()) else { panic!("training") };
        assert_eq!(read.status, "progress");
        assert_eq!(read.metrics, [("loss".to_owned(), 0.5), ("epoch".to_owned(), 2.0)]);
        let mut event = event;
        event["status"] = json!("running");
        let Sample::Training(read) = sample(TRAINING_EVENTS, event) else { panic!("training") };
        assert_eq!(read.status, "running");
    }

    #[test]
    fn what_is_not_stored_is_no_sample_and_what_can_not_be_says_why() {
        let other = Event::new("inference-started");
        assert_eq!(Sample::of(INFERENCE_EVENTS, ID, other), Ok(None));
        let many: Map<_, _> = (0..=MAX_METRICS).map(|n| (n.to_string(), json!(n))).collect();
        let event = Event::new("training-progress").with("metrics", Value::Object(many));
        assert_eq!(Sample::of(TRAINING_EVENTS, ID, event), Err(Unfit::Metrics(MAX_METRICS + 1)));
        let event = Event::new("training-progress").with("replay_of", "1-1000000");
        assert!(matches!(Sample::of(TRAINING_EVENTS, ID, event), Err(Unfit::Time(_))));
    }
}
