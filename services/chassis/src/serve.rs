//! Serving HTTP.

use std::net::SocketAddr;

/// The other end of a connection; an extension of each of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address of the socket's other end, which may be a proxy's.
    pub address: SocketAddr,
}

impl Peer {
    #[cfg(test)]
    pub(crate) fn for_tests(address: SocketAddr) -> Self {
        Self { address }
    }
}
