//! Many clients that come back at once, each to where it was, after the gateway was killed and started anew.
//!
//! Says by a line of JSON when all are connected and have the first events; from then on whoever started this kills
//! the gateway and starts it on the same port. Events are appended while it is gone and when it is back.

use std::{
    cell::Cell,
    error::Error,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Notify, watch},
    task::spawn_local,
    time::{sleep, timeout},
};

use crate::{
    append::{self, PIPELINE},
    options::Storm,
    report::percentile_ms,
    say,
    visitor::{Protocol, Visitor},
    wire::Wire,
};

/// Between two looks whether the gateway is back.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Before a client whose connection failed tries again.
const TRY_AGAIN: Duration = Duration::from_millis(200);
const LIVE_PAUSE: Duration = Duration::from_millis(100);

/// What the clients share.
struct Herd {
    options: Storm,
    /// Clients that have the first events.
    ready: Cell<usize>,
    is_ready: Notify,
    /// Told when the first connection breaks.
    is_gone: Notify,
    /// Since when the gateway is back.
    back: watch::Sender<Option<Instant>>,
}

/// How a client fared.
#[derive(Debug, Default)]
struct Fate {
    recovered: bool,
    /// Attempts to connect that failed, once the gateway was back.
    failures: u64,
    /// Why the last one did.
    failure: String,
    /// Connections that broke once the gateway was back.
    breaks: u64,
    /// From the gateway's return until all that was missed is there.
    whole_after: Option<Duration>,
    lost: u64,
    doubled: u64,
}

/// Runs all of it.
pub(crate) async fn run(options: Storm) -> Result<serde_json::Value, Box<dyn Error>> {
    let mut redis = append::connect(&options.redis).await?;
    let herd = Rc::new(Herd {
        options,
        ready: Cell::new(0),
        is_ready: Notify::new(),
        is_gone: Notify::new(),
        back: watch::Sender::new(None),
    });
    let options = &herd.options;
    let mut lives = Vec::with_capacity(options.clients);
    for number in 0..options.clients {
        let protocol = if number % 2 == 0 { Protocol::SocketIo } else { Protocol::WebSocket };
        let mut visitor = Visitor::new(protocol);
        let (wire, _) = visitor.connect(&options.address).await?;
        lives.push(spawn_local(live(Rc::clone(&herd), visitor, wire)));
    }
    append_all(&mut redis, 0..options.before).await?;
    timeout(options.patience(), herd.is_ready.notified())
        .await
        .map_err(|_| "the first events did not come")?;
    say(&json!({ "ready": true }));

    herd.is_gone.notified().await;
    let gone = Instant::now();
    append_all(&mut redis, options.before..options.missed_end()).await?;
    while !answers(&options.address).await.unwrap_or(false) {
        sleep(LOOK_AGAIN).await;
    }
    let back = Instant::now();
    herd.back.send_replace(Some(back));
    for number in options.missed_end()..options.end() {
        sleep(LIVE_PAUSE).await;
        append_all(&mut redis, number..number + 1).await?;
    }
    let mut fates = Vec::with_capacity(lives.len());
    for life in lives {
        fates.push(life.await??);
    }
    Ok(report(&fates, back - gone))
}

/// One client from its first connection to the end.
async fn live(herd: Rc<Herd>, mut visitor: Visitor, mut wire: Wire) -> Result<Fate, String> {
    let options = &herd.options;
    let mut is_ready = false;
    while visitor.read(&mut wire).await.is_ok() {
        if visitor.next == options.before && !is_ready {
            is_ready = true;
            herd.ready.set(herd.ready.get() + 1);
            if herd.ready.get() == options.clients {
                herd.is_ready.notify_one();
            }
        }
    }
    if !is_ready {
        return Err(format!("a connection broke at the {}. event", visitor.next));
    }
    drop(wire);
    herd.is_gone.notify_one();
    let back = herd.back.subscribe().wait_for(Option::is_some).await.ok().and_then(|back| *back);
    let back = back.ok_or("the gateway did not come back")?;
    let mut fate = Fate::default();
    let is_patient = timeout(options.patience(), come_back(options, &mut visitor, &mut fate, back)).await;
    let missing = if is_patient.is_ok() { 0 } else { options.end() - visitor.next };
    fate.lost = visitor.lost + missing;
    fate.doubled = visitor.doubled;
    Ok(fate)
}

/// Comes back, as often as need be, until everything is there.
async fn come_back(options: &Storm, visitor: &mut Visitor, fate: &mut Fate, back: Instant) {
    let mut is_first = true;
    while visitor.next < options.end() {
        let (mut wire, is_recovered) = match visitor.connect(&options.address).await {
            Ok(connected) => connected,
            Err(error) => {
                fate.failures += 1;
                fate.failure = error.to_string();
                sleep(TRY_AGAIN).await;
                continue;
            }
        };
        fate.recovered = is_recovered && (is_first || fate.recovered);
        is_first = false;
        while visitor.next < options.end() {
            if visitor.read(&mut wire).await.is_err() {
                fate.breaks += 1;
                break;
            }
            if visitor.next >= options.missed_end() {
                fate.whole_after.get_or_insert_with(|| back.elapsed());
            }
        }
    }
}

/// Whether somebody answers there, whatever it is: a process that is being killed may still take a connection.
async fn answers(address: &str) -> io::Result<bool> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    Ok(socket.read(&mut [0; 1]).await? > 0)
}

async fn append_all(
    redis: &mut MultiplexedConnection,
    numbers: std::ops::Range<u64>,
) -> Result<(), redis::RedisError> {
    let numbers: Vec<_> = numbers.collect();
    for batch in numbers.chunks(PIPELINE) {
        let mut pipeline = redis::pipe();
        for number in batch {
            append::add(&mut pipeline, *number, "");
        }
        pipeline.exec_async(redis).await?;
    }
    Ok(())
}

fn report(fates: &[Fate], away: Duration) -> serde_json::Value {
    let sum = |figure: fn(&Fate) -> u64| fates.iter().map(figure).sum::<u64>();
    let mut whole_after: Vec<_> = fates.iter().filter_map(|fate| fate.whole_after).collect();
    whole_after.sort_unstable();
    json!({
        "clients": fates.len(),
        "recovered": fates.iter().filter(|fate| fate.recovered).count(),
        "whole": whole_after.len(),
        "lost": sum(|fate| fate.lost),
        "doubled": sum(|fate| fate.doubled),
        "failures": sum(|fate| fate.failures),
        "failure": fates.iter().map(|fate| &fate.failure).max(),
        "breaks": sum(|fate| fate.breaks),
        "away_s": away.as_secs_f64(),
        "median_s": percentile_ms(&whole_after, 50).map(|ms| ms / 1e3),
        "last_s": whole_after.last().map(Duration::as_secs_f64),
    })
}

impl Storm {
    /// The first number that is appended when the gateway is back.
    fn missed_end(&self) -> u64 {
        self.before + self.missed
    }

    /// The number after the last.
    fn end(&self) -> u64 {
        self.missed_end() + self.live
    }

    /// See `patience_s`.
    fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.patience_s)
    }
}
