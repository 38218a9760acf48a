//! One connection; frames are counted as they stand in the buffer.

use std::{
    error::Error,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{append::SendTimes, report::Received};

const BUFFER_BYTES: usize = 64 * 1024;
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const TEXT: u8 = 0x1;

/// What a client waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) per_client: u64,
    pub(crate) patience: Duration,
}

/// A Socket.IO client on a WebSocket of its own.
pub(crate) struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects, joins the default namespace, and becomes this user if there is one.
    pub(crate) async fn connect(address: &str, user: Option<&str>) -> Result<Self, Box<dyn Error>> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let mut client = Self { socket, buffer: Vec::with_capacity(1024) };
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.socket.write_all(request.as_bytes()).await?;
        client
            .wait_for("the handshake", |seen| {
                memmem::find(seen, b"\r\n\r\n").map(|end| (end + 4, seen.starts_with(b"HTTP/1.1 101")))
            })
            .await?;
        client.send("40").await?;
        client.wait_for_packet("connection_confirmed").await?;
        if let Some(user) = user {
            client.send(&format!("420[\"join_user_room\",\"{user}\"]")).await?;
            client.wait_for_packet("430[").await?;
        }
        Ok(client)
    }

    async fn wait_for_packet(&mut self, part: &str) -> Result<(), Box<dyn Error>> {
        self.wait_for(part, |seen| {
            let frame = Frame::first(seen)?;
            Some((frame.end, memmem::find(frame.payload(seen), part.as_bytes()).is_some()))
        })
        .await
    }

    /// Reads and drops what `look` measures until it is the thing waited for.
    async fn wait_for(
        &mut self,
        what: &str,
        look: impl Fn(&[u8]) -> Option<(usize, bool)>,
    ) -> Result<(), Box<dyn Error>> {
        loop {
            while let Some((end, found)) = look(&self.buffer) {
                self.buffer.drain(..end);
                if found {
                    return Ok(());
                }
            }
            let read = timeout(CONNECT_PATIENCE, self.socket.read_buf(&mut self.buffer)).await;
            if !matches!(read, Ok(Ok(length)) if length > 0) {
                let seen = String::from_utf8_lossy(&self.buffer).into_owned();
                return Err(format!("the server did not answer with {what}: {read:?} after {seen:?}").into());
            }
        }
    }

    /// Sends one text frame; clients mask, here with zeros.
    async fn send(&mut self, text: &str) -> io::Result<()> {
        assert!(text.len() < 126, "a short packet");
        #[allow(clippy::cast_possible_truncation, reason = "below 126")]
        let mut frame = vec![0x80 | TEXT, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.socket.write_all(&frame).await
    }

    /// Counts events until all have come, or nothing comes any more.
    pub(crate) async fn receive(mut self, expected: Expected, sent: Rc<SendTimes>) -> io::Result<Received> {
        let mut received = Received::default();
        let mut next = 0;
        self.buffer.reserve(BUFFER_BYTES);
        while received.events < expected.per_client {
            match timeout(expected.patience, self.socket.read_buf(&mut self.buffer)).await {
                Ok(Ok(1..)) => {}
                Ok(Err(error)) if error.kind() != io::ErrorKind::ConnectionReset => return Err(error),
                _ => break,
            }
            received.last = Some(Instant::now());
            let mut done = 0;
            let mut pinged = false;
            while let Some(frame) = Frame::first(&self.buffer[done..]) {
                let payload = frame.payload(&self.buffer[done..]);
                match payload {
                    [b'4', b'2', ..] => {
                        let number = number_in(payload);
                        received.events += 1;
                        received.doubled += u64::from(number < next);
                        next = number + 1;
                        received.latencies.extend(sent.age(number));
                    }
                    [b'2'] => pinged = true,
                    _ => {}
                }
                done += frame.end;
            }
            self.buffer.drain(..done);
            if pinged {
                self.send("3").await?;
            }
        }
        Ok(received)
    }
}

/// Where a frame of the server's stands in the buffer.
#[derive(Clone, Copy, Debug)]
struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    /// The first frame, if all of it is there. Servers don't mask.
    fn first(bytes: &[u8]) -> Option<Self> {
        let (start, length) = match *bytes.get(1)? {
            126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
            short => (2, usize::from(short)),
        };
        (bytes.len() >= start + length).then_some(Self { start, end: start + length })
    }

    fn payload(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start..self.end]
    }
}

/// The event's number, from its `request_id`.
fn number_in(payload: &[u8]) -> u64 {
    const BEFORE: &[u8] = b"\"request_id\":\"";
    let Some(at) = memmem::find(payload, BEFORE) else { return 0 };
    let digits = payload[at + BEFORE.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
