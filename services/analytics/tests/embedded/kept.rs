//! What is kept for how long, and what can still be told afterwards.

use std::time::Duration;

use proptest::prelude::*;
use synapse_analytics::{
    embedded::{EmbeddedSettings, Removed},
    sample::{Inference, Metric, PointTime, Sample, Training},
    store::{StoreError, TrainingKey, Written},
};

use crate::{
    exact::{agree, grouped, summary},
    support::{BASE, Bench, MINUTE, SECOND, SETTINGS, inference, inferences, runtime, samples, window},
};

const SHORT: EmbeddedSettings = EmbeddedSettings {
    raw_retention: Duration::from_mins(20),
    rollup_retention: Duration::from_mins(40),
    ..SETTINGS
};

async fn count(bench: &Bench, from: i64, to: i64) -> u64 {
    let told = bench.store.models(window(from, to)).await.unwrap().rows;
    told.iter().map(|row| row.summary.count).sum()
}

fn one_per_second(minutes: i64) -> Vec<Inference> {
    (0..minutes * 60).map(|second| inference(BASE + second * SECOND)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_sums_go_when_they_are_too_old_and_not_before() {
    let bench = Bench::new(SHORT).await;
    bench.write(&samples(&one_per_second(60))).await;
    let removed = bench.store.remove_old(PointTime::from_ns(BASE + 60 * MINUTE)).await.unwrap();
    assert_eq!((removed.inference, removed.rollup, removed.made_room), (40 * 60, 20, false));
    assert_eq!(count(&bench, BASE, BASE + 60 * MINUTE).await, 40 * 60);
    // Minutes without rows belong where they begin; the others are exact.
    assert_eq!(count(&bench, BASE + 30 * MINUTE + SECOND, BASE + 32 * MINUTE + SECOND).await, 120);
    assert_eq!(count(&bench, BASE + 50 * MINUTE + SECOND, BASE + 52 * MINUTE + 3 * SECOND).await, 122);
    let again = bench.store.remove_old(PointTime::from_ns(BASE + 60 * MINUTE)).await.unwrap();
    assert_eq!(again, Removed::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_that_may_be_a_repeat_of_one_that_is_gone_is_refused() {
    let mut bench = Bench::new(SHORT).await;
    bench.write(&samples(&one_per_second(60))).await;
    bench.store.remove_old(PointTime::from_ns(BASE + 60 * MINUTE)).await.unwrap();
    bench = bench.reopen().await;
    let since = BASE + 40 * MINUTE;
    let late = [inference(since - 1), inference(since), inference(BASE), inference(since + 1)];
    let written = bench.store.write(&samples(&late)).await.unwrap();
    let [Written::Refused(reason), Written::Stored, Written::Refused(_), Written::Stored] = &written[..]
    else {
        panic!("{written:?}")
    };
    assert!(reason.contains("ANALYTICS_RAW_RETENTION"), "{reason}");
    assert_eq!(count(&bench, BASE, BASE + 60 * MINUTE).await, 40 * 60 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_that_waited_through_a_long_outage_are_taken() {
    let bench = Bench::new(SHORT).await;
    let all = one_per_second(60);
    bench.write(&samples(&all[..1_200])).await;
    // A day later the others come, two batches in each other's place, with a look at what is old before each.
    let now = PointTime::from_ns(BASE + 1_440 * MINUTE);
    for minutes in [25..30, 20..25, 30..40, 40..50, 50..60] {
        bench.store.remove_old(now).await.unwrap();
        bench.write(&samples(&all[minutes.start * 60..minutes.end * 60])).await;
    }
    // All sums are older than they are kept, but some rows are left, and with them their sums.
    assert_eq!(count(&bench, BASE + 40 * MINUTE, BASE + 60 * MINUTE).await, 20 * 60);
    bench.store.remove_old(now).await.unwrap();
    assert_eq!(count(&bench, BASE, BASE + 60 * MINUTE).await, 11 * 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_finer_than_a_minute_need_rows() {
    let bench = Bench::new(SHORT).await;
    bench.write(&samples(&one_per_second(60))).await;
    bench.store.remove_old(PointTime::from_ns(BASE + 60 * MINUTE)).await.unwrap();
    let ask = |from: i64, seconds| {
        let asked = window(BASE + from * MINUTE, BASE + 60 * MINUTE);
        bench.store.model_series("m", asked, Duration::from_secs(seconds))
    };
    let Err(StoreError::Unanswerable(reason)) = ask(39, 10).await else { panic!("told") };
    assert!(reason.contains(":40:00Z"), "{reason}");
    assert_eq!(ask(40, 10).await.unwrap().rows.len(), 20 * 6);
    let told = ask(30, 90).await.unwrap().rows;
    assert_eq!(told.iter().map(|row| row.summary.count).sum::<u64>(), 30 * 60);
    assert_eq!(ask(30, 300).await.unwrap().rows.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn training_and_figures_are_kept_as_long_as_sums() {
    let bench = Bench::new(SHORT).await;
    let training = |minute: i64| {
        Sample::Training(Training {
            time: PointTime::from_ns(BASE + minute * MINUTE),
            experiment_id: None,
            model_name: "m".to_owned(),
            status: "running".to_owned(),
            progress: None,
            step: None,
            event_time: None,
            metrics: vec![],
        })
    };
    let metric = |minute: i64| {
        Sample::Metric(Metric {
            time: PointTime::from_ns(BASE + minute * MINUTE),
            user_id: "u".to_owned(),
            metric: "score".to_owned(),
            value: 1.0,
            tags: vec![],
        })
    };
    let all: Vec<_> = (0..60).flat_map(|minute| [training(minute), metric(minute)]).collect();
    bench.write(&all).await;
    let removed = bench.store.remove_old(PointTime::from_ns(BASE + 60 * MINUTE)).await.unwrap();
    assert_eq!((removed.training, removed.metric), (20, 20));
    let told = bench.store.training(&TrainingKey::Model("m".to_owned()), 100).await.unwrap().rows;
    assert_eq!((told.len(), told[0].time.ns()), (40, BASE + 20 * MINUTE));
    let asked = window(BASE, BASE + 60 * MINUTE);
    let told = bench.store.time_series("u", "score", asked, Duration::from_mins(1)).await.unwrap().rows;
    assert_eq!(told.len(), 40);
    assert!(matches!(&bench.store.write(&all[..1]).await.unwrap()[..], [Written::Refused(_)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_on_bytes_the_oldest_rows_go_and_their_sums_stay() {
    let bench = Bench::new(EmbeddedSettings { max_bytes: 2 << 20, ..SETTINGS }).await;
    let all: Vec<_> = (0..40_000).map(|number| inference(BASE + number * 60_000_001)).collect();
    bench.write(&samples(&all)).await;
    let end = BASE + 41 * MINUTE;
    let removed = bench.store.remove_old(PointTime::from_ns(end)).await.unwrap();
    assert!(removed.made_room && removed.inference > 1_000, "{removed:?}");
    assert_eq!(count(&bench, BASE, end).await, 40_000);
    // The newest are not touched.
    assert_eq!(count(&bench, BASE + 36 * MINUTE + 1, BASE + 37 * MINUTE + 1).await, 1_000);
    let told = bench.store.write(&samples(&all[..1])).await.unwrap();
    assert!(matches!(&told[..], [Written::Refused(_)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_inference_does_not_fill_the_file_either() {
    let bench = Bench::new(EmbeddedSettings { max_bytes: 1 << 20, ..SETTINGS }).await;
    let figure = |number: i64| {
        Sample::Metric(Metric {
            time: PointTime::from_ns(BASE + number * 60_000_001),
            user_id: "42".to_owned(),
            metric: "steps".to_owned(),
            value: 1.0,
            tags: vec![("device".to_owned(), "x".repeat(60))],
        })
    };
    let all: Vec<_> = (0..40_000).map(figure).collect();
    bench.write(&all).await;
    let removed = bench.store.remove_old(PointTime::from_ns(BASE + 41 * MINUTE)).await.unwrap();
    assert!(removed.made_room && removed.metric > 1_000, "{removed:?}");
    let [first, last] = [0, 39_999].map(|number| all[number].clone());
    let told = bench.store.write(&[first, last]).await.unwrap();
    assert!(matches!(&told[..], [Written::Refused(_), Written::Stored]), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_from_the_future_does_not_keep_the_present_out() {
    let bench = Bench::new(EmbeddedSettings { max_bytes: 64 << 10, ..SETTINGS }).await;
    bench.write(&samples(&one_per_second(40))).await;
    bench.write(&samples(&[inference(BASE + 600_000 * MINUTE)])).await;
    let now = BASE + 40 * MINUTE;
    let removed = bench.store.remove_old(PointTime::from_ns(now)).await.unwrap();
    assert!(removed.made_room, "{removed:?}");
    bench.write(&samples(&[inference(now - 9 * MINUTE), inference(now)])).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_told_after_a_removal_is_what_was_given(
        all in inferences(60 * MINUTE, 300), more in inferences(60 * MINUTE, 60), now in 20..90_i64,
        cuts in prop::collection::vec(0..60 * MINUTE, 2..5),
    ) {
        runtime().block_on(async {
            let settings = EmbeddedSettings { rollup_retention: Duration::from_hours(9), ..SHORT };
            let bench = Bench::new(settings).await;
            bench.write(&samples(&all)).await;
            let newest = all.iter().map(|sample| sample.time.ns()).max().unwrap();
            bench.store.remove_old(PointTime::from_ns(BASE + now * MINUTE)).await.unwrap();
            let since = (BASE + (now - 20) * MINUTE).min(newest - 10 * MINUTE).div_euclid(MINUTE) * MINUTE;
            let written = bench.store.write(&samples(&more)).await.unwrap();
            let mut given = all.clone();
            for (sample, written) in more.iter().zip(written) {
                assert_eq!(written == Written::Stored, sample.time.ns() >= since);
                if written == Written::Stored && all.iter().all(|other| other.time != sample.time) {
                    given.push(sample.clone());
                }
            }
            let mut cuts = cuts;
            cuts.sort_unstable();
            cuts.dedup();
            for cut in cuts.windows(2) {
                let (from, to) = (BASE + cut[0], BASE + cut[1]);
                let told = bench.store.models(window(from, to)).await.unwrap().rows;
                let exact = grouped(&given, |sample| {
                    let time = sample.time.ns();
                    let begin = if time < since { time - time.rem_euclid(MINUTE) } else { time };
                    (from..to).contains(&begin).then_some((sample.model_name.clone(), sample.version.clone()))
                });
                assert_eq!(told.len(), exact.len());
                for told in told {
                    let samples = &exact[&(told.model_name.clone(), told.version.clone())];
                    let exact = summary(samples, (to - from) as f64 / SECOND as f64);
                    assert!(agree(&told.summary, &exact), "{told:?}\n{exact:?}");
                }
            }
        });
    }
}
