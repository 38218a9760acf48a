//! A consumer runtime whose handler does nothing: what reading and acknowledging costs.
//!
//! Joins a group on a stream, handles so many events, leaves in order, and prints one line of JSON: the events, the
//! seconds until all were acknowledged, and the CPU seconds of this process meanwhile.

use std::{
    error::Error,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use synapse_rs::{
    RedisSettings,
    consumer::{Answer, ConsumerConfig, ConsumerRuntime, Delivery, Handler},
    shutdown::Shutdown,
};

/// Handles events by doing nothing, and says what that cost.
#[derive(Debug, Parser)]
struct Options {
    /// The Redis to read from.
    #[arg(long, value_name = "URL")]
    redis: String,
    /// The stream to read.
    #[arg(long)]
    stream: String,
    /// The consumer group.
    #[arg(long)]
    group: String,
    /// How many events are handled; the stream must hold no more.
    #[arg(long)]
    events: u64,
    /// Entries per read at most; the consumer's default if unset.
    #[arg(long)]
    batch: Option<usize>,
    /// Events handled at once; the consumer's default if unset.
    #[arg(long)]
    concurrency: Option<usize>,
}

/// Ends the runtime after the last event.
#[derive(Debug)]
struct CountDown {
    left: Arc<AtomicU64>,
    end: Shutdown,
}

impl Handler for CountDown {
    fn handle(&self, _: &Delivery) -> impl Future<Output = Answer> + Send {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.end.cancel();
        }
        ready(Answer::Done)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let mut config = ConsumerConfig::new(&options.group, [&options.stream]);
    config.batch = options.batch.unwrap_or(config.batch);
    config.concurrency = options.concurrency.unwrap_or(config.concurrency);
    let (left, end) = (Arc::new(AtomicU64::new(options.events)), Shutdown::new());
    let handler = CountDown { left: left.clone(), end: end.clone() };
    let consumer = ConsumerRuntime::new(RedisSettings::from_url(&options.redis)?, config, handler);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;

    let (started, cpu_before) = (Instant::now(), cpu_time());
    runtime.block_on(consumer.run(end))?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_time().saturating_sub(cpu_before));
    // Below zero it wraps: then the stream held more than we were told.
    let events = options.events.wrapping_sub(left.load(Ordering::Relaxed));
    let report =
        serde_json::json!({ "events": events, "seconds": seconds, "cpu_seconds": cpu.as_secs_f64() });
    #[allow(clippy::print_stdout, reason = "the report is what the program is for")]
    {
        println!("{report}");
    }
    Ok(())
}

/// What this process's threads have used so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
