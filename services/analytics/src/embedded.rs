//! The store that needs no server: one file of SQLite, for one process.
//!
//! Each sample has a row for a while, by which a repeat is told from a new one; inferences are also summed up by the minute,
//! with a sketch of their latencies, for longer. An answer takes whole minutes from the sums and the edges of its window from
//! rows: counts are exact, and quantiles are within [`RELATIVE_ERROR`] of the exact ones.
//!
//! A sample from before the rows that are kept is refused: it may be a repeat of one that was counted, and nothing could tell.
//!
//! # Layout
//!
//! * `write`: samples in one transaction. `inference`: their rows and sums. `statement`: statements over many rows.
//! * `tally`, `sketch`: inferences taken together.
//! * `window`: what is read from rows, and what from sums. `models`, `history`: the answers.
//! * `retention`: what is too old goes. [`settings`], `metrics`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use synapse_chassis::service::Service;
use synapse_database::{
    AnyConnection, Database, DatabaseError, DatabaseSettings, MigrationFile, OpenError, Schema, open::Writer,
    settings::Location, sqlx,
};
use tokio::time::timeout;

mod history;
mod inference;
mod metrics;
mod models;
mod retention;
pub mod settings;
mod sketch;
mod statement;
mod tally;
mod window;
mod write;

pub use retention::Removed;
pub use settings::EmbeddedSettings;
pub use sketch::{RANGE_MS, RELATIVE_ERROR};
pub use write::MAX_NAME_BYTES;

use crate::{
    sample::Sample,
    store::{
        MetricPoint, ModelPoint, ModelSummary, Rows, Store, StoreError, TrainingKey, TrainingPoint, Window,
        Written,
    },
};

/// The file's name in `DATA_DIR`.
pub const FILE_NAME: &str = "analytics.db";
/// The tables and how they came to be; there is no other database that they could be in.
const SCHEMA: Schema = Schema {
    name: "synapse_analytics",
    sqlite: &[MigrationFile {
        version: 1,
        description: "samples and sums of minutes",
        sql: include_str!("../migrations/sqlite/1-samples.sql"),
    }],
    postgres: &[],
};
/// Samples of one transaction at most, so that others get their turn.
const MAX_AT_ONCE: usize = 4096;
/// The part of the time for an answer after which a question is given up; the rest is for saying so.
const ANSWERING_OF_TIMEOUT: f64 = 0.9;

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process has it.
    #[error(
        "{} is in use by another process, and one process alone works on it: stop the other, or set DATA_DIR to another directory",
        .0.display()
    )]
    InUse(PathBuf),
    /// It can't be made, opened or brought to this version's form.
    #[error("{}: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: OpenError,
    },
}

/// A file of samples. Clones are the same.
#[derive(Clone, Debug)]
pub struct Embedded {
    database: Database,
    path: Arc<Path>,
    settings: EmbeddedSettings,
}

impl Embedded {
    /// Opens the file in a directory, and has it written to and looked after until the service leaves.
    pub async fn start(
        directory: &Path,
        settings: EmbeddedSettings,
        service: &Service,
    ) -> Result<Self, EmbeddedError> {
        metrics::describe();
        let path = directory.join(FILE_NAME);
        let database = DatabaseSettings {
            location: Location::Sqlite(path.clone()),
            connections: 1,
            timeout: settings.timeout,
        };
        let ready = service.readiness.condition("store");
        let database = Database::start(&database, SCHEMA, service, ready);
        let database = database.await.map_err(|reason| cant_open(&path, reason))?;
        let store = Self { database, path: path.into(), settings };
        service.spawn("store", store.clone().look_after(service.shutdown.clone()));
        Ok(store)
    }

    /// Opens a file; the writer is to be run for anything to be written.
    pub async fn open(path: &Path, settings: EmbeddedSettings) -> Result<(Self, Writer), EmbeddedError> {
        let opened = Database::open_sqlite(path, SCHEMA, settings.timeout).await;
        let (database, writer) = opened.map_err(|reason| cant_open(path, reason))?;
        Ok((Self { database, path: path.into(), settings }, writer))
    }

    /// See [`Store::write`].
    pub async fn write(&self, samples: &[Sample]) -> Result<Vec<Written>, StoreError> {
        let mut written = vec![Written::Stored; samples.len()];
        for (number, portion) in samples.chunks(MAX_AT_ONCE).enumerate() {
            let mut batch = write::Batch::default();
            for (place, sample) in (number * MAX_AT_ONCE..).zip(portion) {
                if let Err(reason) = batch.push(place, sample) {
                    written[place] = Written::Refused(reason);
                }
            }
            if batch.is_empty() {
                continue;
            }
            let late = self.database.write(batch).await;
            for late in late.map_err(|error| self.failed("written", &error.into()))? {
                metrics::late(late.kind);
                written[late.place] = Written::Refused(late.to_string());
            }
        }
        Ok(written)
    }

    /// See [`Store::models`].
    pub async fn models(&self, window: Window) -> Result<Rows<ModelSummary>, StoreError> {
        self.read(async |connection| models::models(connection, window).await).await
    }

    /// See [`Store::model_series`].
    pub async fn model_series(
        &self,
        name: &str,
        window: Window,
        step: Duration,
    ) -> Result<Rows<ModelPoint>, StoreError> {
        let asked = self.read(async |connection| models::series(connection, name, window, step).await);
        asked.await?.map_err(|too_fine| {
            let since = jiff::Timestamp::from_nanosecond(too_fine.since_ns.into()).unwrap_or_default();
            StoreError::Unanswerable(format!(
                "steps of less than a minute can be told since {since} (ANALYTICS_RAW_RETENTION); ask for a later window or longer steps"
            ))
        })
    }

    /// See [`Store::training`].
    pub async fn training(&self, by: &TrainingKey, limit: usize) -> Result<Rows<TrainingPoint>, StoreError> {
        self.read(async |connection| history::training(connection, by, limit).await).await
    }

    /// See [`Store::time_series`].
    pub async fn time_series(
        &self,
        user_id: &str,
        metric: &str,
        window: Window,
        step: Duration,
    ) -> Result<Rows<MetricPoint>, StoreError> {
        let asked =
            async |connection: &mut _| history::time_series(connection, user_id, metric, window, step).await;
        self.read(asked).await
    }

    async fn read<T>(
        &self,
        question: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let limit = self.settings.timeout.mul_f64(ANSWERING_OF_TIMEOUT);
        let begun = Instant::now();
        // A question that is given up ends at its next row.
        match timeout(limit, self.database.read(question)).await {
            Ok(Err(error)) if begun.elapsed() < limit || !error.is_transient() => {
                Err(self.failed("read", &error))
            }
            Ok(Ok(answer)) => Ok(answer),
            // One of the two, where the database has a limit of its own.
            Ok(Err(_)) | Err(_) => Err(StoreError::Slow(limit)),
        }
    }

    fn failed(&self, work: &'static str, error: &DatabaseError) -> StoreError {
        metrics::failed(work);
        let path = self.path.display();
        if error.is_transient() {
            StoreError::unavailable(format!("{path} can't be {work} for the moment: {error}"))
        } else {
            StoreError::Failed(format!("{path} can't be {work}: {error}"))
        }
    }
}

impl Store for Embedded {
    async fn write(&self, samples: &[Sample]) -> Result<Vec<Written>, StoreError> {
        Self::write(self, samples).await
    }

    async fn models(&self, window: Window) -> Result<Rows<ModelSummary>, StoreError> {
        Self::models(self, window).await
    }

    async fn model_series(
        &self,
        name: &str,
        window: Window,
        step: Duration,
    ) -> Result<Rows<ModelPoint>, StoreError> {
        Self::model_series(self, name, window, step).await
    }

    async fn training(&self, by: &TrainingKey, limit: usize) -> Result<Rows<TrainingPoint>, StoreError> {
        Self::training(self, by, limit).await
    }

    async fn time_series(
        &self,
        user_id: &str,
        metric: &str,
        window: Window,
        step: Duration,
    ) -> Result<Rows<MetricPoint>, StoreError> {
        Self::time_series(self, user_id, metric, window, step).await
    }
}

fn cant_open(path: &Path, reason: OpenError) -> EmbeddedError {
    match reason {
        OpenError::InUse { path } => EmbeddedError::InUse(path),
        reason => EmbeddedError::Open { path: path.to_owned(), reason },
    }
}

#[cfg(test)]
mod tests;
