//! Operators see how far behind the replicas are.

use redis::{Commands as _, streams::StreamInfoGroupsReply};
use synapse_test_support::{RedisServer, eventually};

use crate::support::{Publisher, TestGateway};

const GROUP: &str = "realtime-gateway";

/// Where the group stands in a stream, how many entries that is, and its lag.
fn group(redis: &RedisServer, stream: &str) -> Option<(String, Option<usize>, Option<usize>)> {
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let groups: StreamInfoGroupsReply = connection.xinfo_groups(stream).ok()?;
    let group = groups.groups.into_iter().find(|group| group.name == GROUP)?;
    Some((group.last_delivered_id, group.entries_read, group.lag))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_stands_where_the_slowest_live_replica_does() {
    let redis = RedisServer::new();
    let one = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    publisher.model("a").await;
    let last = publisher.model("b").await;
    let stands_at_end = async || {
        let end = (last.clone(), Some(2), Some(0));
        eventually("the group to stand at the end", async || {
            (group(&redis, "model-events")? == end).then_some(())
        })
        .await;
    };
    stands_at_end().await;
    for stream in ["inference-events", "platform-events", "training-events", "agi-decisions", "error-events"]
    {
        assert!(group(&redis, stream).is_some(), "{stream}");
    }
    assert!(group(&redis, "agi-events").is_none(), "nobody writes under the older name");
    // A replica that is dead or far behind holds it back, and no longer than it is taken for alive.
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let far = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap() + 3_000;
    let _: usize = connection.zadd("synapse:onlookers:realtime-gateway", "slow", far).unwrap();
    let slow = "synapse:onlookers:realtime-gateway:slow";
    let _: usize = connection.hset(slow, "model-events", "1-1 0").unwrap();
    let _: bool = connection.pexpire(slow, 3_000).unwrap();
    eventually("the slow one to count", async || (group(&redis, "model-events")?.0 == "1-1").then_some(()))
        .await;
    stands_at_end().await;
    assert!(!connection.exists::<_, bool>(slow).unwrap());
    one.stop().await;
    let left: Vec<String> = connection.keys("synapse:onlookers:*").unwrap();
    assert_eq!(left, Vec::<String>::new(), "one that leaves leaves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_somebody_consumes_by_is_left_alone() {
    let redis = RedisServer::new();
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let _: () = connection.xgroup_create_mkstream("model-events", GROUP, "0").unwrap();
    let _: usize = connection.xgroup_createconsumer("model-events", GROUP, "an older gateway").unwrap();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    publisher.model("a").await;
    let last = publisher.inference("b", &[]).await;
    eventually("the other stream's group to move", async || {
        (group(&redis, "inference-events")?.0 == last).then_some(())
    })
    .await;
    assert_eq!(group(&redis, "model-events").unwrap().0, "0-0");
    gateway.stop().await;
}
