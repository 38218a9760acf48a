//! What the database could not do.

use sqlx::Error;
use synapse_chassis::error::ApiError;

/// What the database could not do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It does not answer for the moment: down, busy, full or read-only. Nothing of a change is there, or, should the
    /// connection have been lost at the commit, all of it.
    #[error("the database does not answer for the moment: {0}")]
    Unavailable(String),
    /// It has not said in time whether a change is there.
    #[error("the database has not said whether the change was made: {0}")]
    OutcomeUnknown(String),
    /// Two changes got in each other's way; one of them is to be tried again.
    #[error("two changes at once: {0}")]
    Conflict(String),
    /// A statement or its data is wrong: our fault.
    #[error("the database refuses a statement: {0}")]
    Broken(String),
}

impl DatabaseError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Broken(_))
    }
}

/// SQLite's primary result codes that say nothing about the statement: PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT,
/// IOERR, FULL, CANTOPEN, PROTOCOL (<https://sqlite.org/rescode.html>).
const SQLITE_UNAVAILABLE: [u32; 10] = [3, 5, 6, 7, 8, 9, 10, 13, 14, 15];
/// Classes of PostgreSQL's codes that say nothing about the statement: connections, roles, a read-only server, resources,
/// operators (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
const POSTGRES_UNAVAILABLE: [&str; 7] = ["08", "28", "3D", "53", "55P03", "57", "25006"];
/// A serialisation failure and a deadlock.
const POSTGRES_CONFLICT: [&str; 2] = ["40001", "40P01"];

impl From<Error> for DatabaseError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let Error::Database(refused) = &error else {
            return match error {
                Error::Io(_)
                | Error::Tls(_)
                | Error::Protocol(_)
                | Error::PoolTimedOut
                | Error::PoolClosed
                | Error::WorkerCrashed => Self::Unavailable(text),
                _ => Self::Broken(text),
            };
        };
        let code = refused.code().unwrap_or_default();
        if POSTGRES_CONFLICT.contains(&code.as_ref()) {
            return Self::Conflict(text);
        }
        // SQLite's are numbers, the primary one in their lowest byte; PostgreSQL's have five characters.
        let is_unavailable = match code.parse::<u32>() {
            Ok(number) if code.len() < 5 => SQLITE_UNAVAILABLE.contains(&(number & 0xff)),
            _ => POSTGRES_UNAVAILABLE.iter().any(|class| code.starts_with(class)),
        };
        if is_unavailable { Self::Unavailable(text) } else { Self::Broken(text) }
    }
}

/// A client is told what it can do about it; the rest is for the log.
impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> Self {
        if !error.is_transient() {
            return Self::internal(&error);
        }
        tracing::warn!(%error, "a request could not be served");
        if let DatabaseError::OutcomeUnknown(_) = error {
            let message = "the database did not answer in time; the change may have been made: look, or send it again under the Idempotency-Key it had";
            return Self::unavailable("outcome_unknown", message);
        }
        Self::unavailable("database_unavailable", "the database does not answer for the moment; try again")
    }
}

/// Whether a statement would have made a second row of one key; of the key that each database calls by one of `names`:
/// SQLite by its columns, `tasks.id`, PostgreSQL by its constraint, `tasks_pkey`.
pub fn is_duplicate_of(error: &Error, names: &[&str]) -> bool {
    let Error::Database(refused) = error else { return false };
    let is_named = |name: &&str| {
        refused.constraint() == Some(*name) || refused.message().ends_with(&format!(": {name}"))
    };
    refused.is_unique_violation() && names.iter().any(is_named)
}
