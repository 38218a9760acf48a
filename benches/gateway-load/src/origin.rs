//! Addresses that connections come from.
//!
//! From a single one the kernel runs out of ports: those of connections that ended are not free for a minute, and it
//! takes the longer to find one the fewer there are, which would be measured.

use std::{
    cell::Cell,
    io, mem,
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsRawFd as _,
};

use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// Connections from one address.
const PER_ADDRESS: u32 = 100;
/// Addresses that are used in turn; all of 127.0.0.0/8 is this machine.
const ADDRESSES: u32 = 1 << 16;

thread_local! {
    static CONNECTIONS: Cell<u32> = const { Cell::new(0) };
}

/// Connects; over loopback each hundredth time from another address.
pub(crate) async fn connect(address: &str) -> io::Result<TcpStream> {
    let address = lookup_host(address).await?.next().ok_or(io::ErrorKind::NotFound)?;
    let SocketAddr::V4(v4) = address else { return TcpStream::connect(address).await };
    if !v4.ip().is_loopback() {
        return TcpStream::connect(address).await;
    }
    let count = CONNECTIONS.replace(CONNECTIONS.get().wrapping_add(1));
    let origin = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + count / PER_ADDRESS % ADDRESSES);
    let socket = TcpSocket::new_v4()?;
    leave_port_open(&socket)?;
    socket.bind((origin, 0).into())?;
    socket.connect(address).await
}

/// Has `connect` choose the port: one is free that another connection to elsewhere has.
fn leave_port_open(socket: &TcpSocket) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the option is read from a variable of the length given, which lives until the call returns.
    #[allow(unsafe_code, reason = "none of our crates sets this option")]
    let status = unsafe {
        #[allow(clippy::cast_possible_truncation, reason = "four bytes")]
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            mem::size_of_val(&yes) as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
