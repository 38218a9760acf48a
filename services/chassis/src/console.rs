//! What people at a terminal read and write: figures, moments, how far long work is, and Ctrl-C in between.

pub mod human;
mod interrupt;
pub mod moment;
mod progress;

pub use interrupt::BetweenPieces;
pub use progress::Progress;
