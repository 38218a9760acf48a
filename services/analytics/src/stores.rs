//! The stores there are.

use std::time::Duration;

use crate::{
    embedded::Embedded,
    influx::Influx,
    sample::Sample,
    store::{
        MetricPoint, ModelPoint, ModelSummary, Rows, Store, StoreError, TrainingKey, TrainingPoint, Window,
        Written,
    },
};

/// The store that is configured.
#[derive(Clone, Debug)]
pub enum Stores {
    /// A server.
    Influx(Influx),
    /// A file.
    Embedded(Embedded),
}

/// The same call on whichever it is.
macro_rules! either {
    ($stores:expr, $store:ident => $call:expr) => {
        match $stores {
            Self::Influx($store) => $call.await,
            Self::Embedded($store) => $call.await,
        }
    };
}

impl Store for Stores {
    async fn write(&self, samples: &[Sample]) -> Result<Vec<Written>, StoreError> {
        either!(self, store => store.write(samples))
    }

    async fn models(&self, window: Window) -> Result<Rows<ModelSummary>, StoreError> {
        either!(self, store => store.models(window))
    }

    async fn model_series(
        &self,
        name: &str,
        window: Window,
        step: Duration,
    ) -> Result<Rows<ModelPoint>, StoreError> {
        either!(self, store => store.model_series(name, window, step))
    }

    async fn training(&self, by: &TrainingKey, limit: usize) -> Result<Rows<TrainingPoint>, StoreError> {
        either!(self, store => store.training(by, limit))
    }

    async fn time_series(
        &self,
        user_id: &str,
        metric: &str,
        window: Window,
        step: Duration,
    ) -> Result<Rows<MetricPoint>, StoreError> {
        either!(self, store => store.time_series(user_id, metric, window, step))
    }
}
