use proptest::{
    prelude::{Strategy, any},
    strategy::ValueTree as _,
    test_runner::TestRunner,
};
use synapse_analytics::{
    sample::Sample,
    store::{Store as _, StoreError, TrainingKey, Written},
};
use synapse_test_support::PointServer;

use crate::support::{
    at, inference, influx, influxdb, of_models, refused, seconds, store_all, training, unavailable,
};

/// Names with everything in them that the line protocol has a meaning for.
fn names() -> Vec<String> {
    let special = "\\, =\"'\n\t\r\0%#;()$/\u{7f}\u{2028}é";
    let mut names: Vec<_> = special
        .chars()
        .flat_map(|a| {
            special.chars().flat_map(move |b| [format!("{a}{b}"), format!("x{a}{b}y"), format!("{a}x{b}")])
        })
        .collect();
    let mut runner = TestRunner::deterministic();
    names.extend((0..500).map(|_| any::<String>().new_tree(&mut runner).unwrap().current()));
    names
        .extend(["%0A", "%5C", "%250A", "x' OR 1=1 --", "'; DROP DATABASE analytics; --"].map(str::to_owned));
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn any_name_comes_back_as_it_was() {
    let (_server, influx) = influxdb();
    let names = names();
    store_all(&influx, &of_models(&names)).await;
    let models = influx.models(seconds(0, 1)).await.unwrap();
    let mut found: Vec<_> = models.rows.iter().map(|row| row.model_name.clone()).collect();
    found.sort();
    assert_eq!(found, names);
    assert!(models.rows.iter().all(|row| row.summary.count == 1));
    // Asked for by its name, each is found alone.
    for name in names.iter().filter(|name| name.contains(['\'', '\\', '\n', '"', '%', ';'])) {
        let series =
            influx.model_series(name, seconds(0, 1), std::time::Duration::from_secs(1)).await.unwrap();
        assert_eq!(series.rows.iter().map(|row| row.summary.count).sum::<u64>(), 1, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_figure_of_training_comes_back_under_its_name() {
    let (_server, influx) = influxdb();
    let names: Vec<_> = names()
        .into_iter()
        .chain(["time", "step", "model_name", "metric_x", "_f"].map(str::to_owned))
        .collect();
    let metrics: Vec<_> = names.iter().take(900).map(|name| (name.as_str(), 0.1)).collect();
    store_all(&influx, &[Sample::Training(training(0, &metrics))]).await;
    let history = influx.training(&TrainingKey::Experiment("exp".to_owned()), 10).await.unwrap();
    let mut wanted: Vec<_> = metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    let found = &history.rows[0].metrics;
    let wrong: Vec<_> = found
        .iter()
        .filter(|it| !wanted.contains(it))
        .chain(wanted.iter().filter(|it| !found.contains(it)))
        .collect();
    assert!(wrong.is_empty() && found.len() == wanted.len(), "{wrong:?}");
    assert_eq!((history.rows[0].step, history.rows[0].progress), (Some(7), Some(0.5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_runs_measure_is_no_burden_to_the_answer_of_one() {
    let (_server, influx) = influxdb();
    let others = (0..10).map(|run| {
        let names: Vec<_> = (0..500).map(|n| format!("figure_{run}_{n}")).collect();
        let metrics: Vec<_> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
        let mut other = training(run, &metrics);
        other.experiment_id = Some(format!("other-{run}"));
        Sample::Training(other)
    });
    store_all(&influx, &others.collect::<Vec<_>>()).await;
    let own: Vec<_> = (100..1_100).map(|n| Sample::Training(training(n, &[("loss", 0.5)]))).collect();
    store_all(&influx, &own).await;
    let told = influx.training(&TrainingKey::Experiment("exp".to_owned()), 1_000).await.unwrap();
    assert_eq!(told.rows.len(), 1_000);
    assert!(told.rows.iter().all(|point| point.metrics == [("loss".to_owned(), 0.5)]));
    let all = influx.training(&TrainingKey::Model("m".to_owned()), 10).await;
    assert!(matches!(&all, Err(StoreError::Unanswerable(words)) if words.contains("figures")), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_twice_is_there_once() {
    let (_server, influx) = influxdb();
    let samples = of_models(&["m"; 1_000]);
    store_all(&influx, &samples).await;
    store_all(&influx, &samples[300..]).await;
    let models = influx.models(seconds(0, 1)).await.unwrap();
    assert_eq!((models.rows[0].summary.count, models.rows[0].summary.tokens), (1_000, 10_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_conflicting_field_among_ten_thousand_is_refused_alone() {
    let (server, influx) = influxdb();
    // The database has the figure `odd` as an integer, from elsewhere: as what ours calls its step.
    let url = server.url();
    store_all(&influx, &[Sample::Training(training(0, &[]))]).await;
    write_line(&url, "training_metrics,model_name=m odd=1i 1795564800000000000").await;
    let mut samples: Vec<_> =
        (1..=10_000).map(|ns| Sample::Training(training(ns, &[("loss", 0.5)]))).collect();
    samples[6_789] = Sample::Training(training(6_790, &[("odd", 0.5)]));
    let (places, words) = refused(&influx.write(&samples).await.unwrap());
    assert_eq!(places, [6_789]);
    assert!(words.contains("field type conflict") && words.contains("odd"), "{words}");
    let history = influx.training(&TrainingKey::Experiment("exp".to_owned()), 10_000).await.unwrap();
    assert_eq!((history.rows.len(), history.truncated), (10_000, false));
}

/// Writes a line as somebody else would.
async fn write_line(url: &str, line: &str) {
    let other = synapse_chassis::outgoing::Client::new(None, std::time::Duration::from_secs(5));
    let request = http::Request::post(format!("{url}/write?db=analytics&precision=ns"));
    let request = request.body(http_body_util::Full::from(line.to_owned())).unwrap();
    assert_eq!(other.send(request, 1 << 20).await.unwrap().status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bad_ones_are_refused_and_the_good_ones_land() {
    let (server, influx) = influxdb();
    store_all(&influx, &[Sample::Training(training(0, &[]))]).await;
    write_line(&server.url(), "training_metrics,model_name=m odd=1i 1795564800000000000").await;
    let is_bad = |ns: i64| ns % 10 != 0;
    let sample =
        |ns| Sample::Training(training(ns, if is_bad(ns) { &[("odd", 0.5)] } else { &[("loss", 0.5)] }));
    let samples: Vec<_> = (1..=500).map(sample).collect();
    let written = influx.write(&samples).await.unwrap();
    for (ns, outcome) in (1..).zip(written) {
        assert_eq!(matches!(outcome, Written::Refused(_)), is_bad(ns), "{ns}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_decides_nothing_and_comes_back() {
    let (mut server, influx) = influxdb();
    let samples = of_models(&["m"; 100]);
    store_all(&influx, &samples[..50]).await;
    server.kill();
    let (reason, _) = unavailable(influx.write(&samples).await);
    assert!(reason.contains(&server.url()), "{reason}");
    server.start();
    store_all(&influx, &samples).await;
    assert_eq!(influx.models(seconds(0, 1)).await.unwrap().rows[0].summary.count, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_server_is_told_to_its_operator_and_costs_no_event() {
    let server = PointServer::influxdb(&[("INFLUXDB_DATA_MAX_VALUES_PER_TAG", "100")]);
    let store = influx(&server.url(), &[]);
    let of_user = |user: i64| {
        Sample::Inference(synapse_analytics::sample::Inference {
            user_id: Some(user.to_string()),
            ..inference(user, "m")
        })
    };
    let samples: Vec<_> = (0..200).map(of_user).collect();
    // It looks at the limit before it takes a batch.
    store_all(&store, &samples[..150]).await;
    let (reason, _) = unavailable(store.write(&samples[150..]).await);
    assert!(reason.contains("max-values-per-tag") && reason.contains("INFLUXDB_USER_TAG=off"), "{reason}");
    let store = influx(&server.url(), &[("INFLUXDB_USER_TAG", "off")]);
    store_all(&store, &samples).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn victoria_metrics_takes_either_form() {
    let server = PointServer::victoria_metrics();
    for (version, model) in [("1", "by write"), ("2", "by api/v2/write")] {
        let influx = influx(&server.url(), &[("INFLUXDB_VERSION", version)]);
        // Its clock has milliseconds.
        let samples: Vec<_> = (0..50).map(|n| Sample::Inference(inference(n * 1_000_000, model))).collect();
        store_all(&influx, &samples).await;
    }
    server.get("/internal/force_flush");
    for model in ["by write", "by api/v2/write"] {
        let question = format!("count_over_time(inference_metrics_latency_ms{{model_name=\"{model}\"}}[1h])");
        let question: String = url::form_urlencoded::byte_serialize(question.as_bytes()).collect();
        let time = at(0).ns() / 1_000_000_000 + 60;
        let answer = server.get(&format!("/api/v1/query?query={question}&time={time}"));
        assert!(answer.contains(",\"50\"]"), "{answer}");
    }
    let error = influx(&server.url(), &[]).models(seconds(0, 1)).await.unwrap_err().to_string();
    assert!(error.contains("VictoriaMetrics"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_where_nothing_was_stored() {
    let (_server, influx) = influxdb();
    assert!(influx.models(seconds(0, 1)).await.unwrap().rows.is_empty());
    assert!(influx.training(&TrainingKey::Model("m".to_owned()), 10).await.unwrap().rows.is_empty());
}
