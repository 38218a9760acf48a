//! The analytics service.

use std::process::ExitCode;

use synapse_analytics::{
    settings::{ABOUT, Settings},
    start,
};

fn main() -> ExitCode {
    synapse_chassis::run(&ABOUT, Settings::read, start)
}
