//! The analytics service.

use std::process::ExitCode;

use synapse_analytics::{
    backfill,
    settings::{ABOUT, Settings},
    start,
};

fn main() -> ExitCode {
    // `backfill` is its only command.
    synapse_chassis::run_or_do(&ABOUT, Settings::read, start, backfill)
}
