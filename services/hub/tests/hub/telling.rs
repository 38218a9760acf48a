//! What operators are told: metrics and the log.

use synapse_rs::stream::{idle_groups, lock::TRIMMER as LOCK};
use synapse_test_support::{RedisServer, eventually};

use crate::support::{HOUR_MS, HubProcess, append_old, bury, connect, read_as_group};

const OFTEN: [(&str, &str); 3] =
    [("TRIM_INTERVAL", "50ms"), ("TRIM_TAKEOVER", "300ms"), ("METRICS_INTERVAL", "50ms")];

#[tokio::test(flavor = "multi_thread")]
async fn lag_pending_and_lengths_are_metrics_of_each_stream_and_group() {
    let redis = RedisServer::new();
    append_old(&redis, "model-events", 1, 10).await;
    let ids = read_as_group(&redis, "model-events", "cyrex-runtime", 4).await;
    let connection = connect(&redis).await;
    connection.ack("model-events", "cyrex-runtime", &ids[..1]).await.unwrap();
    bury(&redis, "platform-events", "notifications", "rejected", 2).await;
    let hub = HubProcess::start(&redis, &OFTEN).await;
    hub.shows(r#"synapse_stream_length{stream="model-events"} 10"#).await;
    hub.shows(r#"synapse_group_lag{stream="model-events",group="cyrex-runtime"} 6"#).await;
    hub.shows(r#"synapse_group_pending{stream="model-events",group="cyrex-runtime"} 3"#).await;
    hub.shows(r#"synapse_group_consumers{stream="model-events",group="cyrex-runtime"} 1"#).await;
    hub.shows(r#"synapse_dead_letters{stream="platform-events"} 2"#).await;
    hub.shows("synapse_trimmer_elected 1").await;
    // What is gone has no metrics any more.
    redis::cmd("DEL").arg(&["model-events", "platform-events:dlq"]).exec(&mut redis.connection()).unwrap();
    hub.shows_no(r#"synapse_stream_length{stream="model-events"}"#).await;
    hub.shows_no("synapse_dead_letters").await;
    let metrics = hub.get("/metrics").await.unwrap().body;
    assert!(!metrics.as_str().unwrap().contains("cyrex-runtime"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_s_own_streams_have_metrics_however_many_others_there_are() {
    let redis = RedisServer::new();
    let mut pipe = redis::pipe();
    for n in 0..600 {
        pipe.cmd("XADD").arg(format!("a-{n}")).arg("*").arg("event").arg("x");
    }
    for n in 0..2_100 {
        pipe.cmd("XGROUP").arg("CREATE").arg("a-1").arg(format!("g-{n}")).arg("0");
    }
    pipe.exec(&mut redis.connection()).unwrap();
    append_old(&redis, "training-events", 1, 3).await;
    connect(&redis).await.create_group("training-events", "analytics-service", "0").await.unwrap();
    let hub = HubProcess::start(&redis, &OFTEN).await;
    hub.shows(r#"synapse_stream_length{stream="training-events"} 3"#).await;
    hub.shows(r#"synapse_group_lag{stream="training-events",group="analytics-service"} 3"#).await;
    hub.says(&["WARN", "more than 500 streams or 2000 groups"]).await;
    let metrics = hub.get("/metrics").await.unwrap().body;
    let count = |name| metrics.as_str().unwrap().lines().filter(|line| line.starts_with(name)).count();
    assert_eq!((count("synapse_stream_length{"), count("synapse_group_lag{")), (500, 2_000));
    assert_eq!(hub.said(&["more than 500 streams"]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hard_limit_is_told_when_it_cuts_what_a_group_needs() {
    let redis = RedisServer::new();
    append_old(&redis, "model-events", 1, 100).await;
    read_as_group(&redis, "model-events", "slow", 10).await;
    let settings = [("MAXLEN", "30"), OFTEN[0], OFTEN[1], OFTEN[2]];
    let hub = HubProcess::start(&redis, &settings).await;
    hub.shows(r#"synapse_trimmed_entries_total{stream="model-events",reason="hard_limit"} 70"#).await;
    hub.shows(r#"synapse_group_cut_entries{stream="model-events",group="slow"} 60"#).await;
    hub.shows(r#"synapse_hard_limit_bites_total{stream="model-events"} 1"#).await;
    hub.says(&["ERROR", "lost entries it needed", "model-events", "slow", "unread=60", "pending_too=true"])
        .await;
    assert_eq!(connect(&redis).await.length("model-events").await.unwrap(), 30);
    // It is no longer so when the stream is gone.
    redis::cmd("DEL").arg("model-events").exec(&mut redis.connection()).unwrap();
    hub.shows_no("synapse_group_cut_entries{").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_no_longer_trims_does_not_tell_what_it_found() {
    let redis = RedisServer::new();
    append_old(&redis, "model-events", 1, 100).await;
    read_as_group(&redis, "model-events", "slow", 10).await;
    let settings = [("MAXLEN", "30"), OFTEN[0], OFTEN[1], OFTEN[2]];
    let hub = HubProcess::start(&redis, &settings).await;
    let cut = r#"synapse_group_cut_entries{stream="model-events",group="slow"} 60"#;
    hub.shows(cut).await;
    redis::cmd("SET").arg(LOCK).arg("another").exec(&mut redis.connection()).unwrap();
    hub.shows_no("synapse_group_cut_entries{").await;
    hub.shows("synapse_trimmer_elected 0").await;
    redis::cmd("DEL").arg(LOCK).exec(&mut redis.connection()).unwrap();
    hub.shows(cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_can_not_be_asked_for_is_told_once_and_counted() {
    let redis = RedisServer::new();
    redis::cmd("XADD").arg(&[LOCK, "*", "event", "x"]).exec(&mut redis.connection()).unwrap();
    let hub = HubProcess::start(&redis, &OFTEN).await;
    let errors = async |more: f64| {
        let before = hub.value("synapse_trim_errors_total").await;
        eventually("more errors", async || {
            (hub.value("synapse_trim_errors_total").await >= before + more).then_some(())
        })
        .await;
    };
    hub.says(&["WARN", "WRONGTYPE", LOCK]).await;
    errors(4.0).await;
    assert_eq!(hub.said(&["WARN", LOCK]), 1);
    redis::cmd("DEL").arg(LOCK).exec(&mut redis.connection()).unwrap();
    hub.shows("synapse_trimmer_elected 1").await;

    // Who may not renew it does not take it, again and again, to lose it each time.
    redis::cmd("ACL").arg(&["SETUSER", "default", "-eval"]).exec(&mut redis.connection()).unwrap();
    hub.shows("synapse_trimmer_elected 0").await;
    hub.says(&["WARN", "NOPERM", LOCK]).await;
    eventually("the lock's time is up", async || {
        let holder: Option<String> = redis::cmd("GET").arg(LOCK).query(&mut redis.connection()).unwrap();
        holder.is_none().then_some(())
    })
    .await;
    errors(8.0).await;
    assert_eq!((hub.said(&["WARN", LOCK]), hub.said(&["no longer trimming"])), (2, 1));
    redis::cmd("ACL").arg(&["SETUSER", "default", "+eval"]).exec(&mut redis.connection()).unwrap();
    hub.shows("synapse_trimmer_elected 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_has_expired_is_told_until_it_is_used_again() {
    let redis = RedisServer::new();
    append_old(&redis, "model-events", 30, 10).await;
    let connection = connect(&redis).await;
    connection.create_group("model-events", "gone", "0").await.unwrap();
    let (key, week) = (format!("{}model-events", idle_groups::PREFIX), 7 * 24 * HOUR_MS);
    let week_ago = connection.now_ms().await.unwrap() - week;
    redis::cmd("HSET")
        .arg(&key)
        .arg("gone")
        .arg(format!("{week_ago} 0-0 -"))
        .exec(&mut redis.connection())
        .unwrap();
    let hub = HubProcess::start(&redis, &OFTEN).await;
    hub.shows(r#"synapse_group_expired{stream="model-events",group="gone"} 1"#).await;
    hub.shows(r#"synapse_trimmed_entries_total{stream="model-events",reason="age"} 10"#).await;
    hub.says(&["WARN", "entries it has not read are trimmed", "model-events", "gone"]).await;
    hub.says(&["WARN", "has lost entries it had not read", "model-events", "gone", "unread=10"]).await;
    hub.shows(r#"synapse_expired_group_losses_total{stream="model-events"} 1"#).await;
    hub.shows_no("synapse_hard_limit_bites_total{").await;
    // The next loss is counted alone.
    append_old(&redis, "model-events", 29, 5).await;
    hub.shows(r#"synapse_expired_group_losses_total{stream="model-events"} 2"#).await;
    assert_eq!(hub.said(&["has lost entries it had not read"]), 1);
    append_old(&redis, "model-events", 1, 1).await;
    read_as_group(&redis, "model-events", "gone", 1).await;
    hub.shows_no("synapse_group_expired{").await;
}
