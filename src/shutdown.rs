//! Ending in order.

/// Says to everyone who holds a clone that it is time to end; [`Shutdown::cancelled`] can be raced with any wait.
///
/// A task's owner keeps the parent and gives the task a [`Shutdown::child_token`].
pub use tokio_util::sync::CancellationToken as Shutdown;
