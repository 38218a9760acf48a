//! Taking turns with other replicas on PostgreSQL.

use sqlx::{AnyConnection, Row as _};
use tokio::time::timeout;

use crate::{Database, error::DatabaseError};

/// The right to do something that one replica does at a time; given back when dropped.
///
/// PostgreSQL gives it to a session, and takes it back when that ends. On SQLite there is one process, which has it.
#[derive(Debug)]
pub struct Turn {
    database: Database,
    name: String,
    session: Option<AnyConnection>,
    is_ours: bool,
}

impl Database {
    /// The right called `name`, which nobody has yet as far as this is concerned.
    pub fn turn(&self, name: impl Into<String>) -> Turn {
        Turn { database: self.clone(), name: name.into(), session: None, is_ours: false }
    }
}

impl Turn {
    /// Whether it is ours, or has become so now. A session that does not answer in time is given up.
    pub async fn is_ours(&mut self) -> Result<bool, DatabaseError> {
        self.database.must_be_prepared()?;
        if self.database.is_sqlite() {
            return Ok(true);
        }
        // Not among those of the pool, where somebody else would have it.
        let mut session = if let Some(session) = self.session.take() {
            session
        } else {
            self.is_ours = false;
            self.database.shared.pool.acquire().await?.detach()
        };
        let asked = timeout(self.database.shared.timeout, ask(&mut session, &self.name, self.is_ours)).await;
        self.is_ours = asked.map_err(|_| self.database.took_too_long())??;
        self.session = Some(session);
        Ok(self.is_ours)
    }
}

/// Whether the session has the lock, asking for it if it is not known to.
async fn ask(session: &mut AnyConnection, name: &str, is_held: bool) -> Result<bool, sqlx::Error> {
    const TAKE: &str = "SELECT pg_try_advisory_lock(hashtextextended(CAST($1 AS TEXT), 0)) AS taken";
    if is_held {
        return sqlx::query("SELECT 1 AS one").fetch_one(session).await.map(|_| true);
    }
    sqlx::query(TAKE).bind(name).fetch_one(session).await?.try_get("taken")
}

/// Waits until no other transaction is between this call for the same name and its end. What is read afterwards is
/// what those have left. Nothing on SQLite, where one writes at a time.
pub async fn take_turns(connection: &mut AnyConnection, name: &str) -> Result<(), sqlx::Error> {
    // A lock gives nothing back that could be read.
    const WAIT: &str =
        "SELECT 1 AS one FROM (SELECT pg_advisory_xact_lock(hashtextextended(CAST($1 AS TEXT), 0))) AS turn";
    if crate::database::is_sqlite(connection) {
        return Ok(());
    }
    sqlx::query(WAIT).bind(name).fetch_one(connection).await.map(drop)
}
