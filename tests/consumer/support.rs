//! What the tests of consumers stand on: numbered events, a handler that is a function, and what is left afterwards.

use std::time::Duration;

use synapse_rs::{
    EntryId, Event, RedisSettings,
    consumer::{Answer, ConsumerConfig, ConsumerRuntime, Delivery, Handler, Subscription},
    shutdown::Shutdown,
    stream::{Connection, GroupInfo},
};
use synapse_test_support::{RedisServer, eventually};
use tokio::task::JoinHandle;

pub(crate) const STREAM: &str = "numbers";
pub(crate) const GROUP: &str = "workers";

pub(crate) fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::from_url(&server.url()).unwrap()
}

pub(crate) async fn connect(server: &RedisServer) -> Connection {
    Connection::open(&settings(server)).await.unwrap()
}

pub(crate) fn config() -> ConsumerConfig {
    ConsumerConfig {
        backoff: (Duration::from_millis(1), Duration::from_millis(5)),
        ..ConsumerConfig::new(GROUP, [STREAM])
    }
}

pub(crate) async fn append(
    connection: &Connection,
    stream: &str,
    numbers: std::ops::Range<u64>,
) -> Vec<EntryId> {
    let mut ids = Vec::new();
    for number in numbers {
        let fields = [
            ("event", "counted".to_owned()),
            ("number", number.to_string()),
            ("key", format!("k{}", number % 3)),
        ];
        ids.push(connection.append(stream, fields, None).await.unwrap());
    }
    ids
}

pub(crate) fn number(delivery: &Delivery) -> u64 {
    number_of(&delivery.event)
}

pub(crate) fn number_of(event: &Event) -> u64 {
    event.get("number").and_then(serde_json::Value::as_u64).unwrap()
}

pub(crate) async fn group(connection: &Connection, stream: &str) -> GroupInfo {
    connection.groups(stream).await.unwrap().remove(0)
}

pub(crate) async fn settled(connection: &Connection, stream: &str) {
    eventually("nothing is pending", || async {
        (group(connection, stream).await.pending == 0).then_some(())
    })
    .await;
}

/// The numbers and reasons of the dead letters of a stream.
pub(crate) async fn dead(connection: &Connection, stream: &str) -> Vec<(String, String)> {
    let entries = connection.range(&format!("{stream}:dlq"), EntryId::MIN, EntryId::MAX, 1000).await.unwrap();
    let field = |entry: &synapse_rs::stream::Entry, name: &str| {
        let found = entry.fields().find(|(field, _)| *field == name.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    };
    entries.iter().map(|entry| (field(entry, "number"), field(entry, "dlq_reason"))).collect()
}

/// A handler that is a function.
pub(crate) struct Each<F>(F);

impl<F: AsyncEach> Handler for Each<F> {
    async fn handle(&self, delivery: &Delivery) -> Answer {
        self.0.call(delivery).await
    }
}

pub(crate) trait AsyncEach: Send + Sync {
    fn call(&self, delivery: &Delivery) -> impl Future<Output = Answer> + Send;
}

impl<F, A> AsyncEach for F
where
    F: Fn(u64, u32) -> A + Send + Sync,
    A: Future<Output = Answer> + Send,
{
    fn call(&self, delivery: &Delivery) -> impl Future<Output = Answer> + Send {
        self(number(delivery), delivery.deliveries)
    }
}

/// A runtime at work, until it is stopped.
pub(crate) struct Running {
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start<F, A>(server: &RedisServer, config: ConsumerConfig, handler: F) -> Self
    where
        F: Fn(u64, u32) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let shutdown = Shutdown::new();
        let runtime = ConsumerRuntime::new(settings(server), config, Each(handler));
        let task = runtime.run(shutdown.clone());
        Self { shutdown, task: tokio::spawn(async move { task.await.unwrap() }) }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

pub(crate) async fn ack_all(subscription: &Subscription, count: usize) -> Vec<u64> {
    let settler = subscription.settler();
    let mut found = Vec::new();
    while found.len() < count {
        for delivery in subscription.next(1000).await.unwrap() {
            found.push(number(&delivery));
            settler.ack(&delivery);
        }
    }
    found
}

pub(crate) async fn pending_is(connection: &Connection, count: u64) {
    eventually("the acknowledgements have arrived", || async {
        (group(connection, STREAM).await.pending == count).then_some(())
    })
    .await;
}
