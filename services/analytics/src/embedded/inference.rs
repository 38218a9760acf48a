//! Inferences: their rows, and the sums of each minute.
//!
//! The invariant: what a minute has is the sum of all inferences of it that ever got a row, each once. It holds because a sum is
//! changed only together with the rows that it grows by, in one transaction, and a row is made only of a time that has none.

use std::collections::{HashMap, HashSet};

use synapse_database::{
    AnyConnection, Row as _,
    sqlx::{self, AssertSqlSafe},
};

use super::{
    statement::{Bound, OverRows},
    tally::Tally,
    window::MINUTE_NS,
};
use crate::sample::{Inference, PointTime};

const INSERT: OverRows = OverRows {
    head: "INSERT INTO inference (time, series, user_id, latency_ms, tokens_used, confidence, cost, success, event_time)",
    columns: 9,
    tail: "",
};
const FIND_SERIES: OverRows = OverRows {
    head: "WITH asked (model_name, version) AS (",
    columns: 2,
    // In this order each is looked up; by IN all series would be read.
    tail: ") SELECT id, model_name, version FROM asked CROSS JOIN series USING (model_name, version)",
};
const MAKE_SERIES: OverRows =
    OverRows { head: "INSERT INTO series (model_name, version)", columns: 2, tail: "" };
const FIND_ROLLUPS: OverRows = OverRows {
    head: "WITH asked (series, minute) AS (",
    columns: 2,
    tail: ") SELECT series, minute, count, failures, tokens, cost, latency FROM asked CROSS JOIN rollup USING (series, minute)",
};
const PUT_ROLLUPS: OverRows = OverRows {
    head: "INSERT OR REPLACE INTO rollup (series, minute, count, failures, tokens, cost, latency)",
    columns: 7,
    tail: "",
};
const OF_TIMES: &str = "SELECT time FROM inference WHERE time IN (SELECT value FROM json_each($1))";

/// The numbers of versions, by model and version.
type Numbers = HashMap<String, HashMap<String, i64>>;
/// A series and a minute.
type Key = (i64, i64);

/// Keeps those that are not there yet, and adds them to the sums of their minutes.
pub(super) async fn insert(connection: &mut AnyConnection, rows: &[&Inference]) -> Result<(), sqlx::Error> {
    let rows = new_ones(connection, rows).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let series = series_of(connection, &rows).await?;
    let of = |row: &Inference| series[&row.model_name][&row.version];
    INSERT.execute(connection, &rows, |query, row| bind(query, of(row), row)).await?;
    let mut sums: HashMap<Key, Tally> = HashMap::new();
    for row in &rows {
        let minute = row.time.ns().div_euclid(MINUTE_NS);
        let sum = sums.entry((of(row), minute)).or_default();
        sum.add(row.latency_ms, row.tokens_used, row.cost, row.success);
    }
    add_to_rollups(connection, sums).await
}

/// Those whose time has no row yet, each once.
async fn new_ones<'a>(
    connection: &mut AnyConnection,
    rows: &[&'a Inference],
) -> Result<Vec<&'a Inference>, sqlx::Error> {
    let newest = sqlx::query("SELECT max(time) AS newest FROM inference").fetch_one(&mut *connection).await?;
    let newest: Option<i64> = newest.try_get("newest")?;
    let times = rows.iter().map(|row| row.time.ns());
    // Ordinarily none.
    let doubtful: Vec<i64> = times.filter(|time| newest.is_some_and(|newest| *time <= newest)).collect();
    let mut there = HashSet::with_capacity(rows.len());
    if !doubtful.is_empty() {
        let doubtful = serde_json::to_string(&doubtful).map_err(|error| sqlx::Error::Encode(error.into()))?;
        for row in sqlx::query(OF_TIMES).bind(doubtful).fetch_all(connection).await? {
            there.insert(row.try_get("time")?);
        }
    }
    Ok(rows.iter().copied().filter(|row| there.insert(row.time.ns())).collect())
}

/// The numbers of all models and versions; those that have none get one.
async fn series_of(connection: &mut AnyConnection, rows: &[&Inference]) -> Result<Numbers, sqlx::Error> {
    let bind = |query: Bound, (model, version): &(&str, &str)| query.bind(*model).bind(*version);
    let named: HashSet<_> = rows.iter().map(|row| (row.model_name.as_str(), row.version.as_str())).collect();
    let mut missing: Vec<_> = named.into_iter().collect();
    let mut numbers = Numbers::new();
    loop {
        let found = FIND_SERIES.fetch(&mut *connection, &missing, bind).await?;
        for row in &found {
            let versions = numbers.entry(row.try_get("model_name")?).or_default();
            versions.insert(row.try_get("version")?, row.try_get("id")?);
        }
        missing.retain(|(model, version)| number(&numbers, model, version).is_none());
        if missing.is_empty() {
            return Ok(numbers);
        }
        // Once more, to find those that are made now.
        MAKE_SERIES.execute(&mut *connection, &missing, bind).await?;
    }
}

fn number(numbers: &Numbers, model: &str, version: &str) -> Option<i64> {
    numbers.get(model)?.get(version).copied()
}

fn bind(query: Bound, series: i64, row: &Inference) -> Bound {
    query
        .bind(row.time.ns())
        .bind(series)
        .bind(row.user_id.as_deref())
        .bind(row.latency_ms)
        .bind(row.tokens_used.map(u64::cast_signed))
        .bind(row.confidence.filter(|confidence| confidence.is_finite()))
        .bind(row.cost)
        .bind(i64::from(row.success))
        .bind(row.event_time.map(PointTime::ns))
}

/// All inferences of a minute that is not too old for rows, those that were written just now included.
async fn of_rows(connection: &mut AnyConnection, (series, minute): Key) -> Result<Tally, sqlx::Error> {
    let text =
        format!("SELECT {} FROM inference WHERE time >= $1 AND time < $2 AND series = $3", Tally::OF_ROW);
    let (from, to) = (minute.saturating_mul(MINUTE_NS), minute.saturating_add(1).saturating_mul(MINUTE_NS));
    let mut sum = Tally::default();
    for row in sqlx::query(AssertSqlSafe(text)).bind(from).bind(to).bind(series).fetch_all(connection).await?
    {
        sum.add_row(&row)?;
    }
    Ok(sum)
}

async fn add_to_rollups(
    connection: &mut AnyConnection,
    mut sums: HashMap<Key, Tally>,
) -> Result<(), sqlx::Error> {
    let mut keys: Vec<Key> = sums.keys().copied().collect();
    keys.sort_unstable();
    let bind = |query: Bound, (series, minute): &Key| query.bind(*series).bind(*minute);
    for row in FIND_ROLLUPS.fetch(connection, &keys, bind).await? {
        let key = (row.try_get("series")?, row.try_get("minute")?);
        match Tally::of_rollup(&row) {
            Ok(before) => sums.entry(key).or_default().merge(&before),
            Err(damage) => {
                tracing::error!(%damage, series = key.0, minute = key.1, "the sums of a minute are made anew from its rows");
                super::metrics::mended();
                sums.insert(key, of_rows(connection, key).await?);
            }
        }
    }
    let bind = |query: Bound, key: &Key| {
        let sum = &sums[key];
        query
            .bind(key.0)
            .bind(key.1)
            .bind(sum.count.cast_signed())
            .bind(sum.failures.cast_signed())
            .bind(sum.tokens.cast_signed())
            .bind(sum.cost)
            .bind(sum.latency.encode())
    };
    PUT_ROLLUPS.execute(connection, &keys, bind).await
}
