//! What operators are told: metrics and the log.

use synapse_rs::stream::idle_groups;
use synapse_test_support::RedisServer;

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
    // What is gone is told as such.
    redis::cmd("DEL").arg(&["model-events", "platform-events:dlq"]).exec(&mut redis.connection()).unwrap();
    hub.shows(r#"synapse_stream_length{stream="model-events"} NaN"#).await;
    hub.shows(r#"synapse_group_lag{stream="model-events",group="cyrex-runtime"} NaN"#).await;
    hub.shows(r#"synapse_dead_letters{stream="platform-events"} 0"#).await;
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
    hub.says(&["WARN", "GROUP_EXPIRY", "model-events", "gone"]).await;
    append_old(&redis, "model-events", 1, 1).await;
    read_as_group(&redis, "model-events", "gone", 1).await;
    hub.shows(r#"synapse_group_expired{stream="model-events",group="gone"} 0"#).await;
}
