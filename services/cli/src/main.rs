//! The synapse command line.

fn main() {}
