//! The hub.

use std::process::ExitCode;

use synapse_hub::{
    settings::{ABOUT, Settings},
    start,
};

fn main() -> ExitCode {
    synapse_chassis::run(&ABOUT, Settings::read, start)
}
