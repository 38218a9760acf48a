//! Reading and writing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{AnyConnection, AnyPool};
use tokio::time::timeout;

use crate::{
    change::{Change, WriteError},
    error::DatabaseError,
    group_commit::Writes,
    transactions,
};

/// A database. Clones are the same.
#[derive(Clone)]
pub struct Database {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) pool: AnyPool,
    /// SQLite's one writer.
    pub(crate) writes: Option<Writes>,
    pub(crate) timeout: Duration,
    /// Whether the tables are those of this version.
    pub(crate) is_prepared: AtomicBool,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Database").field("is_sqlite", &self.is_sqlite()).finish_non_exhaustive()
    }
}

/// A statement in both dialects, with the same arguments.
///
/// SQLite's may be several statements, which share the arguments and go by one trip to its thread; PostgreSQL's is one,
/// of which the parts stand in `WITH`.
#[derive(Clone, Copy, Debug)]
pub struct Sql {
    /// For SQLite.
    pub sqlite: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
}

impl Sql {
    /// That of the database behind this connection.
    pub fn on(self, connection: &AnyConnection) -> &'static str {
        if is_sqlite(connection) { self.sqlite } else { self.postgres }
    }
}

pub(crate) fn is_sqlite(connection: &AnyConnection) -> bool {
    connection.backend_name() == "SQLite"
}

impl Database {
    /// Whether it is SQLite, for one process.
    pub fn is_sqlite(&self) -> bool {
        self.shared.writes.is_some()
    }

    /// Applies a change, and answers once it is committed.
    pub async fn write<C: Change>(&self, change: C) -> Result<C::Output, WriteError<C::Refusal>> {
        self.must_be_prepared()?;
        let written = async {
            match &self.shared.writes {
                Some(writes) => writes.write(change).await,
                None => transactions::write(&self.shared.pool, &change).await,
            }
        };
        timeout(self.shared.timeout, written).await.unwrap_or_else(|_| Err(self.took_too_long().into()))
    }

    /// Asks something.
    pub async fn read<T>(
        &self,
        question: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DatabaseError> {
        self.must_be_prepared()?;
        let asked = async { question(&mut *self.shared.pool.acquire().await?).await };
        match timeout(self.shared.timeout, asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(self.took_too_long()),
        }
    }

    pub(crate) fn must_be_prepared(&self) -> Result<(), DatabaseError> {
        if self.shared.is_prepared.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(DatabaseError::Unavailable("it has not been reached yet".to_owned()))
        }
    }

    fn took_too_long(&self) -> DatabaseError {
        DatabaseError::Unavailable(format!("no answer within {:?} (DATABASE_TIMEOUT)", self.shared.timeout))
    }
}
