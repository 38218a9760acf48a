//! Taking turns with other replicas on PostgreSQL.

use sqlx::{AnyConnection, Row as _};

use crate::{Database, error::DatabaseError};

/// The right to do something that one replica does at a time; given back when dropped.
///
/// PostgreSQL gives it to a session, and takes it back when that ends. On SQLite there is one process, which has it.
#[derive(Debug)]
pub struct Lease {
    session: Option<AnyConnection>,
}

impl Lease {
    /// Whether it is still ours.
    pub async fn is_held(&mut self) -> bool {
        match &mut self.session {
            None => true,
            Some(session) => sqlx::query("SELECT 1 AS one").fetch_one(session).await.is_ok(),
        }
    }
}

impl Database {
    /// Takes the right called `name`; `None` if another replica has it.
    pub async fn lease(&self, name: &str) -> Result<Option<Lease>, DatabaseError> {
        const TRY: &str = "SELECT pg_try_advisory_lock(hashtextextended(CAST($1 AS TEXT), 0)) AS taken";
        self.must_be_prepared()?;
        if self.is_sqlite() {
            return Ok(Some(Lease { session: None }));
        }
        // Not back to the pool, where somebody else would have it.
        let mut session = self.shared.pool.acquire().await?.detach();
        let taken = sqlx::query(TRY).bind(name).fetch_one(&mut session).await?.try_get("taken")?;
        Ok(if taken { Some(Lease { session: Some(session) }) } else { None })
    }
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
