//! Raw Socket.IO clients that count what a gateway delivers and what it costs the gateway.
//!
//! Connects many clients to a server, appends events to the stream that it reads, and waits until each client has
//! what is meant for it. Prints one line of JSON: deliveries, lost, doubled, the seconds and the CPU seconds of the
//! server's process meanwhile, and latencies where the load is steady.
//!
//! * [`options`]: what to do.
//! * [`client`]: one connection; frames are counted as they stand in the buffer.
//! * [`append`]: the events, straight to Redis.
//! * [`process`]: CPU and memory of the server's process.
//! * [`report`]: what came of it.

mod append;
mod client;
mod options;
mod process;
mod report;

use std::{error::Error, rc::Rc, time::Instant};

use clap::Parser as _;
use tokio::task::LocalSet;

use crate::{
    client::{Client, Expected},
    options::{Options, Target},
    process::Usage,
    report::{Report, Tally},
};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, run(Rc::new(options)))?;
    #[allow(clippy::print_stdout, reason = "the report is what the program is for")]
    {
        println!("{}", report.to_json());
    }
    Ok(())
}

async fn run(options: Rc<Options>) -> Result<Report, Box<dyn Error>> {
    let before_clients = Usage::of(options.pid)?;
    let mut clients = Vec::with_capacity(options.clients);
    for number in 0..options.clients {
        let user = (options.to == Target::Users).then(|| append::user(number));
        clients.push(Client::connect(&options.address, user.as_deref()).await?);
    }
    let idle = Usage::of(options.pid)?;

    let sent = Rc::new(append::SendTimes::new(&options));
    let expected = Expected { per_client: options.expected_per_client(), patience: options.patience() };
    let receiving: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::task::spawn_local(client.receive(expected, Rc::clone(&sent))))
        .collect();

    let started = Instant::now();
    let appending = tokio::task::spawn_local(append::all(Rc::clone(&options), Rc::clone(&sent)));
    let mut tally = Tally::default();
    for received in receiving {
        tally.add(received.await??);
    }
    appending.await??;
    Ok(Report {
        expected: expected.per_client * options.clients as u64,
        tally,
        started,
        before_clients,
        idle,
        after: Usage::of(options.pid)?,
        clients: options.clients,
    })
}
