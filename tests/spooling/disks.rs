//! Spools that are damaged, come late, are several, or are fed faster than they are emptied.

use std::{
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use synapse_rs::{
    Publisher, RedisSettings,
    publisher::{FlushError, PublisherConfig, SpoolConfig},
};
use synapse_test_support::{RedisServer, eventually};

use crate::support::*;

fn segments(slot: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(slot)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    all.sort();
    all
}

/// Changes a byte in the middle of the one segment of slot 0.
fn damage(dir: &Path) {
    let path = segments(&dir.join("0000")).pop().unwrap();
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let at = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
}

/// A bad block is found while the publisher runs: the loss is said, and who holds its receipt is told.
#[tokio::test]
async fn a_record_that_goes_bad_under_a_running_publisher_is_counted_and_told() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    let receipts: Vec<_> =
        (0..300).map(|number| publisher.send(STREAM, &numbered(number)).unwrap()).collect();
    spooled(&publisher, 300).await;
    damage(dir.path());
    server.start();
    let flushed = publisher.flush(PATIENCE).await;
    let stats = publisher.stats();
    let told = receipts.iter().filter(|receipt| receipt.outcome().is_some()).count();
    assert!(
        matches!(flushed, Err(FlushError::GivenUp { .. })) && told == 300 && stats.failed == 1,
        "{} arrived, the flush says {flushed:?}, {told} receipts are told, {stats:?}",
        numbers(&server, STREAM).await.len()
    );
}

/// A bad block in what an earlier publisher left does not keep a flush waiting.
#[tokio::test]
async fn a_flush_ends_when_a_record_of_an_earlier_publisher_is_bad() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    for number in 0..300 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    publisher.close(Duration::ZERO).await.unwrap();
    damage(dir.path());
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    spooled(&publisher, 299).await;
    server.start();
    let flushed = publisher.flush(PATIENCE).await;
    let count = numbers(&server, STREAM).await.len();
    assert!(
        matches!(flushed, Err(FlushError::GivenUp { count: 1, .. })),
        "{count} arrived, the flush says {flushed:?}"
    );
}

/// The writer has not looked into the spool yet.
#[tokio::test]
async fn a_flush_at_once_waits_for_what_an_earlier_publisher_left() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    for number in 0..100 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    publisher.close(Duration::ZERO).await.unwrap();
    server.start();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, STREAM).await.len(), 100);
}

/// The directory can't be used for a moment when the publisher starts; redis is well all the time.
#[tokio::test]
async fn what_lies_in_a_spool_that_comes_late_is_sent() {
    let mut server = RedisServer::durable();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let (spool, away) = (dir.path().join("spool"), dir.path().join("away"));
    let publisher = Publisher::start(settings(&server), spooling(&spool));
    for number in 0..100 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    publisher.close(Duration::ZERO).await.unwrap();
    server.start();
    std::fs::rename(&spool, &away).unwrap();
    std::fs::write(&spool, "not a directory").unwrap();
    let publisher = Publisher::start(settings(&server), spooling(&spool));
    eventually("it complains", || async { publisher.stats().spool_error }).await;
    std::fs::remove_file(&spool).unwrap();
    std::fs::rename(&away, &spool).unwrap();
    let sent = tokio::time::timeout(PATIENCE, async {
        let mut number = 100;
        // The hundred that were left, and those published since.
        while publisher.stats().published < number || number < 110 {
            publisher.publish(STREAM, &numbered(number)).unwrap();
            number += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(
        sent.await.is_ok(),
        "{:?}; a flush says {:?}",
        publisher.stats(),
        publisher.flush(PATIENCE).await
    );
}

/// Two killed publishers left spools; the second one's can't be read for a moment when its turn comes.
#[tokio::test]
async fn a_spool_that_cant_be_read_when_its_turn_comes_loses_nothing() {
    let mut server = RedisServer::durable();
    let dir = tempfile::tempdir().unwrap();
    // Small segments, so that the first of several is opened only when it is read.
    let config = || PublisherConfig {
        spool: Some(SpoolConfig { max_bytes: 2_000_000, ..SpoolConfig::new(dir.path()) }),
        ..PublisherConfig::default()
    };
    for stream in ["warm-a", "warm-b"] {
        let publisher = Publisher::start(settings(&server), PublisherConfig::default());
        publisher.publish(stream, &numbered(0)).unwrap();
        publisher.flush(PATIENCE).await.unwrap();
    }
    // The first is left in order, the second killed with events on their way; both have as many.
    let (first, _) = leave(&server, config(), "a").await;
    let (second, writer) = leave(&server, config(), "b").await;
    for writer in [first, second] {
        writer.abort();
        let _ = writer.await;
    }
    drop(writer);
    server.kill();
    let publisher = Publisher::start(settings(&server), config());
    eventually("both are taken up", || async { (publisher.stats().spooled >= 1_000).then_some(()) }).await;
    let hidden = segments(&dir.path().join("0001")).first().unwrap().clone();
    assert!(segments(&dir.path().join("0001")).len() > 1, "several segments");
    let away = dir.path().join("away");
    std::fs::rename(&hidden, &away).unwrap();
    server.start();
    eventually("its turn has come", || async { (numbers(&server, "a").await.len() == 500).then_some(()) })
        .await;
    eventually("it can't be read", || async { publisher.stats().spool_error }).await;
    std::fs::rename(&away, &hidden).unwrap();
    let flushed = publisher.flush(PATIENCE).await;
    let (a, b) = (numbers(&server, "a").await, numbers(&server, "b").await);
    assert!(
        a == (0..500).collect::<Vec<_>>() && b == (0..500).collect::<Vec<_>>(),
        "{} and {} of 500 arrived, the flush says {flushed:?}, {:?}",
        a.len(),
        b.len(),
        publisher.stats()
    );
}

/// A publisher whose 500 events are all on disk, some of them on their way, and its task.
async fn leave(
    server: &RedisServer,
    config: PublisherConfig,
    stream: &str,
) -> (tokio::task::JoinHandle<()>, Publisher) {
    let config = PublisherConfig { queue_events: 100, ..config };
    let (publisher, writer) = Publisher::new(settings(server), config);
    let writer = tokio::spawn(writer.run());
    // Nothing is executed, nothing answered.
    server.freeze(false);
    admin(server, &["CLIENT", "PAUSE", "100000", "WRITE"]);
    for number in 0..500 {
        publisher.publish_when_room(stream, &padded(number, 500)).await.unwrap();
    }
    eventually("all is on disk", || async { (publisher.stats().spooled >= 420).then_some(()) }).await;
    (writer, publisher)
}

/// What waits on disk and whose receipt is held waits once.
#[tokio::test]
async fn a_flush_that_ends_too_early_counts_each_event_once() {
    let mut server = RedisServer::new();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    let receipts: Vec<_> =
        (0..300).map(|number| publisher.send(STREAM, &numbered(number)).unwrap()).collect();
    spooled(&publisher, 300).await;
    let error = publisher.flush(Duration::from_millis(10)).await.unwrap_err();
    assert!(matches!(error, FlushError::Timeout { outstanding: 300, .. }), "{error}");
    drop(receipts);
}

/// One slot that this version can't read (here a later format) is not every publisher's loss: others are free.
#[tokio::test]
async fn a_slot_that_cant_be_read_does_not_hinder_spooling_in_another() {
    let mut server = RedisServer::new();
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let slot = dir.path().join("0000");
    std::fs::create_dir(&slot).unwrap();
    let mut header = Vec::from(*b"synspool");
    for number in [2_u32, 7] {
        header.extend(number.to_le_bytes());
    }
    header.extend([0; 16]);
    header.extend(crc32fast::hash(&header).to_le_bytes());
    std::fs::write(slot.join("00000000000000000000.log"), header.repeat(2)).unwrap();
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    publisher.publish(STREAM, &numbered(1)).unwrap();
    let is_safe = tokio::time::timeout(Duration::from_secs(4), spooled(&publisher, 1)).await;
    assert!(is_safe.is_ok(), "it waits in memory: {:?}", publisher.stats());
}

/// What was on its way when it was brought to
/// disk may have arrived, and the publisher is killed before it could ask.
#[tokio::test]
async fn what_was_on_its_way_when_it_went_to_disk_is_looked_for_by_the_next_publisher() {
    use synapse_test_support::{Cut, Fault, Plan, Proxy};
    let server = RedisServer::new();
    let proxy = Proxy::to(&server).await;
    let dir = tempfile::tempdir().unwrap();
    let through = RedisSettings::from_url(&proxy.url()).unwrap();
    proxy.plan(Plan::new().replies(0, Fault::Swallow));
    let (publisher, writer) = Publisher::new(through, spooling(dir.path()));
    let writer = tokio::spawn(writer.run());
    for number in 0..20 {
        publisher.publish(STREAM, &numbered(number)).unwrap();
    }
    eventually("redis has them", || async { (numbers(&server, STREAM).await.len() == 20).then_some(()) })
        .await;
    proxy.refuse().await;
    proxy.cut_all(Cut::Reset);
    spooled(&publisher, 20).await;
    writer.abort();
    let _ = writer.await;
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    publisher.publish(STREAM, &numbered(20)).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    assert_eq!(numbers(&server, STREAM).await, (0..21).collect::<Vec<_>>());
    assert_eq!(publisher.stats().possible_duplicates, 0);
}
