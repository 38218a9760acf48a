//! Whatever was handed in, how often and in what order: answers are those of the distinct samples.

use std::{cmp::Reverse, time::Duration};

use proptest::prelude::*;
use synapse_analytics::{
    sample::{Inference, Metric, PointTime, Sample, Training},
    store::{MAX_ROWS, MetricPoint, TrainingKey, TrainingPoint, Written},
};

use crate::{
    exact::{agree, grouped, summary},
    support::{BASE, Bench, MINUTE, SECOND, SETTINGS, inference, inferences, runtime, samples, window},
};

/// Which samples are handed in together, and whether the file is closed before.
type Batches = Vec<(Vec<prop::sample::Index>, bool)>;

fn batches() -> impl Strategy<Value = Batches> {
    prop::collection::vec((prop::collection::vec(any::<prop::sample::Index>(), 0..80), any::<bool>()), 1..6)
}

/// Those of the samples that were handed in.
async fn write_batches(all: &[Inference], batches: &Batches) -> (Bench, Vec<Inference>) {
    let mut bench = Bench::new(SETTINGS).await;
    let mut given: Vec<Inference> = Vec::new();
    for (places, is_reopened) in batches {
        if *is_reopened {
            bench = bench.reopen().await;
        }
        let batch: Vec<_> = places.iter().map(|place| place.get(all).clone()).collect();
        bench.write(&samples(&batch)).await;
        given.extend(batch);
    }
    given.sort_by_key(|sample| sample.time);
    given.dedup_by_key(|sample| sample.time);
    (bench, given)
}

async fn check_models(bench: &Bench, given: &[Inference], from: i64, to: i64) {
    let told = bench.store.models(window(from, to)).await.unwrap();
    let exact = grouped(given, |sample| {
        (from..to).contains(&sample.time.ns()).then(|| (sample.model_name.clone(), sample.version.clone()))
    });
    let mut exact: Vec<_> = exact.into_iter().collect();
    exact.sort_by_key(|(_, samples)| Reverse(samples.len()));
    let names: Vec<_> = told.rows.iter().map(|row| (row.model_name.clone(), row.version.clone())).collect();
    assert_eq!(names, exact.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
    for (told, (_, samples)) in told.rows.iter().zip(&exact) {
        let exact = summary(samples, (to - from) as f64 / SECOND as f64);
        assert!(agree(&told.summary, &exact), "{told:?}\n{exact:?}");
    }
    assert!(!told.truncated);
}

async fn check_series(bench: &Bench, given: &[Inference], (from, to): (i64, i64), step: i64) {
    let asked = Duration::from_nanos(step.cast_unsigned());
    let told = bench.store.model_series("a", window(from, to), asked).await.unwrap();
    let exact = grouped(given, |sample| {
        let time = sample.time.ns();
        let is_asked = sample.model_name == "a" && (from..to).contains(&time);
        is_asked.then(|| (time - time.rem_euclid(step), sample.version.clone()))
    });
    assert_eq!(told.rows.len(), exact.len());
    for (told, ((start, version), samples)) in told.rows.iter().zip(&exact) {
        let (start, end) = ((*start).max(from), (start + step).min(to));
        assert_eq!((told.start.ns(), &told.version), (start, version));
        let exact = summary(samples, (end - start) as f64 / SECOND as f64);
        assert!(agree(&told.summary, &exact), "{told:?}\n{exact:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn answers_are_exact_whatever_was_repeated_and_wherever_windows_are_cut(
        all in inferences(4 * MINUTE, 200), batches in batches(),
        cuts in prop::collection::vec((-MINUTE..5 * MINUTE, 1..5 * MINUTE), 3),
        step in prop::sample::select(vec![SECOND, 7 * SECOND, MINUTE, 90 * SECOND, 2 * MINUTE, 60 * MINUTE]),
    ) {
        runtime().block_on(async {
            let (bench, given) = write_batches(&all, &batches).await;
            for (from, length) in cuts.into_iter().chain([(0, 4 * MINUTE), (MINUTE, 1)]) {
                let (from, to) = (BASE + from, BASE + from + length);
                check_models(&bench, &given, from, to).await;
                check_series(&bench, &given, (from, to), step).await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_other_words_changes_nothing() {
    let bench = Bench::new(SETTINGS).await;
    let first = inference(BASE);
    let other = Inference { model_name: "other".to_owned(), tokens_used: Some(7), ..first.clone() };
    bench.write(&samples(&[first.clone(), other.clone(), first.clone()])).await;
    bench.write(&samples(&[other, first])).await;
    let told = bench.store.models(window(BASE, BASE + MINUTE)).await.unwrap().rows;
    assert_eq!((told.len(), told[0].summary.count, told[0].summary.tokens), (1, 1, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_at_once_are_counted_once() {
    let bench = Bench::new(SETTINGS).await;
    let all: Vec<_> = (0..3_000).map(|number| inference(BASE + number * 60_000_001)).collect();
    let samples = samples(&all);
    let write = |from: usize| bench.store.write(&samples[from..(from + 1_500).min(samples.len())]);
    let (a, b, c, d) = tokio::join!(write(0), write(700), write(1_500), write(0));
    assert!([a, b, c, d].iter().all(Result::is_ok));
    check_models(&bench, &all, BASE, BASE + 10 * MINUTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_kept_is_refused_by_itself() {
    let bench = Bench::new(SETTINGS).await;
    let good = inference(BASE);
    let bad = [
        (Inference { latency_ms: f64::NAN, ..inference(BASE + 1) }, "latency_ms is NaN"),
        (
            Inference { tokens_used: Some(u64::MAX), ..inference(BASE + 2) },
            "tokens_used is 18446744073709551615",
        ),
        (Inference { cost: Some(f64::INFINITY), ..inference(BASE + 3) }, "cost is inf"),
        (Inference { model_name: "m".repeat(1_025), ..inference(BASE + 4) }, "model_name has 1025 bytes"),
    ];
    for (bad, why) in bad {
        let written = bench.store.write(&samples(&[good.clone(), bad, inference(BASE + 5)])).await.unwrap();
        let [Written::Stored, Written::Refused(reason), Written::Stored] = &written[..] else {
            panic!("{written:?}")
        };
        assert!(reason.contains(why), "{reason}");
    }
    let told = bench.store.models(window(BASE, BASE + MINUTE)).await.unwrap().rows;
    assert_eq!(told[0].summary.count, 2);
    let most = Inference { tokens_used: Some(i64::MAX.cast_unsigned()), ..inference(BASE + 6) };
    bench.write(&samples(&[most.clone(), Inference { time: PointTime::from_ns(BASE + 7), ..most }])).await;
    let told = bench.store.models(window(BASE, BASE + MINUTE)).await.unwrap().rows;
    assert_eq!(told[0].summary.tokens, i64::MAX.cast_unsigned(), "sums end where SQLite's integers do");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_that_there_would_be_more() {
    let bench = Bench::new(SETTINGS).await;
    let rows = i64::try_from(MAX_ROWS).unwrap();
    let named = |number: i64| Inference { version: format!("{number:06}"), ..inference(BASE + number) };
    let mut all: Vec<_> = (0..2 * rows + 9).map(named).collect();
    // The most used one comes last.
    all.extend((0..3).map(|n| Inference { version: "~".to_owned(), ..inference(BASE + MINUTE + n) }));
    bench.write(&samples(&all)).await;
    let all = window(BASE, BASE + 3 * MINUTE);
    let models = bench.store.models(all).await.unwrap();
    assert!(models.truncated && models.rows.len() == MAX_ROWS);
    assert_eq!((&*models.rows[0].version, &*models.rows[1].version), ("~", "000000"));
    let series = bench.store.model_series("m", all, Duration::from_mins(1)).await.unwrap();
    assert!(series.truncated && series.rows.len() == MAX_ROWS);
    assert_eq!(series.rows[MAX_ROWS - 1].version, format!("{:06}", rows - 1), "by start, then by version");
    let one = bench.store.model_series("m", window(BASE, BASE + 1), Duration::from_nanos(1)).await.unwrap();
    assert!(!one.truncated && one.rows.len() == 1);
}

fn training(number: i64, experiment: Option<&str>) -> Training {
    Training {
        time: PointTime::from_ns(BASE + number),
        experiment_id: experiment.map(str::to_owned),
        model_name: "m".to_owned(),
        status: "running".to_owned(),
        progress: Some(0.1 + 0.2),
        step: Some(number.cast_unsigned()),
        event_time: None,
        metrics: vec![
            ("loss".to_owned(), 1.0 / 3.0),
            ("\"acc\u{0}\n".to_owned(), -0.0),
            ("n".to_owned(), f64::NAN),
        ],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn training_is_found_by_experiment_or_by_model() {
    let bench = Bench::new(SETTINGS).await;
    let all: Vec<_> =
        (0..10).map(|number| Sample::Training(training(number, (number % 2 == 0).then_some("e")))).collect();
    bench.write(&all).await;
    bench.write(&all[3..7]).await;
    let steps = async |by: TrainingKey, limit| {
        let told = bench.store.training(&by, limit).await.unwrap();
        (told.rows.iter().map(|row| row.step.unwrap()).collect::<Vec<_>>(), told.truncated)
    };
    let experiment = || TrainingKey::Experiment("e".to_owned());
    assert_eq!(steps(experiment(), 3).await, (vec![4, 6, 8], true));
    assert_eq!(steps(experiment(), 5).await, (vec![0, 2, 4, 6, 8], false));
    assert_eq!(steps(TrainingKey::Model("m".to_owned()), usize::MAX).await, ((0..10).collect(), false));
    assert_eq!(steps(TrainingKey::Experiment("x".to_owned()), 5).await, (vec![], false));
    let told = bench.store.training(&experiment(), 1).await.unwrap().rows.remove(0);
    let expected = TrainingPoint {
        time: PointTime::from_ns(BASE + 8),
        experiment_id: Some("e".to_owned()),
        model_name: "m".to_owned(),
        status: "running".to_owned(),
        progress: Some(0.1 + 0.2),
        step: Some(8),
        event_time: None,
        metrics: vec![("\"acc\u{0}\n".to_owned(), -0.0), ("loss".to_owned(), 1.0 / 3.0)],
    };
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_a_user_are_means_of_steps_by_tags() {
    let bench = Bench::new(SETTINGS).await;
    let metric = |user: &str, second: i64, value: f64, tag: Option<&str>| {
        Sample::Metric(Metric {
            time: PointTime::from_ns(BASE + second * SECOND),
            user_id: user.to_owned(),
            metric: "score".to_owned(),
            value,
            tags: tag.iter().map(|tag| ("t".to_owned(), (*tag).to_owned())).collect(),
        })
    };
    let all = [
        metric("u", 5, 1.0, None),
        metric("u", 9, 2.0, None),
        metric("u", 12, 7.0, None),
        metric("u", 6, 10.0, Some("x")),
        metric("v", 7, 99.0, None),
    ];
    bench.write(&all).await;
    bench.write(&all).await;
    let step = Duration::from_secs(10);
    let asked = bench.store.time_series("u", "score", window(BASE + 6 * SECOND, BASE + 15 * SECOND), step);
    let point =
        |second, value, tags| MetricPoint { time: PointTime::from_ns(BASE + second * SECOND), value, tags };
    let tagged = vec![("t".to_owned(), "x".to_owned())];
    assert_eq!(
        asked.await.unwrap().rows,
        [point(10, 2.0, vec![]), point(15, 7.0, vec![]), point(10, 10.0, tagged)]
    );
    let all =
        bench.store.time_series("u", "score", window(BASE, BASE + MINUTE), Duration::from_mins(1)).await;
    assert_eq!(all.unwrap().rows[0], point(60, 10.0 / 3.0, vec![]));
}
