//! A WebSocket as a client has it; messages are looked at as they stand in the buffer.

use std::{
    cell::RefCell,
    error::Error,
    io::{self, ErrorKind},
    time::Duration,
};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::origin;

/// How long a server may take to answer what belongs to connecting; as the stock client.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// Read at a time.
const READ_BYTES: usize = 256 * 1024;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Instead of a length: two bytes of it follow.
const LONG: u8 = 0x7e;
const TEXT: u8 = 0x1;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

thread_local! {
    /// What is read, by whichever connection; only what is left over is a connection's own.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(READ_BYTES));
}

/// One connection.
pub(crate) struct Wire {
    socket: TcpStream,
    /// What has been read and not looked at, in the end the beginning of a frame.
    rest: Vec<u8>,
    /// What its pings are to be answered with.
    pongs: Vec<u8>,
}

impl Wire {
    /// Connects and changes to WebSocket at this path.
    pub(crate) async fn open(address: &str, path: &str) -> Result<Self, Box<dyn Error>> {
        let mut socket = origin::connect(address).await?;
        socket.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        let mut wire = Self { socket, rest: Vec::new(), pongs: Vec::new() };
        timeout(CONNECT_PATIENCE, wire.upgraded()).await.map_err(|_| "the handshake was not answered")??;
        Ok(wire)
    }

    async fn upgraded(&mut self) -> Result<(), Box<dyn Error>> {
        let end = loop {
            if let Some(end) = memmem::find(&self.rest, b"\r\n\r\n") {
                break end + 4;
            }
            if self.socket.read_buf(&mut self.rest).await? == 0 {
                return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
            }
        };
        if !self.rest.starts_with(b"HTTP/1.1 101") {
            return Err(format!("no upgrade: {}", String::from_utf8_lossy(&self.rest)).into());
        }
        self.rest.drain(..end);
        Ok(())
    }

    /// Reads, and drops what comes, up to the message for which `look` gives something.
    pub(crate) async fn wait_for<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T, Box<dyn Error>> {
        let found = async {
            loop {
                if let Some(found) = self.read(&mut look).await? {
                    return Ok::<_, io::Error>(found);
                }
            }
        };
        match timeout(CONNECT_PATIENCE, found).await {
            Ok(found) => found.map_err(|error| format!("waiting for {what}: {error}").into()),
            Err(_) => Err(format!("the server did not send {what}").into()),
        }
    }

    /// Reads once and has `look` see each message, up to one for which it gives something. Pings are answered.
    pub(crate) async fn read<T>(
        &mut self,
        mut look: impl FnMut(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let rest = std::mem::take(&mut self.rest);
        let mut found = self.walk(&rest, &mut look);
        if self.rest.len() == rest.len() {
            found = self.read_on(&mut look).await?;
        }
        if !self.pongs.is_empty() {
            let pongs = std::mem::take(&mut self.pongs);
            self.socket.write_all(&pongs).await?;
        }
        Ok(found)
    }

    /// Reads what follows the rest, as soon as there is something.
    async fn read_on<T>(&mut self, look: &mut impl FnMut(&[u8]) -> Option<T>) -> io::Result<Option<T>> {
        loop {
            self.socket.readable().await?;
            let read = BUFFER.with_borrow_mut(|buffer| {
                buffer.clear();
                buffer.extend_from_slice(&self.rest);
                match self.socket.try_read_buf(buffer) {
                    Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                    Ok(_) => Ok(self.walk(buffer, look)),
                    Err(error) => Err(error),
                }
            });
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    /// Looks at the frames in `bytes` and keeps what is left of it.
    fn walk<T>(&mut self, bytes: &[u8], look: &mut impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let (mut done, mut found) = (0, None);
        while let (None, Some(frame)) = (&found, Frame::first(&bytes[done..])) {
            let payload = &bytes[done + frame.start..done + frame.end];
            match (frame.opcode, payload) {
                // Of WebSocket, and of Engine.IO.
                (PING, _) => push_frame(&mut self.pongs, PONG, payload),
                (TEXT, b"2") => push_frame(&mut self.pongs, TEXT, b"3"),
                (TEXT, _) => found = look(payload),
                _ => {}
            }
            done += frame.end;
        }
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[done..]);
        found
    }

    /// Sends a text message.
    pub(crate) async fn send(&mut self, text: &str) -> io::Result<()> {
        let mut frame = Vec::with_capacity(text.len() + 8);
        push_frame(&mut frame, TEXT, text.as_bytes());
        self.socket.write_all(&frame).await
    }
}

/// Clients mask, here with zeros.
fn push_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(FINAL | opcode);
    match u8::try_from(payload.len()) {
        Ok(short) if short < LONG => out.push(MASKED | short),
        _ => {
            let length = u16::try_from(payload.len()).expect("what a client here says is short");
            out.push(MASKED | LONG);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Where a frame of the server's stands in the buffer.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    start: usize,
    end: usize,
}

impl Frame {
    /// The first frame, if all of it is there. Servers don't mask.
    fn first(bytes: &[u8]) -> Option<Self> {
        let (start, length) = match *bytes.get(1)? {
            LONG => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
            short => (2, usize::from(short)),
        };
        (bytes.len() >= start + length).then_some(Self { opcode: bytes[0] & 0xf, start, end: start + length })
    }
}
