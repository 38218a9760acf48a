//! What is done for every event, again and again: its instructions are counted.
//!
//! `benches/instructions.py` runs this under callgrind, with a Redis's `host:port` as the only argument. Each path is
//! taken between two calls of `getppid`, at which callgrind writes down what it has counted since the one before; a
//! line of JSON tells which path it was and how many events took it.

mod detour;

use std::{
    error::Error,
    hint::black_box,
    os::unix::process::parent_id,
    time::{Duration, SystemTime},
};

use futures_util::future::join;
use synapse_rs::{
    Event, Publisher, RedisSettings,
    event::{
        decode::decode,
        encode::{EntryEncoder, InvalidEvent, Limits, encode, read_pairs},
    },
    publisher::PublisherConfig,
};

const STREAM: &str = "inference-events";
const SOURCE: &str = "cyrex";
const EVENTS: usize = 10_000;
/// Events before those that are counted: buffers grow, tables are filled.
const WARM_UP: usize = 200;
const PATIENCE: Duration = Duration::from_mins(1);

fn main() -> Result<(), Box<dyn Error>> {
    let redis = std::env::args().nth(1).ok_or("expected a Redis's host:port as the only argument")?;
    let (event, limits) = (inference(), Limits::default());

    let mut body = Vec::new();
    counted("encode by fields", || {
        body.clear();
        encode_by_fields(&mut body, &limits).map(drop)
    })?;
    counted("encode an Event", || {
        body.clear();
        encode(STREAM, &event, SOURCE, &limits, &mut body).map(drop)
    })?;
    let pairs = read_pairs(&body).ok_or("the encoder has written no pairs")?;
    counted("decode", || decode(STREAM, pairs.iter().copied()).map(|decoded| drop(black_box(decoded))))?;

    let settings = RedisSettings::from_url(&format!("redis://{}", detour::to(redis)?))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (publisher, writer) = Publisher::new(settings, PublisherConfig::default());
    counted("Publisher::publish", || publisher.publish(STREAM, &event))?;
    let ((), closed) = measured("Writer: send and settle", WARM_UP + EVENTS, || {
        runtime.block_on(join(writer.run(), publisher.close(PATIENCE)))
    });
    Ok(closed?)
}

/// Takes a path for each of so many events.
fn counted<E>(name: &str, mut path: impl FnMut() -> Result<(), E>) -> Result<(), E> {
    for _ in 0..WARM_UP {
        path()?;
    }
    measured(name, EVENTS, || (0..EVENTS).try_for_each(|_| path()))
}

/// Between two marks does what takes so many events along a path.
fn measured<T>(name: &str, events: usize, path: impl FnOnce() -> T) -> T {
    let _ = parent_id();
    let result = path();
    let _ = parent_id();
    #[allow(clippy::print_stdout, reason = "the report is what the program is for")]
    {
        println!("{}", serde_json::json!({ "path": name, "events": events }));
    }
    result
}

/// The event of all benchmarks, as `benches/inference.py` has it: eleven fields on the wire.
fn inference() -> Event {
    Event::new("inference-complete")
        .with("model_name", "task-classifier")
        .with("version", "2.0")
        .with("user_id", "64f1c0ffee")
        .with("request_id", "req_123456")
        .with("latency_ms", 45.2)
        .with("tokens_used", 123)
        .with("success", true)
}

/// The same, field by field, as the Python module does it.
fn encode_by_fields(body: &mut Vec<u8>, limits: &Limits) -> Result<usize, InvalidEvent> {
    let mut entry = EntryEncoder::begin(body, STREAM, "inference-complete", limits)?;
    entry.str("model_name", "task-classifier")?;
    entry.str("version", "2.0")?;
    entry.str("user_id", "64f1c0ffee")?;
    entry.str("request_id", "req_123456")?;
    entry.f64("latency_ms", 45.2)?;
    entry.u64("tokens_used", 123)?;
    entry.bool("success", true)?;
    Ok(entry.finish(SOURCE, SystemTime::now())?.fields)
}
