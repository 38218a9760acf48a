//! The hub that trims.

use synapse_chassis::service::Ended;
use synapse_rs::stream::{Connection, idle_groups, lock::TRIMMER as LOCK};
use synapse_test_support::{RedisServer, eventually};

use crate::support::{HOUR_MS, HubProcess, TestHub, append_old, connect, read_as_group};

const STREAM: &str = "model-events";
const OFTEN: [(&str, &str); 2] = [("TRIM_INTERVAL", "50ms"), ("TRIM_TAKEOVER", "300ms")];

async fn until_length(connection: &Connection, stream: &str, length: u64) {
    eventually("the stream is trimmed", async || {
        (connection.length(stream).await.unwrap() == length).then_some(())
    })
    .await;
}

fn holder(redis: &RedisServer) -> Option<String> {
    redis::cmd("GET").arg(LOCK).query(&mut redis.connection()).unwrap()
}

async fn holder_other_than(redis: &RedisServer, last: Option<&str>) -> String {
    eventually("a hub is elected", async || holder(redis).filter(|holder| Some(holder.as_str()) != last))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_and_what_a_group_needs_stays() {
    let redis = RedisServer::new();
    append_old(&redis, STREAM, 30, 500).await;
    append_old(&redis, STREAM, 1, 10).await;
    append_old(&redis, "training-events", 30, 10).await;
    append_old(&redis, "somebody-elses", 30, 10).await;
    append_old(&redis, "model-events:dlq", 30, 10).await;
    let ids = read_as_group(&redis, STREAM, "cyrex-runtime", 200).await;
    let connection = connect(&redis).await;
    // The 101st is pending; what is before it is acknowledged.
    connection.ack(STREAM, "cyrex-runtime", &ids[..100]).await.unwrap();
    let hub = TestHub::start(&redis, &OFTEN).await;
    until_length(&connection, "training-events", 0).await;
    until_length(&connection, STREAM, 410).await;
    // Several rounds later it is still so.
    append_old(&redis, "error-events", 30, 1).await;
    until_length(&connection, "error-events", 0).await;
    assert_eq!(connection.length(STREAM).await.unwrap(), 410);
    assert_eq!(connection.info(STREAM).await.unwrap().unwrap().first_id, Some(ids[100]));
    connection.ack(STREAM, "cyrex-runtime", &ids).await.unwrap();
    // The last one that it was given stays with those that it was not, but where the server itself knows what is acknowledged.
    let by_server = connection.has_commands(&["XACKDEL"]).await.unwrap()[0];
    until_length(&connection, STREAM, if by_server { 310 } else { 311 }).await;
    assert_eq!(connection.length("somebody-elses").await.unwrap(), 10);
    assert_eq!(connection.length("model-events:dlq").await.unwrap(), 10);
    assert_eq!(hub.stop().await, Ended::InOrder);
    assert_eq!(holder(&redis), None, "given up at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_but_dead_letters_is_trimmed_if_asked() {
    let redis = RedisServer::new();
    append_old(&redis, "somebody-elses", 30, 10).await;
    append_old(&redis, "model-events:dlq", 30, 10).await;
    let connection = connect(&redis).await;
    let settings = [("TRIM_STREAMS", "*"), OFTEN[0], OFTEN[1]];
    let _hub = TestHub::start(&redis, &settings).await;
    until_length(&connection, "somebody-elses", 0).await;
    assert_eq!(connection.length("model-events:dlq").await.unwrap(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_hubs_trims_and_the_other_takes_over_when_it_is_killed() {
    let redis = RedisServer::new();
    let connection = connect(&redis).await;
    let mut first = HubProcess::start(&redis, &OFTEN).await;
    let elected = holder_other_than(&redis, None).await;
    let _second = TestHub::start(&redis, &OFTEN).await;
    append_old(&redis, STREAM, 30, 10).await;
    until_length(&connection, STREAM, 0).await;
    let asked = asked_for_lock(&redis);
    eventually("the second has asked for the lock too", async || {
        (asked_for_lock(&redis) > asked + 6).then_some(())
    })
    .await;
    assert_eq!(holder(&redis).as_deref(), Some(elected.as_str()), "the first goes on");

    first.child.kill().await.unwrap();
    let heir = holder_other_than(&redis, Some(&elected)).await;
    append_old(&redis, STREAM, 29, 10).await;
    until_length(&connection, STREAM, 0).await;
    assert_eq!(holder(&redis).as_deref(), Some(heir.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_lost_stops_trimming_until_it_is_free() {
    let redis = RedisServer::new();
    let connection = connect(&redis).await;
    let _hub = TestHub::start(&redis, &OFTEN).await;
    let elected = holder_other_than(&redis, None).await;
    // Another takes it by force, as after a pause longer than its time.
    redis::cmd("SET").arg(LOCK).arg("another").exec(&mut redis.connection()).unwrap();
    let noticed = async || {
        let asked = asked_for_lock(&redis);
        eventually("the hub has asked for the lock", async || {
            (asked_for_lock(&redis) > asked + 2).then_some(())
        })
        .await;
    };
    noticed().await;
    append_old(&redis, STREAM, 30, 10).await;
    noticed().await;
    assert_eq!(connection.length(STREAM).await.unwrap(), 10);
    assert!(connection.release_lock(LOCK, "another").await.unwrap());
    until_length(&connection, STREAM, 0).await;
    assert_eq!(holder(&redis).as_deref(), Some(elected.as_str()));
}

/// How often anybody has asked for the lock: nothing else here says SET but a test, once.
fn asked_for_lock(redis: &RedisServer) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut redis.connection()).unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_set:calls="));
    calls.and_then(|calls| calls.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_nobody_has_used_for_long_is_not_waited_for() {
    let redis = RedisServer::new();
    append_old(&redis, STREAM, 30, 10).await;
    let connection = connect(&redis).await;
    connection.create_group(STREAM, "gone", "0").await.unwrap();
    append_old(&redis, "training-events", 30, 10).await;
    let first = TestHub::start(&redis, &OFTEN).await;
    until_length(&connection, "training-events", 0).await;
    assert_eq!(connection.length(STREAM).await.unwrap(), 10);
    // When it was first seen outlives the hub that saw it.
    first.stop().await;
    let (key, now_ms) = (format!("{}{STREAM}", idle_groups::PREFIX), connection.now_ms().await.unwrap());
    let seen = connection.standings(STREAM).await.unwrap()["gone"];
    assert!(now_ms.abs_diff(seen.since_ms) < 60_000);
    let week_ago = now_ms - 7 * 24 * HOUR_MS;
    redis::cmd("HSET")
        .arg(&key)
        .arg("gone")
        .arg(format!("{week_ago} 0-0 -"))
        .exec(&mut redis.connection())
        .unwrap();
    let _second = TestHub::start(&redis, &OFTEN).await;
    until_length(&connection, STREAM, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trimming_goes_on_after_an_outage() {
    let mut redis = RedisServer::durable();
    let _hub = TestHub::start(&redis, &OFTEN).await;
    holder_other_than(&redis, None).await;
    redis.kill();
    redis.start();
    append_old(&redis, STREAM, 30, 10).await;
    until_length(&connect(&redis).await, STREAM, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_trimmed_as_often_as_asked_also_where_the_lock_lives_long() {
    let redis = RedisServer::new();
    let connection = connect(&redis).await;
    let settings = [("TRIM_INTERVAL", "50ms"), ("TRIM_TAKEOVER", "10m")];
    let _hub = TestHub::start(&redis, &settings).await;
    for hours_ago in [40, 35, 30] {
        append_old(&redis, STREAM, hours_ago, 10).await;
        until_length(&connection, STREAM, 0).await;
    }
}
