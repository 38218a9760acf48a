//! Publishers that are killed: what was on disk is sent by the next one, once and in order.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use synapse_rs::{Event, Publisher, RedisSettings, publisher::PublisherConfig};
use synapse_test_support::RedisServer;

use crate::support::{PATIENCE, STREAM, entries, field, settings, spooling};

/// Set for the process that is to be killed: the address of Redis, the directory of the spool, and its name.
const CHILD: &str = "SYNAPSE_TEST_SPOOLING_CHILD";

/// How many processes are killed.
const KILLS: u64 = 14;

/// Publishes until it is killed, and says how many events would be safe if that happened now, and how many Redis has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_until_killed() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let [url, dir, name] = arguments.split('|').collect::<Vec<_>>().try_into().unwrap();
    let config =
        PublisherConfig { queue_events: 2_000, max_batch_bytes: 16 * 1024, ..spooling(Path::new(dir)) };
    let publisher = Publisher::start(RedisSettings::from_url(url).unwrap(), config);
    for number in 1_u64.. {
        let event = Event::new("counted").with("process", name).with("number", number);
        publisher.publish_when_room(STREAM, &event).await.unwrap();
        if number.is_multiple_of(16) {
            let stats = publisher.stats();
            // No process fills the disk while the one that watches it is slow.
            let pause = if stats.spooled > 20_000 { Duration::from_millis(5) } else { Duration::ZERO };
            tokio::time::sleep(pause).await;
            let safe = number - stats.outstanding;
            // Whoever kills may be gone.
            if writeln!(std::io::stdout(), "safe {safe} published {}", stats.published).is_err() {
                return;
            }
        }
    }
}

struct Victim {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    safe: u64,
    published: u64,
}

impl Victim {
    fn start(server: &RedisServer, dir: &Path, name: u64) -> Self {
        let arguments = ["--exact", "killed::publish_until_killed", "--nocapture", "--test-threads=1"];
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .env(CHILD, format!("{}|{}|p{name}", server.url(), dir.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, safe: 0, published: 0 }
    }

    /// Reads what it says until that is so.
    fn until(&mut self, what: impl Fn(&Self) -> bool) {
        while !what(self) {
            let line = self.lines.next().expect("it publishes until it is killed").unwrap();
            // The test's name stands before the first one.
            let Some((_, said)) = line.split_once("safe ") else { continue };
            let (safe, published) = said.split_once(" published ").unwrap();
            (self.safe, self.published) = (safe.parse().unwrap(), published.parse().unwrap());
        }
    }

    /// Kills it, and gives how many of its events must be there.
    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // What it had said until then counts as well.
        for line in self.lines.map_while(Result::ok) {
            if let Some((_, said)) = line.split_once("safe ")
                && let Some((safe, _)) = said.split_once(" published ")
            {
                self.safe = safe.parse().unwrap();
            }
        }
        self.safe
    }
}

/// By process, the numbers of its events on the stream, in the stream's order.
async fn found(server: &RedisServer) -> BTreeMap<String, Vec<u64>> {
    let mut found = BTreeMap::<String, Vec<u64>>::new();
    for entry in entries(server, STREAM).await {
        found.entry(field(&entry, "process")).or_default().push(field(&entry, "number").parse().unwrap());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_on_disk_is_lost_or_doubled_when_publishers_are_killed() {
    let mut server = RedisServer::durable();
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(fastrand::u64(..));
    let mut safe = Vec::new();
    for name in 0..KILLS {
        let mut victim = Victim::start(&server, dir.path(), name);
        match name % 4 {
            // Redis is there, and a process is killed as it comes.
            0 => victim.until(|victim| victim.published > 500),
            // Redis goes, and comes back: the process is killed while it sends what was on disk.
            1 => {
                victim.until(|victim| victim.published > 500);
                server.kill();
                let more = victim.safe + random.u64(3_000..6_000);
                victim.until(|victim| victim.safe > more);
                server.start();
                let some = victim.published + random.u64(1..3_000);
                victim.until(|victim| victim.published > some);
            }
            // Redis is killed with events on their way, and the process after it.
            2 => {
                victim.until(|victim| victim.published > 500);
                server.kill();
            }
            // It is not there, and the process is killed while it writes.
            _ => {
                let some = random.u64(100..5_000);
                victim.until(|victim| victim.safe > some);
                server.start();
            }
        }
        safe.push(victim.kill());
    }
    if server.pid().is_none() {
        server.start();
    }
    let publisher = Publisher::start(settings(&server), spooling(dir.path()));
    publisher.publish("after", &Event::new("counted")).unwrap();
    publisher.flush(PATIENCE).await.unwrap();
    let found = found(&server).await;
    for (name, safe) in safe.iter().enumerate() {
        let numbers = found.get(&format!("p{name}")).map(Vec::as_slice).unwrap_or_default();
        let in_order = (1..).zip(numbers).take_while(|(expected, number)| expected == *number).count();
        assert_eq!(
            in_order,
            numbers.len(),
            "process {name}, event {in_order} is not followed by the next one but by {:?}",
            &numbers[in_order..(in_order + 3).min(numbers.len())]
        );
        assert!(in_order as u64 >= *safe, "process {name}: {in_order} are there, {safe} were safe");
    }
    assert_eq!(publisher.stats().possible_duplicates, 0);
}
