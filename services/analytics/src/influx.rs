//! InfluxDB 1 and 2, and what takes points as they do: one pooled client over HTTP.
//!
//! * `client`: the server, its version and what its answers mean; `words`: what it says. `body`: points as they are sent.
//! * `write`: every point stored, or refused for its own sake; a refusal never touches its neighbours.
//! * `query`: InfluxQL, which both versions answer. `answers`: the questions that are asked.

mod answers;
mod body;
mod client;
mod query;
mod settings;
mod words;
mod write;

use std::{sync::Arc, time::Duration};

use crate::{
    sample::Sample,
    store::{
        MetricPoint, ModelPoint, ModelSummary, Rows, Store, StoreError, TrainingKey, TrainingPoint, Window,
        Written,
    },
};

use client::Server;
pub use settings::{INFLUXDB, InfluxSettings, Version};

/// A database of InfluxDB. Clones are the same.
#[derive(Clone, Debug)]
pub struct Influx {
    server: Arc<Server>,
}

impl Influx {
    /// Prepares to ask the server; nothing is sent yet. Fails only where certificates are needed and there are none.
    pub fn new(settings: InfluxSettings) -> Result<Self, synapse_chassis::outgoing::OutgoingError> {
        Ok(Self { server: Arc::new(Server::new(settings)?) })
    }
}

impl Store for Influx {
    async fn write(&self, samples: &[Sample]) -> Result<Vec<Written>, StoreError> {
        write::write(&self.server, samples).await
    }

    async fn models(&self, window: Window) -> Result<Rows<ModelSummary>, StoreError> {
        answers::models(&self.server, window).await
    }

    async fn model_series(
        &self,
        name: &str,
        window: Window,
        step: Duration,
    ) -> Result<Rows<ModelPoint>, StoreError> {
        answers::model_series(&self.server, name, window, step).await
    }

    async fn training(&self, by: &TrainingKey, limit: usize) -> Result<Rows<TrainingPoint>, StoreError> {
        answers::training(&self.server, by, limit).await
    }

    async fn time_series(
        &self,
        user_id: &str,
        metric: &str,
        window: Window,
        step: Duration,
    ) -> Result<Rows<MetricPoint>, StoreError> {
        answers::time_series(&self.server, user_id, metric, window, step).await
    }
}
