//! Statements over many rows: a few forms of each, so that SQLite prepares them once.

use synapse_database::{
    AnyConnection,
    sqlx::{
        self, Any, AssertSqlSafe,
        any::{AnyArguments, AnyRow},
        query::Query,
    },
};

/// A statement that values are bound to.
pub(super) type Bound = Query<'static, Any, AnyArguments>;

/// How many rows one statement takes; SQLite has room for 32,766 values in one.
const PORTIONS: [usize; 4] = [512, 64, 8, 1];

/// A statement over rows: what stands before their values, how many values each has, and what stands behind them.
#[derive(Clone, Copy)]
pub(super) struct OverRows {
    pub(super) head: &'static str,
    pub(super) columns: usize,
    pub(super) tail: &'static str,
}

impl OverRows {
    /// Executes it for all rows; `values` gives those of one, in the order of the columns.
    pub(super) async fn execute<T>(
        self,
        connection: &mut AnyConnection,
        rows: &[T],
        values: impl Fn(Bound, &T) -> Bound,
    ) -> Result<(), sqlx::Error> {
        for portion in portions(rows) {
            self.bound(portion, &values).execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// All that it finds for all rows.
    pub(super) async fn fetch<T>(
        self,
        connection: &mut AnyConnection,
        rows: &[T],
        values: impl Fn(Bound, &T) -> Bound,
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        let mut found = Vec::new();
        for portion in portions(rows) {
            found.extend(self.bound(portion, &values).fetch_all(&mut *connection).await?);
        }
        Ok(found)
    }

    fn bound<T>(self, rows: &[T], values: impl Fn(Bound, &T) -> Bound) -> Bound {
        rows.iter().fold(sqlx::query(AssertSqlSafe(self.text(rows.len()))), values)
    }

    fn text(self, rows: usize) -> String {
        let Self { head, columns, tail } = self;
        let row = format!("({}?),", "?,".repeat(columns - 1));
        let rows = row.repeat(rows);
        format!("{head} VALUES {}{tail}", rows.trim_end_matches(','))
    }
}

/// All rows, in slices of the lengths of [`PORTIONS`].
fn portions<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = PORTIONS.into_iter().find(|length| *length <= rows.len())?;
        let (portion, rest) = rows.split_at(length);
        rows = rest;
        Some(portion)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_lengths_and_none_is_left_out() {
        let rows: Vec<u32> = (0..1_103).collect();
        let cut: Vec<_> = portions(&rows).collect();
        assert_eq!(
            cut.iter().map(|portion| portion.len()).collect::<Vec<_>>(),
            [512, 512, 64, 8, 1, 1, 1, 1, 1, 1, 1]
        );
        assert_eq!(cut.concat(), rows);
        let statement = OverRows { head: "INSERT INTO t", columns: 2, tail: " ON CONFLICT DO NOTHING" };
        assert_eq!(statement.text(2), "INSERT INTO t VALUES (?,?),(?,?) ON CONFLICT DO NOTHING");
    }
}
