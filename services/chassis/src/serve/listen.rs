//! Taking a port.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// How many connections may wait to be accepted: after a restart all clients come back at once.
const BACKLOG: u32 = 4096;

/// Why a port was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody has it.
    #[error("{address} is taken by another process; end that or set {variable} to another port")]
    Taken {
        /// Host and port.
        address: SocketAddr,
        /// The variable that sets the port.
        variable: &'static str,
    },
    /// It is not for us.
    #[error("no permission to listen on {address}; set {variable} to a port above 1023")]
    Forbidden {
        /// Host and port.
        address: SocketAddr,
        /// The variable that sets the port.
        variable: &'static str,
    },
    /// `HOST` is not a name or address of this machine.
    #[error("can't listen on {host}: {source}; HOST must be an address or name of this machine")]
    Unusable {
        /// As configured.
        host: String,
        /// Why.
        source: io::Error,
    },
}

/// Listens on the first address of `host` that can be had; port 0 takes a free one.
///
/// `variable` is the one that sets the port, for the message.
pub async fn listen(host: &str, port: u16, variable: &'static str) -> Result<TcpListener, ListenError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let unusable = |source| ListenError::Unusable { host: host.to_owned(), source };
    let addresses = lookup_host((bare, port)).await.map_err(unusable)?;
    let mut last = unusable(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for address in addresses {
        match bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                last = match error.kind() {
                    io::ErrorKind::AddrInUse => ListenError::Taken { address, variable },
                    io::ErrorKind::PermissionDenied => ListenError::Forbidden { address, variable },
                    _ => unusable(error),
                }
            }
        }
    }
    Err(last)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // After a restart, connections of the process before may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
