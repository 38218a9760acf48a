//! The realtime gateway.

use std::process::ExitCode;

use synapse_gateway::{
    settings::{ABOUT, Settings},
    start,
};

fn main() -> ExitCode {
    synapse_chassis::run(&ABOUT, Settings::read, start)
}
