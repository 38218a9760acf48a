//! Clients of the task orchestrator: how many tasks a second, and how long each takes.
//!
//! So many connections each make one task after the other. One line of JSON tells the seconds from the first request
//! to the last answer, and the percentiles of all requests in milliseconds. An answer other than 200 is an error.

use std::{
    cell::Cell,
    error::Error,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Parser;
use futures_util::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::LocalSet};

type Failure = Box<dyn Error>;

/// Makes tasks, and says how long that took.
#[derive(Debug, Parser)]
struct Options {
    /// Where the task orchestrator listens, as host:port.
    #[arg(long)]
    address: String,
    /// Requests that are out at once, each on a connection of its own.
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// How many tasks are made.
    #[arg(long)]
    tasks: usize,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let (seconds, mut durations) = runtime.block_on(local.run_until(load(&options)))?;
    durations.sort_unstable();
    let percentile = |percent: usize| {
        let place = (durations.len().saturating_sub(1)) * percent / 100;
        durations.get(place).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
    };
    let report = serde_json::json!({
        "tasks": durations.len(),
        "seconds": seconds,
        "p50_ms": percentile(50),
        "p99_ms": percentile(99),
        "max_ms": percentile(100),
    });
    #[allow(clippy::print_stdout, reason = "the report is what the program is for")]
    {
        println!("{report}");
    }
    Ok(())
}

async fn load(options: &Options) -> Result<(f64, Vec<Duration>), Failure> {
    let left = Rc::new(Cell::new(options.tasks));
    let started = Instant::now();
    let clients = (0..options.in_flight).map(|_| client(&options.address, left.clone()));
    let durations = try_join_all(clients).await?;
    Ok((started.elapsed().as_secs_f64(), durations.concat()))
}

/// Makes tasks for as long as some are left.
async fn client(address: &str, left: Rc<Cell<usize>>) -> Result<Vec<Duration>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::task::spawn_local(connection);
    let mut durations = Vec::new();
    while left.get() > 0 {
        left.set(left.get() - 1);
        let request = Request::post("/tasks")
            .header(header::HOST, address)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(task(left.get())))?;
        let sent = Instant::now();
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        durations.push(sent.elapsed());
        if status != StatusCode::OK {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
    }
    connection.abort();
    Ok(durations)
}

fn task(number: usize) -> Bytes {
    let body = serde_json::json!({
        "userId": format!("user-{}", number % 1_000),
        "taskData": {
            "title": format!("Summarise report {number}"),
            "description": "The quarter's numbers, by region and product, with what has changed since the last one.",
            "status": "pending",
            "priority": "high",
            "tags": ["reports", "finance"],
        },
    });
    body.to_string().into()
}
