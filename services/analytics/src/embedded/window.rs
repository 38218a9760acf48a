//! Which part of a window is answered from rows, and which from the sums of minutes.

use std::ops::Range;

use crate::store::Window;

/// A minute in nanoseconds.
pub(super) const MINUTE_NS: i64 = 60_000_000_000;

/// The parts of a window; each instant of it is in one of them at most, and in none only if its row is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Times in nanoseconds whose rows are read.
    pub(super) rows: Vec<Range<i64>>,
    /// Minutes since 1970 whose sums are read.
    pub(super) minutes: Range<i64>,
}

impl Parts {
    /// Whole minutes from their sums, the edges from rows. A minute whose rows are gone (`since_ns` is a whole minute)
    /// belongs to the window in which it begins.
    pub(super) fn of(window: Window, since_ns: i64) -> Self {
        let (from, to) = (window.from.ns(), window.to.ns());
        let first = minute_from(from);
        let last = to.div_euclid(MINUTE_NS);
        let has_rows = |minute: i64| minute.saturating_mul(MINUTE_NS) >= since_ns;
        let end = if has_rows(last) { last } else { minute_from(to) };
        let minutes = first..end.max(first);
        let mut rows = Vec::new();
        if first > last {
            // The window lies within one minute, and does not begin with it.
            if has_rows(last) {
                rows.push(from..to);
            }
        } else {
            if has_rows(first - 1) {
                rows.push(from..first.saturating_mul(MINUTE_NS));
            }
            if has_rows(last) {
                rows.push(last.saturating_mul(MINUTE_NS)..to);
            }
        }
        rows.retain(|range| range.start < range.end);
        Self { rows, minutes }
    }

    /// Everything from rows, as far as they are kept, and before that from the minutes that begin in the window.
    pub(super) fn of_rows(window: Window, since_ns: i64) -> Self {
        let (from, to) = (window.from.ns(), window.to.ns());
        let rows = Some(from.max(since_ns)..to).filter(|range| range.start < range.end).into_iter().collect();
        let first = minute_from(from);
        let minutes = first..minute_from(to.min(since_ns)).max(first);
        Self { rows, minutes }
    }
}

/// The first minute that begins at this instant or later.
fn minute_from(ns: i64) -> i64 {
    ns.div_euclid(MINUTE_NS) + i64::from(ns.rem_euclid(MINUTE_NS) > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::PointTime;

    /// How often an instant is covered, given that sums have all of their minute.
    fn covers(parts: &Parts, ns: i64) -> usize {
        let by_rows = parts.rows.iter().filter(|range| range.contains(&ns)).count();
        by_rows + usize::from(parts.minutes.contains(&ns.div_euclid(MINUTE_NS)))
    }

    proptest! {
        #[test]
        fn each_instant_is_counted_in_one_window_and_those_with_rows_exactly(
            mut cuts in prop::collection::vec(-3 * MINUTE_NS..3 * MINUTE_NS, 2..6), since in -2..3_i64, ns in -4 * MINUTE_NS..4 * MINUTE_NS,
            on_minutes in any::<bool>(),
        ) {
            if on_minutes {
                for cut in &mut cuts {
                    *cut -= cut.rem_euclid(MINUTE_NS);
                }
            }
            cuts.sort_unstable();
            let since_ns = since * MINUTE_NS;
            let windows = cuts.windows(2).map(|cut| Window { from: PointTime::from_ns(cut[0]), to: PointTime::from_ns(cut[1]) });
            for of in [Parts::of, Parts::of_rows] {
                let covered: Vec<_> = windows.clone().map(|window| (window, covers(&of(window, since_ns), ns))).collect();
                prop_assert!(covered.iter().map(|(_, times)| times).sum::<usize>() <= 1, "{covered:?}");
                for (window, times) in covered {
                    let is_inside = (window.from.ns()..window.to.ns()).contains(&ns);
                    let begin = ns.div_euclid(MINUTE_NS) * MINUTE_NS;
                    let begins_inside = (window.from.ns()..window.to.ns()).contains(&begin);
                    prop_assert_eq!(times == 1, if ns >= since_ns { is_inside } else { begins_inside });
                }
            }
        }
    }
}
