//! The log and the metrics of a service.

use tracing_subscriber::EnvFilter;

/// Whether this is a well-formed value of `RUST_LOG`.
pub(crate) fn is_filter(text: &str) -> bool {
    EnvFilter::builder().parse(text).is_ok()
}
