use std::time::Duration;

use synapse_analytics::{
    influx::{Influx, InfluxSettings},
    sample::{Inference, PointTime, Sample, Training},
    store::{Store, StoreError, Window, Written},
};
use synapse_chassis::settings::Environment;
use synapse_test_support::PointServer;

/// 2026-11-25, in nanoseconds.
pub(crate) const BEGIN: i64 = 1_795_564_800_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;

pub(crate) fn settings(url: &str, more: &[(&str, &str)]) -> InfluxSettings {
    let variables = [("INFLUXDB_URL", url)].into_iter().chain(more.iter().copied());
    InfluxSettings::read(&Environment::from_map(variables)).unwrap().unwrap()
}

pub(crate) fn influx(url: &str, more: &[(&str, &str)]) -> Influx {
    Influx::new(settings(url, more)).unwrap()
}

pub(crate) fn influxdb() -> (PointServer, Influx) {
    let server = PointServer::influxdb(&[]);
    let influx = influx(&server.url(), &[]);
    (server, influx)
}

pub(crate) fn at(ns: i64) -> PointTime {
    PointTime::from_ns(BEGIN + ns)
}

pub(crate) fn seconds(from: i64, to: i64) -> Window {
    Window { from: at(from * SECOND), to: at(to * SECOND) }
}

pub(crate) fn inference(ns: i64, model_name: &str) -> Inference {
    Inference {
        time: at(ns),
        model_name: model_name.to_owned(),
        version: "1.0".to_owned(),
        user_id: Some("42".to_owned()),
        latency_ms: 45.2,
        tokens_used: Some(10),
        confidence: Some(0.9),
        cost: Some(0.001),
        success: true,
        event_time: Some(at(ns)),
    }
}

pub(crate) fn training(ns: i64, metrics: &[(&str, f64)]) -> Training {
    Training {
        time: at(ns),
        experiment_id: Some("exp".to_owned()),
        model_name: "m".to_owned(),
        status: "running".to_owned(),
        progress: Some(0.5),
        step: Some(7),
        event_time: Some(at(ns)),
        metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
    }
}

/// One of each model, a nanosecond apart.
pub(crate) fn of_models<S: AsRef<str>>(names: &[S]) -> Vec<Sample> {
    let sample = |(ns, name): (i64, &S)| Sample::Inference(inference(ns, name.as_ref()));
    (0..).zip(names).map(sample).collect()
}

pub(crate) async fn store_all(influx: &Influx, samples: &[Sample]) {
    let written = influx.write(samples).await.unwrap();
    assert!(written.iter().all(|outcome| *outcome == Written::Stored), "{written:?}");
}

/// The reason why nothing was decided, and when to ask again.
pub(crate) fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> (String, Option<Duration>) {
    match result {
        Err(StoreError::Unavailable { reason, retry_after }) => (reason, retry_after),
        other => panic!("unavailable, not {other:?}"),
    }
}

/// The places of what was refused, and the last reason.
pub(crate) fn refused(written: &[Written]) -> (Vec<usize>, String) {
    let mut reason = String::new();
    let places = written.iter().enumerate().filter_map(|(place, outcome)| match outcome {
        Written::Refused(words) => {
            reason.clone_from(words);
            Some(place)
        }
        _ => None,
    });
    (places.collect(), reason)
}
