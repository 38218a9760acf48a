//! Prints the declarations of all events and frames for TypeScript; `make types` keeps them.

use std::io::{Write as _, stdout};

fn main() -> std::io::Result<()> {
    stdout().write_all(synapse_gateway::types::declarations().as_bytes())
}
