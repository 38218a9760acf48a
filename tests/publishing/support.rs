//! What the tests of publishing stand on: numbered events, a ledger of what was sent, and what is on the streams.

use std::{collections::HashMap, time::Duration};

use synapse_rs::{
    EntryId, Event, Publisher, RedisSettings,
    publisher::{DeliveryError, PublisherConfig, Receipt},
    stream::{Connection, Entry},
};
use synapse_test_support::{Proxy, RedisServer, eventually};

pub(crate) const STREAM: &str = "numbers";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::from_url(&server.url()).unwrap()
}

pub(crate) fn start(server: &RedisServer) -> Publisher {
    Publisher::start(settings(server), PublisherConfig::default())
}

/// A publisher whose every connection goes through `proxy`.
pub(crate) fn start_through(proxy: &Proxy, config: PublisherConfig) -> Publisher {
    Publisher::start(RedisSettings::from_url(&proxy.url()).unwrap(), config)
}

pub(crate) async fn connect(server: &RedisServer) -> Connection {
    Connection::open(&settings(server)).await.unwrap()
}

/// Sends a command as an administrator would.
pub(crate) fn admin<T: redis::FromRedisValue>(server: &RedisServer, command: &[&str]) -> T {
    redis::cmd(command[0]).arg(&command[1..]).query(&mut server.connection()).unwrap()
}

/// Waits until a publisher says that it waits because of `reason`.
pub(crate) async fn waits(publisher: &Publisher, reason: &str) {
    eventually(&format!("{reason} is reported"), || async {
        publisher.stats().last_error.filter(|error| error.contains(reason))
    })
    .await;
}

pub(crate) fn numbered(number: u64) -> Event {
    Event::new("counted").with("number", number)
}

/// The numbers on the stream, in its order.
pub(crate) async fn numbers(server: &RedisServer, stream: &str) -> Vec<u64> {
    entries(&connect(server).await, stream).await.iter().map(|entry| number(entry).unwrap()).collect()
}

pub(crate) async fn entries(connection: &Connection, stream: &str) -> Vec<Entry> {
    connection.range(stream, EntryId::MIN, EntryId::MAX, 1_000_000).await.unwrap()
}

/// How many entries were ever appended to a stream, those trimmed away included.
pub(crate) async fn ever_added(connection: &Connection, stream: &str) -> u64 {
    connection.extent(stream).await.unwrap().map_or(0, |info| info.entries_added.unwrap())
}

pub(crate) fn number(entry: &Entry) -> Option<u64> {
    field(entry, "number").map(|number| number.parse().unwrap())
}

pub(crate) fn field(entry: &Entry, name: &str) -> Option<String> {
    let value = entry.fields().find(|(field, _)| *field == name.as_bytes());
    value.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap())
}

/// What one publisher has sent, each event with its receipt.
pub(crate) struct Ledger {
    pub(crate) publisher: Publisher,
    /// The events' `source`, so that several publishers can be told apart on one stream.
    source: String,
    /// So many bytes more in each event.
    pub(crate) padding: usize,
    /// The same for all.
    pub(crate) event_id: Option<&'static str>,
    sent: Vec<(String, u64, Receipt)>,
}

impl Ledger {
    pub(crate) fn new(publisher: Publisher) -> Self {
        let source = publisher.config().source.clone();
        Self { publisher, source, padding: 0, event_id: None, sent: Vec::new() }
    }

    /// Sends the events of these numbers, to the streams in alternation.
    pub(crate) fn send(&mut self, streams: &[impl AsRef<str>], numbers: std::ops::Range<u64>) {
        for (number, stream) in numbers.zip(streams.iter().cycle()) {
            let mut event = numbered(number);
            if self.padding > 0 {
                event.set("padding", "x".repeat(self.padding));
            }
            if let Some(id) = self.event_id {
                event.set("event_id", id);
            }
            let receipt = self.publisher.send(stream.as_ref(), &event).unwrap();
            self.sent.push((stream.as_ref().to_owned(), number, receipt));
        }
    }

    /// Waits until all has arrived, then looks whether it did exactly once, in order, at the id its receipt tells.
    pub(crate) async fn arrived_once(&self, connection: &Connection, when: &str) {
        self.arrived(connection, when).await;
        let stats = self.publisher.stats();
        assert_eq!(stats.possible_duplicates, 0, "{when}");
        assert_eq!((stats.published, stats.failed), (self.sent.len() as u64, 0), "{when}");
        assert_eq!((stats.outstanding, stats.outstanding_bytes, stats.queued), (0, 0, 0), "{when}");
    }

    /// Like [`Ledger::arrived_once`], whatever the publisher holds possible.
    pub(crate) async fn arrived(&self, connection: &Connection, when: &str) {
        self.flush(when).await;
        for stream in self.streams() {
            let found = self.found(connection, stream).await;
            let numbers: Vec<_> = found.iter().map(|entry| number(entry).unwrap()).collect();
            assert_eq!(numbers, self.numbers(stream), "on {stream}, {when}: {:?}", self.publisher.stats());
        }
        assert_eq!(self.receipts_are_true(connection, when).await, 0, "nothing was trimmed, {when}");
    }

    /// How often more than once an event has arrived, after all have; in which order does not matter.
    pub(crate) async fn repeats(&self, connection: &Connection, when: &str) -> u64 {
        self.flush(when).await;
        let mut repeats = 0;
        for stream in self.streams() {
            let found = self.found(connection, stream).await;
            let mut numbers: Vec<_> = found.iter().map(|entry| number(entry).unwrap()).collect();
            let mut ids: Vec<_> = found.iter().map(|entry| field(entry, "event_id").unwrap()).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers, self.sorted(stream), "on {stream}, {when}: {:?}", self.publisher.stats());
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), numbers.len(), "a repeat has the event_id of the first, {when}");
            repeats += (found.len() - numbers.len()) as u64;
        }
        self.receipts_are_true(connection, when).await;
        let possible = self.publisher.stats().possible_duplicates;
        assert!(repeats <= possible, "{repeats} repeats of which {possible} are known, {when}");
        repeats
    }

    pub(crate) async fn flush(&self, when: &str) {
        if let Err(error) = self.publisher.flush(PATIENCE).await {
            panic!("{error}, {when}: {:?}", self.publisher.stats());
        }
    }

    /// Every receipt tells an id, and the entry there is the event; gives how many say that it was trimmed away.
    ///
    /// Only what was trimmed away since may be absent.
    pub(crate) async fn receipts_are_true(&self, connection: &Connection, when: &str) -> usize {
        let mut trimmed = 0;
        for stream in self.streams() {
            let found = self.found(connection, stream).await;
            // Asked afterwards: others may trim meanwhile.
            let extent = connection.extent(stream).await.unwrap();
            let first = extent.and_then(|info| info.first_id).unwrap_or(EntryId::MAX);
            let found: HashMap<_, _> = found.iter().map(|entry| (entry.id, number(entry))).collect();
            for (_, sent, receipt) in self.sent.iter().filter(|(to, ..)| to == stream) {
                match receipt.outcome().expect("a flush waits for receipts") {
                    Ok(id) => {
                        let number = found.get(&id).copied().flatten();
                        assert!(
                            number == Some(*sent) || (number.is_none() && id < first),
                            "{sent} on {stream} is said to be at {id}, {when}; there is {number:?}"
                        );
                    }
                    Err(DeliveryError::Trimmed { .. }) => trimmed += 1,
                    Err(error) => panic!("{sent} on {stream}, {when}: {error}"),
                }
            }
        }
        trimmed
    }

    /// What is there of this publisher's.
    pub(crate) async fn found(&self, connection: &Connection, stream: &str) -> Vec<Entry> {
        let mut found = entries(connection, stream).await;
        found.retain(|entry| field(entry, "source").as_ref() == Some(&self.source));
        found
    }

    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&str, u64, &Receipt)> {
        self.sent.iter().map(|(stream, number, receipt)| (stream.as_str(), *number, receipt))
    }

    fn streams(&self) -> Vec<&str> {
        let mut streams: Vec<_> = self.sent.iter().map(|(stream, ..)| stream.as_str()).collect();
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    fn numbers(&self, stream: &str) -> Vec<u64> {
        self.sent.iter().filter(|(to, ..)| to == stream).map(|(_, number, _)| *number).collect()
    }

    fn sorted(&self, stream: &str) -> Vec<u64> {
        let mut numbers = self.numbers(stream);
        numbers.sort_unstable();
        numbers
    }
}

/// A publisher's settings, told apart from others by `source`.
pub(crate) fn named(source: &str) -> PublisherConfig {
    PublisherConfig { source: source.to_owned(), ..PublisherConfig::default() }
}
