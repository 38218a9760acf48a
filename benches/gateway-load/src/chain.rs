//! From an HTTP request through the hub, Redis and the gateway to a Socket.IO client.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    error::Error,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, sync::oneshot, task::spawn_local, time::timeout};

use crate::{append::STREAM, client::Client, options::Chain, process::Usage, report::percentile_ms};

/// As text is: with blanks, quotes and line ends.
const TEXT: &str = "The model \"task-classifier\" says: 42 of the 64 requests were about invoices.\n";

/// What the publishers and the client share.
#[derive(Default)]
struct Flight {
    /// Who waits for the event of this number.
    waiting: RefCell<HashMap<u64, oneshot::Sender<()>>>,
    next: Cell<u64>,
    /// Events that came and that nobody waited for: a second time, or too late.
    doubled: Cell<u64>,
}

/// Publishes for so many seconds; an event is on its way until the client has it.
pub(crate) async fn run(options: Chain) -> Result<serde_json::Value, Box<dyn Error>> {
    let flight = Rc::new(Flight::default());
    let client = Client::connect(&options.gateway, None).await?;
    let receiving = spawn_local(receive(client, Rc::clone(&flight)));
    let text: Rc<str> = TEXT.chars().cycle().take(options.payload_bytes).collect::<String>().into();
    let before = cpu_seconds(&options.pids)?;
    let started = Instant::now();
    let publishers = (0..options.in_flight).map(|_| publish(&options, &flight, &text, started));
    let (latencies, lost): (Vec<_>, Vec<_>) = try_join_all(publishers).await?.into_iter().unzip();
    let seconds = started.elapsed().as_secs_f64();
    let after = cpu_seconds(&options.pids)?;
    if receiving.is_finished() {
        receiving.await??;
    }
    let mut latencies = latencies.concat();
    latencies.sort_unstable();
    Ok(json!({
        "events": latencies.len(),
        "seconds": seconds,
        "lost": lost.iter().sum::<u64>(),
        "doubled": flight.doubled.get(),
        "p50_ms": percentile_ms(&latencies, 50),
        "p99_ms": percentile_ms(&latencies, 99),
        "cpu_seconds": before.iter().zip(&after).map(|(before, after)| after - before).collect::<Vec<_>>(),
    }))
}

fn cpu_seconds(pids: &[u32]) -> io::Result<Vec<f64>> {
    pids.iter().map(|pid| Ok(Usage::of(*pid)?.cpu.as_secs_f64())).collect()
}

/// Tells those who wait that their event is there.
async fn receive(mut client: Client, flight: Rc<Flight>) -> io::Result<()> {
    loop {
        let look = |number| match flight.waiting.borrow_mut().remove(&number) {
            Some(waiting) => drop(waiting.send(())),
            None => flight.doubled.set(flight.doubled.get() + 1),
        };
        client.numbers(look).await?;
    }
}

/// One event after the other; how long each took, and how many never came.
async fn publish(
    options: &Chain,
    flight: &Flight,
    text: &str,
    started: Instant,
) -> Result<(Vec<Duration>, u64), Box<dyn Error>> {
    let stream = TcpStream::connect(&options.hub).await?;
    stream.set_nodelay(true)?;
    let (mut hub, connection) = http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(connection);
    let (mut latencies, mut lost) = (Vec::new(), 0);
    while started.elapsed().as_secs_f64() < options.seconds {
        let number = flight.next.replace(flight.next.get() + 1);
        let (told, came) = oneshot::channel();
        flight.waiting.borrow_mut().insert(number, told);
        let sent = Instant::now();
        post(&mut hub, &options.hub, event(number, text)).await?;
        match timeout(Duration::from_secs_f64(options.patience_s), came).await {
            Ok(_) => latencies.push(sent.elapsed()),
            Err(_) => lost += 1,
        }
    }
    Ok((latencies, lost))
}

async fn post(hub: &mut SendRequest<Full<Bytes>>, host: &str, event: Bytes) -> Result<(), Box<dyn Error>> {
    let request = Request::post(format!("/events/{STREAM}"))
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(event))?;
    hub.ready().await?;
    let answer = hub.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if status == StatusCode::ACCEPTED {
        return Ok(());
    }
    Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into())
}

fn event(number: u64, text: &str) -> Bytes {
    let event = json!({
        "event": "inference-complete",
        "model_name": "task-classifier",
        "version": "2.0",
        "latency_ms": 45.2,
        "request_id": number.to_string(),
        "answer": text,
    });
    event.to_string().into()
}
