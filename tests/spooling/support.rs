//! What the tests of spooling stand on: numbered events, and what is on the streams.

use std::{path::Path, time::Duration};

use synapse_rs::{
    EntryId, Event, Publisher, RedisSettings,
    publisher::{PublisherConfig, SpoolConfig},
    stream::{Connection, Entry},
};
use synapse_test_support::{RedisServer, eventually};

pub(crate) const STREAM: &str = "numbers";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::from_url(&server.url()).unwrap()
}

pub(crate) fn spooling(dir: &Path) -> PublisherConfig {
    PublisherConfig { spool: Some(SpoolConfig::new(dir)), ..PublisherConfig::default() }
}

pub(crate) fn numbered(number: u64) -> Event {
    Event::new("counted").with("number", number)
}

pub(crate) fn padded(number: u64, bytes: usize) -> Event {
    numbered(number).with("padding", "x".repeat(bytes))
}

/// Sends a command as an administrator would.
pub(crate) fn admin(server: &RedisServer, command: &[&str]) {
    redis::cmd(command[0]).arg(&command[1..]).exec(&mut server.connection()).unwrap();
}

/// All entries of a stream, in its order.
pub(crate) async fn entries(server: &RedisServer, stream: &str) -> Vec<Entry> {
    let connection = Connection::open(&settings(server)).await.unwrap();
    let (mut from, mut all) = (EntryId::MIN, Vec::new());
    loop {
        let page = connection.range(stream, from, EntryId::MAX, 10_000).await.unwrap();
        let Some(last) = page.last() else { return all };
        from = last.id.next();
        all.extend(page);
    }
}

pub(crate) fn field(entry: &Entry, name: &str) -> String {
    let value = entry.fields().find(|(field, _)| *field == name.as_bytes()).map(|(_, value)| value.to_vec());
    String::from_utf8(value.unwrap()).unwrap()
}

/// The numbers on the stream, in its order.
pub(crate) async fn numbers(server: &RedisServer, stream: &str) -> Vec<u64> {
    entries(server, stream).await.iter().map(|entry| field(entry, "number").parse().unwrap()).collect()
}

/// These are on the stream, in this order, and nothing else.
pub(crate) async fn assert_numbers(
    server: &RedisServer,
    stream: &str,
    expected: impl IntoIterator<Item = u64>,
) {
    let (found, expected) = (numbers(server, stream).await, expected.into_iter().collect::<Vec<_>>());
    let same = found.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
    let next =
        |numbers: &[u64]| numbers.get(same..(same + 5).min(numbers.len())).unwrap_or_default().to_vec();
    let (found_next, expected_next) = (next(&found), next(&expected));
    assert!(
        found == expected,
        "{stream}: {} instead of {} entries; after {same} there is {found_next:?} instead of {expected_next:?}",
        found.len(),
        expected.len()
    );
}

pub(crate) async fn spooled(publisher: &Publisher, events: u64) {
    eventually("the events are on disk", || async { (publisher.stats().spooled == events).then_some(()) })
        .await;
}
