//! A store in a folder of its own, and samples.

use std::{path::PathBuf, time::Duration};

use proptest::prelude::*;
use synapse_analytics::{
    embedded::{Embedded, EmbeddedSettings, FILE_NAME},
    sample::{Inference, PointTime, Sample},
    store::{Window, Written},
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinHandle};

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// The beginning of a minute, and of an hour.
pub(crate) const BASE: i64 = 1_795_420_800 * SECOND;

pub(crate) const SETTINGS: EmbeddedSettings = EmbeddedSettings {
    raw_retention: Duration::from_hours(24),
    rollup_retention: Duration::from_hours(48),
    max_bytes: 1 << 40,
    timeout: Duration::from_mins(1),
};

/// An open store, and its folder.
pub(crate) struct Bench {
    pub(crate) store: Embedded,
    pub(crate) settings: EmbeddedSettings,
    pub(crate) folder: TempDir,
    writer: JoinHandle<()>,
}

impl Bench {
    pub(crate) async fn new(settings: EmbeddedSettings) -> Self {
        Self::at(TempDir::new().unwrap(), settings).await
    }

    async fn at(folder: TempDir, settings: EmbeddedSettings) -> Self {
        let (store, writer) = Embedded::open(&folder.path().join(FILE_NAME), settings).await.unwrap();
        Self { store, settings, folder, writer: tokio::spawn(writer.run()) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(FILE_NAME)
    }

    /// Closes the file and opens it again.
    pub(crate) async fn reopen(self) -> Self {
        let Self { store, settings, folder, writer } = self;
        drop(store);
        writer.await.unwrap();
        Self::at(folder, settings).await
    }

    /// Writes samples that can be written.
    pub(crate) async fn write(&self, samples: &[Sample]) {
        let written = self.store.write(samples).await.unwrap();
        assert_eq!(written, vec![Written::Stored; samples.len()]);
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub(crate) fn window(from: i64, to: i64) -> Window {
    Window { from: PointTime::from_ns(from), to: PointTime::from_ns(to) }
}

/// An ordinary inference.
pub(crate) fn inference(ns: i64) -> Inference {
    Inference {
        time: PointTime::from_ns(ns),
        model_name: "m".to_owned(),
        version: "1".to_owned(),
        user_id: Some("007".to_owned()),
        latency_ms: 45.2,
        tokens_used: Some(100),
        confidence: Some(0.9),
        cost: Some(0.25),
        success: true,
        event_time: Some(PointTime::from_ns(ns - 5)),
    }
}

/// Inferences with different times, of some models and versions, within this time from [`BASE`] on.
pub(crate) fn inferences(length: i64, most: usize) -> impl Strategy<Value = Vec<Inference>> {
    // Often at the edge of a minute, or beside it.
    let minutes = length / MINUTE;
    let time = prop_oneof![
        3 => 0..length,
        1 => (0..minutes, -1..2_i64).prop_map(|(minute, beside)| (minute * MINUTE + beside).max(0)),
    ];
    let numbers = (any::<bool>(), prop::option::of(0..5_000_u64), prop::option::of(0.0..2.0_f64));
    let one = (time, "[ab\u{0}']", "[12]", -2.0..5.0_f64, numbers);
    prop::collection::vec(one, 1..most).prop_map(|all| {
        let mut all: Vec<_> = all
            .into_iter()
            .map(|(time, model_name, version, power, (success, tokens_used, cost))| Inference {
                model_name,
                version,
                latency_ms: 10_f64.powf(power),
                tokens_used,
                cost,
                success,
                ..inference(BASE + time)
            })
            .collect();
        all.sort_by_key(|sample| sample.time);
        all.dedup_by_key(|sample| sample.time);
        all
    })
}

pub(crate) fn samples(inferences: &[Inference]) -> Vec<Sample> {
    inferences.iter().cloned().map(Sample::Inference).collect()
}
