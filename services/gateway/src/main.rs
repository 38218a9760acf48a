//! The realtime gateway.

use std::process::ExitCode;

use synapse_gateway::{
    settings::{ABOUT, Settings},
    start,
};

// An event's many small pieces are freed by another thread than the one that made them, a batch at a time, which glibc
// answers by merging its free lists: a message to a single client costs a fifth less without.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    synapse_chassis::run(&ABOUT, Settings::read, start)
}
