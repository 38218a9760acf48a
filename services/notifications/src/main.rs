//! The notification service.

use std::process::ExitCode;

use synapse_notifications::{
    migrate,
    settings::{ABOUT, Settings},
    start,
};

fn main() -> ExitCode {
    // `migrate` is its only command.
    synapse_chassis::run_or_do(&ABOUT, Settings::read, start, async |task| migrate(task.settings).await)
}
