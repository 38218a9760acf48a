//! What may stop a publisher, rather than its connection: loops that spin, bad disks, slow TLS, servers that are none.

#![expect(clippy::unwrap_used, reason = "a test states what must hold")]

mod spools;
mod wires;

use std::{path::Path, sync::mpsc, time::Duration};

use synapse_rs::{
    Event, RedisSettings,
    publisher::{PublisherConfig, SpoolConfig},
    stream::{Connection, EntryId},
};
use synapse_test_support::RedisServer;

const STREAM: &str = "numbers";
const PATIENCE: Duration = Duration::from_secs(10);

fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::from_url(&server.url()).unwrap()
}

fn spooling(dir: &Path) -> PublisherConfig {
    PublisherConfig { spool: Some(SpoolConfig::new(dir)), ..PublisherConfig::default() }
}

fn numbered(number: u64) -> Event {
    Event::new("counted").with("number", number)
}

fn padded(number: u64, bytes: usize) -> Event {
    numbered(number).with("padding", "x".repeat(bytes))
}

fn admin(server: &RedisServer, command: &[&str]) {
    redis::cmd(command[0]).arg(&command[1..]).exec(&mut server.connection()).unwrap();
}

async fn numbers(server: &RedisServer, stream: &str) -> Vec<u64> {
    let connection = Connection::open(&settings(server)).await.unwrap();
    let mut from = EntryId::MIN;
    let mut all = Vec::new();
    loop {
        let entries = connection.range(stream, from, EntryId::MAX, 1_000).await.unwrap();
        let Some(last) = entries.last() else { return all };
        from = last.id.next();
        all.extend(entries.iter().map(|entry| {
            let value = entry.fields().find(|(field, _)| *field == b"number").unwrap().1.to_vec();
            String::from_utf8(value).unwrap().parse::<u64>().unwrap()
        }));
    }
}

/// Runs a test on one thread, as the Python module does; a writer that spins there hangs everything.
fn on_one_thread<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
        done.send(()).unwrap();
    });
    let ended = is_done.recv_timeout(Duration::from_secs(25));
    assert!(ended != Err(mpsc::RecvTimeoutError::Timeout), "the runtime hangs: a task never yields");
    thread.join().unwrap();
}
