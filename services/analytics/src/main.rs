//! The analytics service.

fn main() {}
