//! How many deliveries a CPU-second of the server makes, and whether all arrive.

use std::{error::Error, rc::Rc, time::Instant};

use tokio::task::spawn_local;

use crate::{
    append,
    client::{Client, Expected},
    options::{Deliver, Target},
    process::Usage,
    report::{Report, Tally},
};

/// Connects many clients, appends events, and waits until each client has what is meant for it.
pub(crate) async fn run(options: Deliver) -> Result<serde_json::Value, Box<dyn Error>> {
    let options = Rc::new(options);
    let before_clients = Usage::of(options.pid)?;
    let mut clients = Vec::with_capacity(options.clients);
    for number in 0..options.clients {
        let user = (options.to == Target::Users).then(|| append::user(number));
        clients.push(Client::connect(&options.address, user.as_deref()).await?);
    }
    let idle = Usage::of(options.pid)?;

    let sent = Rc::new(append::SendTimes::new(&options));
    let expected = Expected { per_client: options.expected_per_client(), patience: options.patience() };
    let receiving: Vec<_> =
        clients.into_iter().map(|client| spawn_local(client.receive(expected, Rc::clone(&sent)))).collect();

    let started = Instant::now();
    let appending = spawn_local(append::all(Rc::clone(&options), Rc::clone(&sent)));
    let mut tally = Tally::default();
    for received in receiving {
        tally.add(received.await??);
    }
    appending.await??;
    let report = Report {
        expected: expected.per_client * options.clients as u64,
        tally,
        started,
        before_clients,
        idle,
        after: Usage::of(options.pid)?,
        clients: options.clients,
    };
    Ok(report.to_json())
}
