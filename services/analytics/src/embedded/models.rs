//! What is asked about models.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use synapse_database::{
    AnyConnection, Row as _,
    sqlx::{self, AssertSqlSafe, Connection as _, any::AnyRow},
};

use super::{
    tally::Tally,
    window::{MINUTE_NS, Parts},
    write::{Kind, since},
};
use crate::{
    sample::PointTime,
    store::{MAX_ROWS, ModelPoint, ModelSummary, Rows, Window},
};

/// What an answer in the making may take in memory.
const MAX_BYTES: usize = 32 << 20;
/// What the inferences of a step take, roughly: their sketch.
const SUM_BYTES: usize = 3 << 10;

/// Steps that are not whole minutes are made of rows, and those are gone where the window begins.
#[derive(Debug)]
pub(super) struct TooFine {
    pub(super) since_ns: i64,
}

/// See [`Store::models`](crate::store::Store::models).
pub(super) async fn models(
    connection: &mut AnyConnection,
    window: Window,
) -> Result<Rows<ModelSummary>, sqlx::Error> {
    // What is read is of one moment, though others write.
    let mut snapshot = connection.begin().await?;
    let parts = Parts::of(window, since(&mut snapshot, Kind::Inference).await?);
    let mut edges: BTreeMap<i64, Tally> = BTreeMap::new();
    for range in &parts.rows {
        let text = format!("SELECT series, {} FROM inference WHERE time >= $1 AND time < $2", Tally::OF_ROW);
        let mut rows =
            sqlx::query(AssertSqlSafe(text)).bind(range.start).bind(range.end).fetch(&mut *snapshot);
        while let Some(row) = rows.try_next().await? {
            edges.entry(row.try_get("series")?).or_default().add_row(&row)?;
        }
    }
    let text = format!(
        "SELECT id, model_name, version, {} FROM series LEFT JOIN rollup \
         ON rollup.series = series.id AND minute >= $1 AND minute < $2 ORDER BY id",
        Tally::OF_ROLLUP
    );
    let query = sqlx::query(AssertSqlSafe(text)).bind(parts.minutes.start).bind(parts.minutes.end);
    let mut found = Found { summaries: Vec::new(), truncated: false, seconds: window.length().as_secs_f64() };
    let mut current: Option<Series> = None;
    let mut rows = query.fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await? {
        let id: i64 = row.try_get("id")?;
        if current.as_ref().is_none_or(|series| series.id != id) {
            found.add(current.replace(Series::of(id, &row, edges.remove(&id))?));
        }
        let has_minute = row.try_get::<Option<i64>, _>("count")?.is_some();
        if let (Some(series), true) = (&mut current, has_minute) {
            series.sum.merge(&Tally::of_rollup(&row)?);
        }
    }
    found.add(current);
    Ok(found.most_used())
}

/// A model's version while its minutes are added.
struct Series {
    id: i64,
    model_name: String,
    version: String,
    sum: Tally,
}

impl Series {
    fn of(id: i64, row: &AnyRow, edges: Option<Tally>) -> Result<Self, sqlx::Error> {
        let (model_name, version) = (row.try_get("model_name")?, row.try_get("version")?);
        Ok(Self { id, model_name, version, sum: edges.unwrap_or_default() })
    }
}

struct Found {
    summaries: Vec<ModelSummary>,
    truncated: bool,
    seconds: f64,
}

impl Found {
    fn add(&mut self, series: Option<Series>) {
        let Some(Series { model_name, version, sum, .. }) = series else { return };
        if sum.count > 0 {
            self.summaries.push(ModelSummary { model_name, version, summary: sum.summary(self.seconds) });
        }
        if self.summaries.len() > 2 * MAX_ROWS {
            self.cut();
        }
    }

    /// Leaves the most used only.
    fn cut(&mut self) {
        self.summaries.sort_unstable_by(|a, b| {
            let by_name = || (&a.model_name, &a.version).cmp(&(&b.model_name, &b.version));
            b.summary.count.cmp(&a.summary.count).then_with(by_name)
        });
        self.truncated |= self.summaries.len() > MAX_ROWS;
        self.summaries.truncate(MAX_ROWS);
    }

    fn most_used(mut self) -> Rows<ModelSummary> {
        self.cut();
        Rows { rows: self.summaries, truncated: self.truncated }
    }
}

/// See [`Store::model_series`](crate::store::Store::model_series).
pub(super) async fn series(
    connection: &mut AnyConnection,
    name: &str,
    window: Window,
    step: Duration,
) -> Result<Result<Rows<ModelPoint>, TooFine>, sqlx::Error> {
    const OF_MODEL: &str = "(SELECT id FROM series WHERE model_name = $3)";
    let steps = Steps::new(window, step);
    let mut snapshot = connection.begin().await?;
    let since_ns = since(&mut snapshot, Kind::Inference).await?;
    let parts = if steps.step_ns % MINUTE_NS == 0 {
        Parts::of(window, since_ns)
    } else if steps.step_ns < MINUTE_NS && window.from.ns() < since_ns {
        return Ok(Err(TooFine { since_ns }));
    } else {
        Parts::of_rows(window, since_ns)
    };
    let mut points = Capped::new(|_: &(i64, String)| SUM_BYTES);
    let raw = format!(
        "SELECT time, version, {} FROM inference JOIN series ON series.id = inference.series \
         WHERE time >= $1 AND time < $2 AND inference.series IN {OF_MODEL}",
        Tally::OF_ROW
    );
    for range in &parts.rows {
        let query = sqlx::query(AssertSqlSafe(raw.clone())).bind(range.start).bind(range.end).bind(name);
        let mut rows = query.fetch(&mut *snapshot);
        while let Some(row) = rows.try_next().await? {
            let key = (steps.start(row.try_get("time")?), row.try_get("version")?);
            points.change(key, |sum: &mut Tally| sum.add_row(&row))?;
        }
    }
    let text = format!(
        "SELECT minute, version, {} FROM series CROSS JOIN rollup ON rollup.series = series.id \
         WHERE minute >= $1 AND minute < $2 AND series.id IN {OF_MODEL}",
        Tally::OF_ROLLUP
    );
    let (first, end) = (parts.minutes.start, parts.minutes.end);
    let mut rows = sqlx::query(AssertSqlSafe(text)).bind(first).bind(end).bind(name).fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await? {
        let minute: i64 = row.try_get("minute")?;
        let key = (steps.start(minute * MINUTE_NS), row.try_get("version")?);
        let minute = Tally::of_rollup(&row)?;
        points.change(key, |sum: &mut Tally| {
            sum.merge(&minute);
            Ok::<_, sqlx::Error>(())
        })?;
    }
    let (points, truncated) = points.finish();
    let point = |((start, version), sum): ((i64, String), Tally)| ModelPoint {
        start: PointTime::from_ns(start.max(window.from.ns())),
        version,
        summary: sum.summary(steps.seconds(start)),
    };
    Ok(Ok(Rows { rows: points.into_iter().map(point).collect(), truncated }))
}

/// The steps of a window.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    window: Window,
    step_ns: i64,
}

impl Steps {
    pub(super) fn new(window: Window, step: Duration) -> Self {
        Self { window, step_ns: i64::try_from(step.as_nanos()).unwrap_or(i64::MAX).max(1) }
    }

    /// Where the step begins that an instant is in; that may be before the window.
    pub(super) fn start(self, ns: i64) -> i64 {
        ns.saturating_sub(ns.rem_euclid(self.step_ns))
    }

    /// Where the step that begins there ends, or the window.
    pub(super) fn end(self, start: i64) -> i64 {
        start.saturating_add(self.step_ns).min(self.window.to.ns())
    }

    /// How much of the window is in the step that begins there.
    fn seconds(self, start: i64) -> f64 {
        let (from, to) = (start.max(self.window.from.ns()), self.end(start));
        Window { from: PointTime::from_ns(from), to: PointTime::from_ns(to) }.length().as_secs_f64()
    }
}

/// Sums in the order of their keys, the first [`MAX_ROWS`] of them, or as many as fit in [`MAX_BYTES`].
pub(super) struct Capped<K, V> {
    sums: BTreeMap<K, V>,
    truncated: bool,
    /// What a key and its sum take in memory, roughly.
    cost: fn(&K) -> usize,
    bytes: usize,
}

impl<K: Ord, V: Default> Capped<K, V> {
    pub(super) fn new(cost: fn(&K) -> usize) -> Self {
        Self { sums: BTreeMap::new(), truncated: false, cost, bytes: 0 }
    }

    /// Changes the sum of a key. One that fell out for its place stays out, as the last that is in can only come before it.
    pub(super) fn change<E>(
        &mut self,
        key: K,
        change: impl FnOnce(&mut V) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.sums.entry(key) {
            Entry::Occupied(mut sum) => return change(sum.get_mut()),
            Entry::Vacant(place) => {
                self.bytes += (self.cost)(place.key());
                change(place.insert(V::default()))?;
            }
        }
        while self.sums.len() > MAX_ROWS || (self.bytes > MAX_BYTES && self.sums.len() > 1) {
            if let Some((key, _)) = self.sums.pop_last() {
                self.bytes -= (self.cost)(&key);
            }
            self.truncated = true;
        }
        Ok(())
    }

    /// The sums, and whether there would be more.
    pub(super) fn finish(self) -> (BTreeMap<K, V>, bool) {
        (self.sums, self.truncated)
    }
}
