//! The task orchestrator.

use std::process::ExitCode;

use synapse_tasks::{
    migrate,
    settings::{ABOUT, Settings},
    start,
};

fn main() -> ExitCode {
    synapse_chassis::run_or_do(&ABOUT, Settings::read, start, async |task| migrate(task.settings).await)
}
