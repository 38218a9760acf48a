//! Trimming, against a real server.

#![expect(clippy::unwrap_used, reason = "a test states what must hold")]

use std::time::Duration;

use synapse_rs::{
    EntryId, RedisSettings,
    retention::{self, Features, GATEWAY_GROUP, KeptBy, Report, RetentionPolicy},
    stream::{BlockingConnection, Connection, idle_groups, read::Member},
};
use synapse_test_support::RedisServer;

const HOUR_MS: u64 = 3_600_000;
const STREAM: &str = "model-events";

struct Setup {
    server: RedisServer,
    connection: Connection,
    now_ms: u64,
}

impl Setup {
    async fn new() -> Self {
        let server = RedisServer::new();
        let settings = RedisSettings::from_url(&server.url()).unwrap();
        let connection = Connection::open(&settings).await.unwrap();
        let now_ms = connection.now_ms().await.unwrap();
        Self { server, connection, now_ms }
    }

    /// Appends entries of so many hours ago.
    fn append(&self, hours_ago: u64, count: u64, bytes: usize) {
        let mut pipe = redis::pipe();
        for n in 0..count {
            let id = format!("{}-{}", self.now_ms - hours_ago * HOUR_MS + n / 1_000, n % 1_000 + 1);
            pipe.cmd("XADD").arg(STREAM).arg(id).arg("event").arg("x").arg("n").arg(n);
            pipe.arg("text").arg("x".repeat(bytes));
        }
        pipe.exec(&mut self.server.connection()).unwrap();
    }

    /// A group that reads this many and acknowledges all but the first `pending` of them.
    async fn group(&self, name: &str, read: usize, pending: usize) {
        self.connection.create_group(STREAM, name, "0").await.unwrap();
        let settings = RedisSettings::from_url(&self.server.url()).unwrap();
        let mut reader = BlockingConnection::open(&settings).await.unwrap();
        let member = Member { group: name, consumer: "me" };
        let streams = [STREAM.to_owned()];
        if read > 0 {
            let batch = reader.read_group(member, &streams, read, Duration::from_millis(1)).await.unwrap();
            let ids: Vec<_> = batch[0].1.iter().skip(pending).map(|entry| entry.id).collect();
            self.connection.ack(STREAM, name, &ids).await.unwrap();
        }
    }

    async fn trim(&self, policy: &RetentionPolicy) -> Report {
        retention::trim(&self.connection, STREAM, policy, Features::default()).await.unwrap().unwrap()
    }

    async fn length(&self) -> u64 {
        self.connection.length(STREAM).await.unwrap()
    }
}

fn policy() -> RetentionPolicy {
    RetentionPolicy::default()
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes_to_the_last_entry() {
    let setup = Setup::new().await;
    setup.append(30, 2_345, 1);
    setup.append(1, 7, 1);
    let report = setup.trim(&policy()).await;
    assert_eq!((report.removed.age, report.removed.total(), report.length), (2_345, 2_345, 7));
    assert_eq!(setup.length().await, 7);
    assert_eq!(setup.trim(&policy()).await.removed.total(), 0);
    assert!(
        retention::trim(&setup.connection, "nowhere", &policy(), Features::default())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn what_a_group_has_not_read_or_not_acknowledged_stays() {
    let setup = Setup::new().await;
    setup.append(30, 1_000, 1);
    setup.group("slow", 400, 0).await;
    setup.group("hanging", 500, 0).await;
    let report = setup.trim(&policy()).await;
    assert_eq!(report.kept_by, KeptBy::Group("slow".to_owned()));
    // The last delivered entry itself stays.
    assert_eq!((report.removed.age, report.length), (399, 601));
    assert_eq!(setup.connection.groups(STREAM).await.unwrap()[1].lag, Some(600));

    setup.group("pending", 600, 600).await;
    let report = setup.trim(&policy()).await;
    assert_eq!((report.removed.total(), report.kept_by), (0, KeptBy::Group("pending".to_owned())));
}

#[tokio::test]
async fn a_group_that_goes_back_after_the_plan_was_made_loses_nothing() {
    let setup = Setup::new().await;
    setup.append(30, 300, 1);
    let connection = &setup.connection;
    // The server looks itself, whatever was planned.
    let amount = synapse_rs::stream::trim::Amount::Exact;
    setup.group("late", 0, 0).await;
    assert_eq!(connection.trim_before(STREAM, EntryId::MAX, amount, &[]).await.unwrap(), 0);
    assert_eq!(connection.trim_before(STREAM, EntryId::MAX, amount, &["late"]).await.unwrap(), 300);
}

#[tokio::test]
async fn the_gateway_s_group_does_not_keep_entries() {
    let setup = Setup::new().await;
    setup.append(30, 300, 1);
    setup.group(GATEWAY_GROUP, 0, 0).await;
    let report = setup.trim(&policy()).await;
    assert_eq!((report.removed.age, report.expired.len(), report.cut.len()), (300, 0, 0));
}

impl Setup {
    fn redis(&self, command: &[&str]) {
        redis::cmd(command[0]).arg(&command[1..]).exec(&mut self.server.connection()).unwrap();
    }

    /// As if a hub had seen all groups where they are now a week ago, whatever they were used for before.
    async fn a_week_passes(&self) {
        for (group, mut standing) in self.connection.standings(STREAM).await.unwrap() {
            standing.since_ms -= 7 * 24 * HOUR_MS;
            self.redis(&["HSET", &format!("{}{STREAM}", idle_groups::PREFIX), &group, &standing.to_string()]);
        }
    }

    async fn noted(&self) -> Vec<String> {
        self.connection.standings(STREAM).await.unwrap().into_keys().collect()
    }
}

#[tokio::test]
async fn a_group_that_stands_still_is_waited_for_until_it_expires() {
    let setup = Setup::new().await;
    setup.append(30, 300, 1);
    setup.group("gone", 0, 0).await;
    let report = setup.trim(&policy()).await;
    assert_eq!((report.removed.total(), report.expired.len()), (0, 0));
    setup.a_week_passes().await;
    let report = setup.trim(&policy()).await;
    assert_eq!((report.removed.age, report.expired), (300, vec!["gone".to_owned()]));
    // What it has lost is told.
    assert_eq!((report.cut[0].group.as_str(), report.cut[0].unread), ("gone", 300));
}

#[tokio::test]
async fn a_group_that_was_used_between_two_looks_is_waited_for_anew() {
    let setup = Setup::new().await;
    setup.append(30, 300, 1);
    setup.group("scheduled", 100, 0).await;
    setup.redis(&["XGROUP", "DELCONSUMER", STREAM, "scheduled", "me"]);
    setup.trim(&policy()).await;
    setup.a_week_passes().await;
    // Reads, acknowledges and leaves: nobody is there when somebody looks.
    setup.group("scheduled", 100, 0).await;
    setup.redis(&["XGROUP", "DELCONSUMER", STREAM, "scheduled", "me"]);
    let report = setup.trim(&policy()).await;
    assert_eq!((report.expired.len(), report.kept_by), (0, KeptBy::Group("scheduled".to_owned())));
    assert_eq!(setup.connection.groups(STREAM).await.unwrap()[0].lag, Some(100));
}

#[tokio::test]
async fn a_group_that_was_made_anew_or_set_back_is_waited_for_anew() {
    let setup = Setup::new().await;
    setup.append(30, 300, 1);
    for name in ["destroyed", "set back"] {
        setup.group(name, 100, 0).await;
        setup.redis(&["XGROUP", "DELCONSUMER", STREAM, name, "me"]);
    }
    setup.trim(&policy()).await;
    setup.a_week_passes().await;
    setup.redis(&["XGROUP", "DESTROY", STREAM, "destroyed"]);
    setup.group("destroyed", 0, 0).await;
    setup.redis(&["XGROUP", "SETID", STREAM, "set back", "0"]);
    let report = setup.trim(&policy()).await;
    assert_eq!((report.removed.total(), report.expired.len()), (0, 0));
    // One that is gone is forgotten.
    setup.redis(&["XGROUP", "DESTROY", STREAM, "destroyed"]);
    setup.trim(&policy()).await;
    assert_eq!(setup.noted().await, ["set back"]);
}

#[tokio::test]
async fn a_group_in_which_nothing_waits_never_expires() {
    let setup = Setup::new().await;
    setup.append(30, 300, 1);
    // Before Redis 7.2 a consumer that asks in vain leaves no trace.
    setup.group("quiet", 300, 0).await;
    setup.group("left", 300, 0).await;
    setup.redis(&["XGROUP", "DELCONSUMER", STREAM, "left", "me"]);
    let short = RetentionPolicy { group_expiry: Duration::from_millis(1), ..policy() };
    setup.trim(&policy()).await;
    setup.a_week_passes().await;
    assert_eq!(setup.trim(&short).await.expired.len(), 0);
    // An entry that comes does not find it expired either.
    setup.append(1, 1, 1);
    let report = setup.trim(&policy()).await;
    assert_eq!((report.expired.len(), report.cut.len()), (0, 0));
}

#[tokio::test]
async fn a_group_with_a_consumer_at_work_is_in_use_though_it_stands_still() {
    let setup = Setup::new().await;
    setup.append(30, 300, 1);
    setup.group("slow", 100, 1).await;
    setup.trim(&policy()).await;
    setup.a_week_passes().await;
    assert_eq!(setup.trim(&policy()).await.expired.len(), 0);
}

#[tokio::test]
async fn looking_and_rehearsing_change_nothing() {
    let setup = Setup::new().await;
    setup.append(30, 300, 1);
    setup.group("g", 0, 0).await;
    let policy = policy();
    retention::look(&setup.connection, STREAM, &policy).await.unwrap();
    retention::rehearse(&setup.connection, STREAM, &policy).await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut setup.server.connection()).unwrap();
    assert_eq!(keys, [STREAM]);
    // They see what those who trim have noted.
    setup.trim(&policy).await;
    setup.a_week_passes().await;
    let report = retention::rehearse(&setup.connection, STREAM, &policy).await.unwrap().unwrap();
    assert_eq!((report.removed.age, report.expired), (300, vec!["g".to_owned()]));
    assert_eq!(setup.length().await, 300);
}

#[tokio::test]
async fn a_group_whose_consumers_have_all_died_expires_too() {
    let setup = Setup::new().await;
    setup.append(30, 300, 1);
    setup.group("dead", 300, 5).await;
    let policy = RetentionPolicy { group_expiry: Duration::from_millis(50), ..policy() };
    // Its one consumer has not asked for anything for longer than that, and the group stands where it stood.
    let report = synapse_test_support::eventually("the group expires", async || {
        let report = setup.trim(&policy).await;
        (!report.expired.is_empty()).then_some(report)
    })
    .await;
    assert_eq!((report.removed.age, report.expired), (300, vec!["dead".to_owned()]));
    assert!(report.cut[0].pending);
}

#[tokio::test]
async fn a_stream_is_brought_under_its_bytes_and_not_far_below() {
    let setup = Setup::new().await;
    // Large ones first: by the average far too many would go.
    setup.append(3, 200, 20_000);
    setup.append(2, 20_000, 100);
    let before = setup.connection.bytes(STREAM).await.unwrap();
    let limit = before - 2_000_000;
    let report = setup.trim(&RetentionPolicy { retention_bytes: Some(limit), ..policy() }).await;
    assert!(report.bytes.unwrap() <= limit, "{report:?}");
    assert!((100..=400).contains(&report.removed.bytes), "{report:?}");
    assert_eq!(report.removed.age, 0);
}

#[tokio::test]
async fn the_bytes_of_a_stream_are_those_of_all_its_entries_and_the_same_everywhere() {
    let setup = Setup::new().await;
    // Small ones first: by a sample of the first nodes it would seem small.
    setup.append(3, 2_000, 1);
    setup.append(2, 1_000, 10_000);
    let told = setup.connection.info(STREAM).await.unwrap().unwrap().bytes.unwrap();
    assert!((10_000_000..20_000_000).contains(&told), "{told}");
    assert_eq!(setup.connection.bytes(STREAM).await.unwrap(), told);
}

#[tokio::test]
async fn bytes_do_not_take_what_a_group_needs() {
    let setup = Setup::new().await;
    setup.append(3, 5_000, 100);
    setup.group("slow", 1_000, 0).await;
    let report = setup.trim(&RetentionPolicy { retention_bytes: Some(1), ..policy() }).await;
    assert!((800..1_000).contains(&report.removed.bytes), "{report:?}");
    assert_eq!(setup.connection.groups(STREAM).await.unwrap()[0].lag, Some(4_000));
}

#[tokio::test]
async fn the_hard_limit_cuts_unread_entries_and_says_so() {
    let setup = Setup::new().await;
    setup.append(3, 1_000, 1);
    setup.group("reads", 900, 0).await;
    setup.group("hangs", 1_000, 1).await;
    setup.group("behind", 300, 0).await;
    setup.group("fresh", 0, 0).await;
    let report = setup.trim(&RetentionPolicy { hard_limit: 250, ..policy() }).await;
    assert_eq!((report.removed.hard_limit, report.length), (750, 250));
    let told: Vec<_> = report.cut.iter().map(|cut| (cut.group.as_str(), cut.unread, cut.pending)).collect();
    assert_eq!(told, [("behind", 450, false), ("fresh", 750, false), ("hangs", 0, true)]);
}

#[tokio::test]
async fn a_publisher_s_own_limit_that_cut_a_group_is_told_too() {
    let setup = Setup::new().await;
    setup.append(3, 1_000, 1);
    setup.group("behind", 300, 0).await;
    assert_eq!(setup.trim(&policy()).await.cut, []);
    setup.connection.trim_to_length(STREAM, 250).await.unwrap();
    let report = setup.trim(&policy()).await;
    assert_eq!((report.cut[0].group.as_str(), report.cut[0].unread), ("behind", 450));
}

#[tokio::test]
async fn a_server_without_the_command_is_known_by_asking_it() {
    let setup = Setup::new().await;
    let known = setup.connection.has_commands(&["XTRIM", "XNOSUCH"]).await.unwrap();
    assert_eq!(known, [true, false]);
    let features = Features::probe(&setup.connection).await.unwrap();
    let newer = setup.connection.has_commands(&["XACKDEL"]).await.unwrap()[0];
    assert_eq!(features.acked, newer);
    // A server that refuses the word is trimmed by our own rule.
    setup.append(30, 300, 1);
    setup.group("slow", 100, 0).await;
    let report =
        retention::trim(&setup.connection, STREAM, &policy(), Features { acked: true }).await.unwrap();
    assert_eq!(report.unwrap().removed.age, if newer { 100 } else { 99 });
}

#[tokio::test]
async fn a_server_that_knows_what_is_acknowledged_removes_it_behind_an_entry_that_hangs() {
    let setup = Setup::new().await;
    let features = Features::probe(&setup.connection).await.unwrap();
    if !features.acked {
        eprintln!("not tested: this redis-server has no XTRIM ACKED (8.2 and later have it)");
        return;
    }
    setup.append(30, 300, 1);
    setup.group("hangs", 200, 1).await;
    setup.group("done", 250, 0).await;
    let policy = policy();
    let trim = || retention::trim(&setup.connection, STREAM, &policy, features);
    let report = trim().await.unwrap();
    assert_eq!(report.unwrap().removed.age, 199, "all that both have acknowledged");
    // The gateway's group is behind: what the server knows is not the rule, and the script takes over.
    setup.group(GATEWAY_GROUP, 0, 0).await;
    let hanging = setup.connection.pending(STREAM, "hangs").await.unwrap().unwrap().first;
    setup.connection.ack(STREAM, "hangs", &[hanging]).await.unwrap();
    assert_eq!(trim().await.unwrap().unwrap().removed.age, 1);
    assert_eq!(setup.connection.groups(STREAM).await.unwrap().len(), 3);
}
