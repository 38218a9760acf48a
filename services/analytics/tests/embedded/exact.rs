//! Answers computed from the samples themselves, and how far others may be from them.

use std::collections::BTreeMap;

use synapse_analytics::{
    embedded::RELATIVE_ERROR,
    sample::Inference,
    store::{Quantiles, Summary},
};

/// What is said of these inferences, each counted once.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place among values")]
pub(crate) fn summary(samples: &[&Inference], seconds: f64) -> Summary {
    let failures = samples.iter().filter(|sample| !sample.success).count() as u64;
    let tokens = samples.iter().filter_map(|sample| sample.tokens_used).sum();
    let mut latencies: Vec<f64> = samples.iter().map(|sample| sample.latency_ms).collect();
    latencies.sort_unstable_by(f64::total_cmp);
    let quantile = |share: f64| {
        let rank = (share * latencies.len() as f64 + 0.5) as usize;
        latencies.get(rank.max(1) - 1).copied()
    };
    Summary {
        count: samples.len() as u64,
        failures,
        failure_rate: failures as f64 / samples.len() as f64,
        latency_ms: Quantiles { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) },
        tokens,
        tokens_per_s: tokens as f64 / seconds,
        cost: samples.iter().filter_map(|sample| sample.cost).sum(),
    }
}

/// Those that a condition holds for, by whatever they are grouped by.
pub(crate) fn grouped<'a, K: Ord>(
    samples: &'a [Inference],
    key: impl Fn(&'a Inference) -> Option<K>,
) -> BTreeMap<K, Vec<&'a Inference>> {
    let mut groups: BTreeMap<K, Vec<_>> = BTreeMap::new();
    for sample in samples {
        if let Some(key) = key(sample) {
            groups.entry(key).or_default().push(sample);
        }
    }
    groups
}

/// Everything equal, but sums of fractions by their rounding and quantiles by the stated error.
pub(crate) fn agree(told: &Summary, exact: &Summary) -> bool {
    let near = |a: f64, b: f64, error: f64| (a - b).abs() <= b.abs() * error + 1e-9;
    let quantiles = [
        (told.latency_ms.p50, exact.latency_ms.p50),
        (told.latency_ms.p95, exact.latency_ms.p95),
        (told.latency_ms.p99, exact.latency_ms.p99),
    ];
    let counts = |of: &Summary| (of.count, of.failures, of.tokens);
    counts(told) == counts(exact)
        && near(told.cost, exact.cost, 1e-9)
        && near(told.failure_rate, exact.failure_rate, 1e-12)
        && near(told.tokens_per_s, exact.tokens_per_s, 1e-12)
        && quantiles.iter().all(|pair| match *pair {
            (Some(told), Some(exact)) => near(told, exact, RELATIVE_ERROR * (1.0 + 1e-9)),
            (told, exact) => told == exact,
        })
}
