use std::time::Duration;

use synapse_analytics::{
    sample::{Inference, Metric, Sample},
    store::{Store as _, TrainingKey},
};

use crate::support::{SECOND, at, inference, influxdb, seconds, store_all, training};

/// Latencies in an order that is not their own.
fn samples() -> Vec<Inference> {
    (0..1_000)
        .map(|n| Inference {
            latency_ms: f64::from((u32::try_from(n).unwrap() * 7_919) % 1_000) + 0.5,
            tokens_used: (n % 3 != 0).then_some(u64::try_from(n).unwrap()),
            cost: Some(0.25),
            success: n % 10 != 0,
            version: if n < 800 { "1".to_owned() } else { "2".to_owned() },
            user_id: Some((n % 7).to_string()),
            ..inference(n * SECOND / 10, if n % 2 == 0 { "even" } else { "odd" })
        })
        .collect()
}

/// The nearest rank.
fn percentile(samples: &[&Inference], percent: f64) -> f64 {
    let mut sorted: Vec<_> = samples.iter().map(|sample| sample.latency_ms).collect();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64 + 0.5).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    sorted[(rank as usize).max(1) - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_exact_computation() {
    let (_server, influx) = influxdb();
    let all = samples();
    store_all(&influx, &all.iter().cloned().map(Sample::Inference).collect::<Vec<_>>()).await;
    let window = seconds(10, 95);
    let answer = influx.models(window).await.unwrap();
    assert_eq!((answer.rows.len(), answer.truncated), (4, false));
    assert!(answer.rows.is_sorted_by(|a, b| a.summary.count >= b.summary.count));
    for row in &answer.rows {
        let own: Vec<_> = all
            .iter()
            .filter(|it| it.model_name == row.model_name && it.version == row.version)
            .filter(|it| window.from <= it.time && it.time < window.to)
            .collect();
        let summary = &row.summary;
        assert_eq!(summary.count, own.len() as u64);
        assert_eq!(summary.failures, own.iter().filter(|it| !it.success).count() as u64);
        assert_eq!(summary.tokens, own.iter().filter_map(|it| it.tokens_used).sum::<u64>());
        assert!((summary.tokens_per_s - summary.tokens as f64 / 85.0).abs() < 1e-9);
        assert!((summary.cost - 0.25 * own.len() as f64).abs() < 1e-9);
        let quantiles = summary.latency_ms;
        for (found, percent) in [(quantiles.p50, 50.0), (quantiles.p95, 95.0), (quantiles.p99, 99.0)] {
            assert_eq!(
                found,
                Some(percentile(&own, percent)),
                "p{percent} of {} {}",
                row.model_name,
                row.version
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_has_a_row_for_each_step_that_has_something() {
    let (_server, influx) = influxdb();
    let all = samples();
    store_all(&influx, &all.iter().cloned().map(Sample::Inference).collect::<Vec<_>>()).await;
    let window = seconds(5, 95);
    let answer = influx.model_series("even", window, Duration::from_secs(10)).await.unwrap();
    let starts: Vec<_> = answer.rows.iter().map(|row| (row.start.ns() - at(0).ns()) / SECOND).collect();
    assert_eq!(starts, [5, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    for row in &answer.rows {
        let start = row.start;
        let end = at(((row.start.ns() - at(0).ns()) / (10 * SECOND) + 1) * 10 * SECOND).min(window.to);
        let own: Vec<_> = all
            .iter()
            .filter(|it| {
                it.model_name == "even" && it.version == row.version && start <= it.time && it.time < end
            })
            .collect();
        assert_eq!(row.summary.count, own.len() as u64);
        assert_eq!(row.summary.failures, own.iter().filter(|it| !it.success).count() as u64);
        let seconds = (end.ns() - start.ns()) as f64 / 1e9;
        assert!((row.summary.tokens_per_s - row.summary.tokens as f64 / seconds).abs() < 1e-9);
        assert_eq!(row.summary.latency_ms.p99, Some(percentile(&own, 99.0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn training_is_found_by_experiment_or_by_model() {
    let (_server, influx) = influxdb();
    let mut samples: Vec<_> =
        (0..20).map(|n| training(n * SECOND, &[("loss", 1.0 / (n + 1) as f64)])).collect();
    samples[19].experiment_id = None;
    samples[18].status = "failed".to_owned();
    store_all(&influx, &samples.iter().cloned().map(Sample::Training).collect::<Vec<_>>()).await;
    let by_experiment = influx.training(&TrainingKey::Experiment("exp".to_owned()), 10).await.unwrap();
    assert_eq!((by_experiment.rows.len(), by_experiment.truncated), (10, true));
    assert_eq!(by_experiment.rows[9].time, samples[18].time);
    assert_eq!(by_experiment.rows[9].status, "failed");
    assert_eq!(by_experiment.rows[0].metrics, samples[9].metrics);
    let by_model = influx.training(&TrainingKey::Model("m".to_owned()), 100).await.unwrap();
    assert_eq!((by_model.rows.len(), by_model.truncated), (20, false));
    assert_eq!(by_model.rows[19].experiment_id, None);
    assert_eq!(by_model.rows[19].event_time, samples[19].event_time);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_a_user_are_means_by_hour_and_tags() {
    let (_server, influx) = influxdb();
    let metric = |minute: i64, user: &str, value: f64, tags: &[(&str, &str)]| {
        Sample::Metric(Metric {
            time: at(minute * 60 * SECOND),
            user_id: user.to_owned(),
            metric: "focus, \"deep\"\n#".to_owned(),
            value,
            tags: tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        })
    };
    let samples = [
        metric(10, "it's", 1.0, &[]),
        metric(20, "it's", 2.0, &[]),
        metric(70, "it's", 5.0, &[]),
        metric(15, "it's", 9.0, &[("app name", "a,b")]),
        metric(15, "other", 100.0, &[]),
    ];
    store_all(&influx, &samples).await;
    let answer = influx
        .time_series("it's", "focus, \"deep\"\n#", seconds(0, 5_400), Duration::from_hours(1))
        .await
        .unwrap();
    let rows: Vec<_> = answer
        .rows
        .iter()
        .map(|row| ((row.time.ns() - at(0).ns()) / SECOND, row.value, row.tags.len()))
        .collect();
    assert_eq!(rows, [(3_600, 1.5, 0), (5_400, 5.0, 0), (3_600, 9.0, 1)]);
    assert_eq!(answer.rows[2].tags, [("app name".to_owned(), "a,b".to_owned())]);
}
