//! How fast a publisher's writer brings events to disk while Redis is away, beside plain appending to the same disk.
//!
//! The events are in the queue before the clock starts, so that no caller holds the writer up. One line of JSON tells
//! how many seconds it took until all of them were spooled, and how many for as many bytes, appended in pieces of
//! 512 KiB to one file that is synced as often as the spool is.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Parser;
use synapse_rs::{
    Event, Publisher, RedisSettings,
    publisher::{PublisherConfig, SpoolConfig},
};

const STREAM: &str = "inference-events";
/// As the spool has it.
const SYNC_INTERVAL: Duration = Duration::from_millis(200);
const CHUNK_BYTES: usize = 512 * 1024;
const QUEUE_BYTES: u64 = 2 << 30;
const POLL_INTERVAL: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_mins(2);

/// Brings events to disk, and as many bytes without events.
#[derive(Debug, Parser)]
struct Options {
    /// An empty folder on the disk to be measured.
    #[arg(long)]
    folder: PathBuf,
    /// How many events.
    #[arg(long)]
    events: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let (bytes, spooling) = spool(&options.folder.join("spool"), options.events)?;
    let appending = append(&options.folder.join("plain"), bytes)?;
    let report = serde_json::json!({
        "events": options.events,
        "bytes": bytes,
        "spool_seconds": spooling.as_secs_f64(),
        "append_seconds": appending.as_secs_f64(),
    });
    #[allow(clippy::print_stdout, reason = "the report is what the program is for")]
    {
        println!("{report}");
    }
    Ok(())
}

/// The bytes of so many events on disk, and how long it took the writer to have them there, synced.
fn spool(folder: &Path, events: u64) -> Result<(u64, Duration), Box<dyn Error>> {
    let settings = RedisSettings::from_url(&format!("redis://127.0.0.1:{}", port_of_nobody()?))?;
    let config = PublisherConfig {
        queue_events: events,
        queue_bytes: QUEUE_BYTES,
        spool: Some(SpoolConfig { dir: folder.to_owned(), max_bytes: QUEUE_BYTES }),
        ..PublisherConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (publisher, writer) = Publisher::new(settings, config);
    let event = inference();
    for _ in 0..events {
        publisher.publish(STREAM, &event)?;
    }

    let started = Instant::now();
    runtime.block_on(async {
        let all_spooled = async {
            while publisher.stats().spooled < events && started.elapsed() < PATIENCE {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            publisher.stats().spooled
        };
        tokio::select! {
            () = writer.run() => Err("the writer has ended"),
            spooled = all_spooled => if spooled == events { Ok(()) } else { Err("not all was spooled") },
        }
    })?;
    let bytes = sync(folder)?;
    let took = started.elapsed();
    // Before the disk is measured again.
    fs::remove_dir_all(folder)?;
    Ok((bytes, took))
}

/// Appends so many bytes; how long that takes.
fn append(path: &Path, bytes: u64) -> io::Result<Duration> {
    // Written once before, so that no page of it is the kernel's page of zeros.
    let chunk = vec![0x5a; CHUNK_BYTES];
    let started = Instant::now();
    let (mut file, mut synced, mut left) = (File::create_new(path)?, started, bytes);
    while left > 0 {
        let piece = &chunk[..usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES))];
        file.write_all(piece)?;
        left -= piece.len() as u64;
        if synced.elapsed() >= SYNC_INTERVAL {
            file.sync_data()?;
            synced = Instant::now();
        }
    }
    file.sync_data()?;
    Ok(started.elapsed())
}

/// A port at which nobody listens.
fn port_of_nobody() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Syncs every file in a folder; the bytes of all of them.
fn sync(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            bytes += sync(&entry.path())?;
        } else {
            let file = File::open(entry.path())?;
            file.sync_data()?;
            bytes += file.metadata()?.len();
        }
    }
    Ok(bytes)
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
