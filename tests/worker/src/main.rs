//! A consumer process of the crash tests, on the Rust runtime; `worker.py` is the same on the Python module.
//!
//! Handles numbered entries as each one's `fate` says and appends a line to a log of its own for each step:
//! `began NUMBER DELIVERIES TIME`, then `done` or `failed` likewise; the time is of the system's monotonic clock, in
//! nanoseconds. One write per line, so that a line is there as soon as the step was taken, whatever becomes of the
//! process. SIGINT ends it in order.

use std::{
    error::Error,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use synapse_rs::{
    RedisSettings,
    consumer::{Answer, ConsumerConfig, ConsumerRuntime, Delivery, Handler},
    shutdown::Shutdown,
};
use tokio::signal::unix::{SignalKind, signal};

/// Handles numbered entries as each one's fate says.
#[derive(Debug, Parser)]
struct Options {
    #[arg(long)]
    redis: String,
    #[arg(long)]
    group: String,
    #[arg(long)]
    stream: String,
    #[arg(long)]
    log: PathBuf,
    #[arg(long)]
    batch: usize,
    #[arg(long)]
    concurrency: usize,
    #[arg(long)]
    max_deliveries: u32,
    #[arg(long)]
    min_idle_s: f64,
    #[arg(long)]
    first_retry_s: f64,
    #[arg(long)]
    last_retry_s: f64,
    #[arg(long)]
    slow_s: f64,
}

impl Options {
    fn config(&self) -> ConsumerConfig {
        let seconds = Duration::from_secs_f64;
        ConsumerConfig {
            batch: self.batch,
            ordered_by: Some("key".to_owned()),
            concurrency: self.concurrency,
            max_deliveries: self.max_deliveries,
            min_idle: seconds(self.min_idle_s),
            backoff: (seconds(self.first_retry_s), seconds(self.last_retry_s)),
            ..ConsumerConfig::new(&self.group, [&self.stream])
        }
    }
}

/// Does to an entry what its fate says.
#[derive(Debug)]
struct Worker {
    log: File,
    slow: Duration,
}

impl Worker {
    fn new(log: &Path, slow: Duration) -> io::Result<Self> {
        Ok(Self { log: OpenOptions::new().append(true).create(true).open(log)?, slow })
    }

    async fn meet(&self, fate: &str, deliveries: u32) -> Answer {
        let failed = || Answer::Failed(format!("{fate}, delivery {deliveries}"));
        match fate.split_once('-').unwrap_or((fate, "")) {
            // Others may have their turn meanwhile.
            ("ok", _) => tokio::task::yield_now().await,
            ("fails" | "retries", times) => match times.parse::<u32>() {
                Ok(times) if deliveries > times => {}
                _ => return failed(),
            },
            ("slow", _) => tokio::time::sleep(self.slow).await,
            // The runtime has one thread less meanwhile.
            ("block", _) => std::thread::sleep(self.slow),
            ("poison", _) => std::process::abort(),
            ("reject", _) => return Answer::Permanent("rejected at once".to_owned()),
            _ => return failed(),
        }
        Answer::Done
    }

    fn write(&self, step: &str, number: &str, deliveries: u32) -> io::Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let line = format!("{step} {number} {deliveries} {}{:09}\n", now.tv_sec, now.tv_nsec);
        (&self.log).write_all(line.as_bytes())
    }

    async fn handle_logged(&self, delivery: &Delivery) -> io::Result<Answer> {
        let number = delivery.event.get("number").map(ToString::to_string).unwrap_or_default();
        self.write("began", &number, delivery.deliveries)?;
        let answer = self.meet(delivery.event.str("fate").unwrap_or_default(), delivery.deliveries).await;
        let step = if answer == Answer::Done { "done" } else { "failed" };
        self.write(step, &number, delivery.deliveries)?;
        Ok(answer)
    }
}

impl Handler for Worker {
    async fn handle(&self, delivery: &Delivery) -> Answer {
        // An entry that is not logged must not count as handled.
        self.handle_logged(delivery).await.unwrap_or_else(|error| Answer::Failed(error.to_string()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let worker = Worker::new(&options.log, Duration::from_secs_f64(options.slow_s))?;
    let settings = RedisSettings::from_url(&options.redis)?;
    let shutdown = Shutdown::new();
    let end = shutdown.clone();
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        interrupt.recv().await;
        end.cancel();
    });
    ConsumerRuntime::new(settings, options.config(), worker).run(shutdown).await?;
    Ok(())
}
