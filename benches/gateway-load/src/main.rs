//! Raw clients of a gateway that count what it delivers.
//!
//! Each mode prints one line of JSON about what came of it.
//!
//! * [`options`]: what to do.
//! * [`deliver`]: many clients, and what their events cost the server's process; [`client`] is one of them.
//! * [`storm`]: many clients that come back at once after the gateway was killed; [`visitor`] is one of them.
//! * [`chain`]: from an HTTP request through the hub, Redis and the gateway to a client.
//! * [`wire`]: a WebSocket; messages are looked at as they stand in the buffer.
//! * [`origin`]: addresses that connections come from.
//! * [`append`]: the events, straight to Redis.
//! * [`process`]: CPU and memory of another process.
//! * [`report`]: what came of a delivery.

mod append;
mod chain;
mod client;
mod deliver;
mod options;
mod origin;
mod process;
mod report;
mod storm;
mod visitor;
mod wire;

use std::error::Error;

use clap::Parser as _;
use tokio::task::LocalSet;

use crate::options::Mode;

fn main() -> Result<(), Box<dyn Error>> {
    let mode = Mode::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, async {
        match mode {
            Mode::Deliver(options) => deliver::run(options).await,
            Mode::Storm(options) => storm::run(options).await,
            Mode::Chain(options) => chain::run(options).await,
        }
    })?;
    say(&report);
    Ok(())
}

/// Prints a line of JSON.
#[allow(clippy::print_stdout, reason = "the reports are what the program is for")]
fn say(line: &serde_json::Value) {
    println!("{line}");
}
