//! PostgreSQL's way: each change has a transaction of its own.

use std::time::{Duration, Instant};

use sqlx::{AnyConnection, AnyPool, Connection as _};
use synapse_rs::backoff::Backoff;
use tokio::{sync::Notify, time::sleep};

use crate::{
    change::{Change, Refusable, WriteError},
    error::DatabaseError,
    metrics,
};

/// How often a change is tried that others got in the way of.
const ATTEMPTS: usize = 8;
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

pub(crate) async fn write<C: Change>(
    pool: &AnyPool,
    change: &C,
    committed: &Notify,
) -> Result<C::Output, WriteError<C::Refusal>> {
    let mut pauses = Backoff::new(PAUSE.0, PAUSE.1);
    let mut attempt = 1;
    loop {
        let error = match once(pool, change).await {
            Ok(output) => {
                committed.notify_one();
                return Ok(output);
            }
            Err(Refusable::Refused(refusal)) => return Err(WriteError::Refused(refusal)),
            Err(Refusable::Failed(error)) => DatabaseError::from(error),
        };
        if attempt == ATTEMPTS || !matches!(error, DatabaseError::Conflict(_)) {
            metrics::failed();
            return Err(error.into());
        }
        attempt += 1;
        sleep(pauses.next_delay()).await;
    }
}

async fn once<C: Change>(pool: &AnyPool, change: &C) -> Result<C::Output, Refusable<C::Refusal>> {
    let started = Instant::now();
    let mut connection = pool.acquire().await?;
    let connection: &mut AnyConnection = &mut connection;
    let mut transaction = connection.begin().await?;
    let output = change.apply(&mut transaction).await?;
    transaction.commit().await?;
    metrics::committed(1, started.elapsed());
    Ok(output)
}
