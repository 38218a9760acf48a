//! A way to Redis by which replies come in large pieces.
//!
//! How Redis cuts its replies is chance, and each piece costs the reader something; so that counts are the same each
//! time, replies wait here until no more come.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// Redis has answered all it was asked when it is silent for so long.
const SILENCE: Duration = Duration::from_millis(20);

/// Listens on a loopback port for connections to the Redis at this address.
pub(crate) fn to(redis: String) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> io::Result<()> {
        loop {
            let (client, _) = listener.accept()?;
            let server = TcpStream::connect(&redis)?;
            let (mut requests, mut sink) = (client.try_clone()?, server.try_clone()?);
            thread::spawn(move || io::copy(&mut requests, &mut sink));
            thread::spawn(move || gather(server, client));
        }
    });
    Ok(address)
}

fn gather(mut server: TcpStream, mut client: TcpStream) -> io::Result<()> {
    let (mut replies, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    client.set_nodelay(true)?;
    loop {
        server.set_read_timeout((!replies.is_empty()).then_some(SILENCE))?;
        match server.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(len) => replies.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                client.write_all(&replies)?;
                replies.clear();
            }
            Err(error) => return Err(error),
        }
    }
}
