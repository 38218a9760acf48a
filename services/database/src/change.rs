//! What is written, and why it may not be.

use std::{convert::Infallible, future::Future};

use sqlx::AnyConnection;

use crate::error::DatabaseError;

/// Something that is written as a whole or not at all.
///
/// It may be applied more than once: what an attempt wrote is then undone before the next.
pub trait Change: Send + Sync + 'static {
    /// What it gives once it is committed.
    type Output: Send + 'static;
    /// Why it may be refused.
    type Refusal: Send + 'static;

    /// Reads and writes in the transaction of `connection`. It refuses before it writes anything: others may be
    /// committed together with it.
    fn apply(
        &self,
        connection: &mut AnyConnection,
    ) -> impl Future<Output = Result<Self::Output, Refusable<Self::Refusal>>> + Send;
}

/// Why a change was not applied.
#[derive(Debug)]
pub enum Refusable<R> {
    /// Its own rules; nothing was written.
    Refused(R),
    /// The database.
    Failed(sqlx::Error),
}

impl<R> From<sqlx::Error> for Refusable<R> {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

/// Why a change is not there.
#[derive(Debug)]
pub enum WriteError<R> {
    /// Its own rules.
    Refused(R),
    /// The database.
    Database(DatabaseError),
}

impl<R> From<DatabaseError> for WriteError<R> {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

/// What has no rules of its own can't be refused by them.
impl From<WriteError<Infallible>> for DatabaseError {
    fn from(error: WriteError<Infallible>) -> Self {
        match error {
            WriteError::Database(error) => error,
            WriteError::Refused(never) => match never {},
        }
    }
}

impl<R: Into<synapse_chassis::error::ApiError>> From<WriteError<R>> for synapse_chassis::error::ApiError {
    fn from(error: WriteError<R>) -> Self {
        match error {
            WriteError::Refused(refusal) => refusal.into(),
            WriteError::Database(error) => error.into(),
        }
    }
}
