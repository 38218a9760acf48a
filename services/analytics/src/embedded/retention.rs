//! What is too old goes, a portion at a time, so that writing never waits for long.
//!
//! The file keeps its size: the room of what was removed is taken by what comes next.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use synapse_database::{AnyConnection, Change, Refusable, Row as _, sqlx};
use synapse_rs::shutdown::Shutdown;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Embedded, metrics,
    window::MINUTE_NS,
    write::{Kind, since},
};
use crate::{sample::PointTime, store::StoreError};

/// How often there is a look.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Rows removed by one transaction.
const PORTION: i64 = 5_000;
/// So long before the newest sample of a kind nothing of it is removed: after an outage of any length the samples that waited
/// are still told from repeats, though two batches of them may pass each other.
const SLACK_NS: i64 = 10 * MINUTE_NS;

const IN_USE: &str = "SELECT (page_count - freelist_count) * page_size AS bytes \
    FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()";
const OLD_ROLLUPS: &str = "DELETE FROM rollup WHERE (series, minute) IN (SELECT id, minute \
    FROM series CROSS JOIN rollup ON rollup.series = series.id WHERE minute < $1 LIMIT $2)";
const UNUSED_SERIES: &str = "DELETE FROM series WHERE id IN (SELECT id FROM series \
    WHERE NOT EXISTS (SELECT 1 FROM rollup WHERE rollup.series = series.id) LIMIT $2) AND $1 IS NOT NULL";

/// How many rows went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Inferences.
    pub inference: u64,
    /// Things said of training.
    pub training: u64,
    /// Figures of users.
    pub metric: u64,
    /// Sums of minutes.
    pub rollup: u64,
    /// Whether samples went before their time, because the file has grown to `ANALYTICS_MAX_BYTES`.
    pub made_room: bool,
}

impl Removed {
    fn add(&mut self, kind: Kind, rows: u64) {
        *match kind {
            Kind::Inference => &mut self.inference,
            Kind::Training => &mut self.training,
            Kind::Metric => &mut self.metric,
        } += rows;
    }
}

impl Embedded {
    /// Removes what is too old, until the service leaves.
    pub(super) async fn look_after(self, shutdown: Shutdown) {
        let mut beat = interval(LOOK_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_full = false;
        while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
            match shutdown.run_until_cancelled(self.remove_old(now())).await {
                None => return,
                Some(Ok(removed)) => {
                    if removed.made_room && !was_full {
                        tracing::warn!(
                            path = %self.path.display(),
                            inference = removed.inference,
                            training = removed.training,
                            metric = removed.metric,
                            "samples go before their time, the oldest first, as there is no more room for them (ANALYTICS_MAX_BYTES)"
                        );
                    }
                    was_full = removed.made_room;
                }
                // Writing and asking say so loudly enough.
                Some(Err(error)) => tracing::debug!(%error, "old samples can't be removed"),
            }
        }
    }

    /// Removes what is too old at a moment, and the oldest samples if the file is too large: inferences, of which the sums
    /// stay; after them figures of users, and training.
    pub async fn remove_old(&self, now: PointTime) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for kind in Kind::ALL {
            let retention = match kind {
                Kind::Inference => self.settings.raw_retention,
                Kind::Training | Kind::Metric => self.settings.rollup_retention,
            };
            self.change(Advance { kind, to: To::Time(before(now, retention)), now }).await?;
            removed.add(kind, self.remove(RemoveRows::of(kind)).await?);
        }
        removed.rollup = self.remove_rollups(now).await?;
        for kind in [Kind::Inference, Kind::Metric, Kind::Training] {
            while self.bytes_in_use().await? > self.settings.max_bytes
                && self.change(Advance { kind, to: To::Row(PORTION), now }).await?
            {
                removed.add(kind, self.remove(RemoveRows::of(kind)).await?);
                removed.made_room = true;
            }
        }
        Ok(removed)
    }

    /// Sums go only where the rows are gone, so that each has all of its minute.
    async fn remove_rollups(&self, now: PointTime) -> Result<u64, StoreError> {
        let since_ns = self.read(async |connection| since(connection, Kind::Inference).await).await?;
        let before = before(now, self.settings.rollup_retention).min(since_ns).div_euclid(MINUTE_NS);
        let rows =
            self.remove(RemoveRows { table: "rollup", sql: OLD_ROLLUPS, before: Some(before) }).await?;
        if rows > 0 {
            self.remove(RemoveRows { table: "series", sql: UNUSED_SERIES, before: Some(before) }).await?;
        }
        Ok(rows)
    }

    /// How many bytes of the file hold something.
    async fn bytes_in_use(&self) -> Result<u64, StoreError> {
        let asked = async |connection: &mut AnyConnection| {
            sqlx::query(IN_USE).fetch_one(connection).await?.try_get::<i64, _>("bytes")
        };
        let bytes = self.read(asked).await?.max(0).cast_unsigned();
        metrics::bytes(bytes);
        Ok(bytes)
    }

    /// Removes all of them, a portion at a time.
    async fn remove(&self, rows: RemoveRows) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let portion = self.change(rows).await?;
            metrics::removed(rows.table, portion);
            removed += portion;
            if portion < PORTION.cast_unsigned() {
                return Ok(removed);
            }
        }
    }

    async fn change<C: Change<Refusal = Infallible>>(&self, change: C) -> Result<C::Output, StoreError> {
        self.database.write(change).await.map_err(|error| self.failed("tidied", &error.into()))
    }
}

/// Says that rows of a kind are kept from a later time on; whether that is later than before.
#[derive(Clone, Copy)]
struct Advance {
    kind: Kind,
    to: To,
    now: PointTime,
}

#[derive(Clone, Copy)]
enum To {
    /// Nanoseconds since 1970.
    Time(i64),
    /// Behind so many of the oldest rows.
    Row(i64),
}

impl Change for Advance {
    type Output = bool;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<bool, Refusable<Infallible>> {
        let since = since(connection, self.kind).await?;
        let (newest, row) = match self.kind {
            Kind::Inference => (
                "SELECT max(time) AS time FROM inference",
                "SELECT time FROM inference ORDER BY time LIMIT 1 OFFSET $1",
            ),
            Kind::Training => (
                "SELECT max(time) AS time FROM training",
                "SELECT time FROM training ORDER BY time LIMIT 1 OFFSET $1",
            ),
            Kind::Metric => (
                "SELECT max(time) AS time FROM metric",
                "SELECT time FROM metric ORDER BY time LIMIT 1 OFFSET $1",
            ),
        };
        let newest: Option<i64> = sqlx::query(newest).fetch_one(&mut *connection).await?.try_get("time")?;
        let Some(newest) = newest else { return Ok(false) };
        // A sample from the future must not have the present removed.
        let latest = newest.min(self.now.ns()).saturating_sub(SLACK_NS);
        let wanted = match self.to {
            To::Time(time) => time,
            To::Row(number) => {
                let found = sqlx::query(row).bind(number).fetch_optional(&mut *connection).await?;
                // To the end of its minute, as minutes have all their rows or none.
                found.map_or(Ok(latest), |row| row.try_get("time"))?.saturating_add(MINUTE_NS)
            }
        };
        let to = wanted.min(latest);
        let to = to.saturating_sub(to.rem_euclid(MINUTE_NS));
        if to <= since {
            return Ok(false);
        }
        let update =
            sqlx::query("UPDATE kept SET since = $1 WHERE kind = $2").bind(to).bind(self.kind.name());
        update.execute(connection).await?;
        Ok(true)
    }
}

/// Removes a portion of rows.
#[derive(Clone, Copy)]
struct RemoveRows {
    table: &'static str,
    /// With the time or minute before which rows go, and how many go at once.
    sql: &'static str,
    /// If not that since which rows of the table are kept.
    before: Option<i64>,
}

impl RemoveRows {
    fn of(kind: Kind) -> Self {
        let sql = match kind {
            Kind::Inference => {
                "DELETE FROM inference WHERE time IN (SELECT time FROM inference WHERE time < $1 LIMIT $2)"
            }
            Kind::Training => {
                "DELETE FROM training WHERE time IN (SELECT time FROM training WHERE time < $1 LIMIT $2)"
            }
            Kind::Metric => {
                "DELETE FROM metric WHERE (user_id, metric, time, tags) IN \
                 (SELECT user_id, metric, time, tags FROM metric WHERE time < $1 LIMIT $2)"
            }
        };
        Self { table: kind.name(), sql, before: None }
    }
}

impl Change for RemoveRows {
    type Output = u64;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<u64, Refusable<Infallible>> {
        let before = if let Some(before) = self.before {
            before
        } else {
            let since = sqlx::query("SELECT since FROM kept WHERE kind = $1").bind(self.table);
            since.fetch_one(&mut *connection).await?.try_get("since")?
        };
        Ok(sqlx::query(self.sql).bind(before).bind(PORTION).execute(connection).await?.rows_affected())
    }
}

/// So long before a moment, in nanoseconds since 1970.
fn before(now: PointTime, retention: Duration) -> i64 {
    now.ns().saturating_sub(i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX))
}

fn now() -> PointTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    PointTime::from_ns(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
