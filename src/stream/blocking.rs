use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    StreamError, connection::RESPONSE_TIMEOUT, entry::Reply, resp, tape::Tape, tape::Token, wire::Wire,
};
use crate::config::RedisSettings;

/// So much room there is for each read from the socket.
const READ_BYTES: usize = 64 * 1024;

/// A connection of one reader: one blocking command at a time, and nothing else on it.
///
/// It reads the protocol itself: what a reader of entries costs is mostly the making of values.
#[derive(Debug)]
pub struct BlockingConnection {
    wire: Wire,
    address: String,
    /// What has arrived of the reply that is waited for; as large as the last one was.
    buffer: Vec<u8>,
}

impl BlockingConnection {
    /// Connects and authenticates.
    pub async fn open(settings: &RedisSettings) -> Result<Self, StreamError> {
        let mut wire = Wire::open(settings).await?;
        wire.greet(settings).await?;
        Ok(Self { wire, address: settings.to_string(), buffer: Vec::new() })
    }

    /// The byte stream, for who speaks for itself; what it asks it reads the answers to.
    pub(super) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Sends a command that may take `block` and a little more; `what` names it in errors.
    ///
    /// Cancelling the future leaves the reply on its way: drop the connection then.
    pub(super) async fn query(
        &mut self,
        request: &[String],
        block: Duration,
        what: &str,
    ) -> Result<Arc<Reply>, StreamError> {
        let [reply] = self.query_each([request], block, what).await?;
        Ok(reply)
    }

    /// The same for several commands in one go, each done as soon as the one before it is.
    pub(super) async fn query_each<const N: usize>(
        &mut self,
        requests: [&[String]; N],
        block: Duration,
        what: &str,
    ) -> Result<[Arc<Reply>; N], StreamError> {
        let limit = block + RESPONSE_TIMEOUT;
        let unreachable = |reason: String| StreamError::Unreachable { address: self.address.clone(), reason };
        let replies = match timeout(limit, exchange(&mut self.wire, &mut self.buffer, requests)).await {
            Ok(Ok(replies)) => replies,
            Ok(Err(error)) => return Err(unreachable(format!("{what}: {error}"))),
            Err(_) => return Err(unreachable(format!("{what} was not answered within {limit:?}"))),
        };
        for reply in &replies {
            if let Some(Token::Error { .. }) = reply.tokens.first() {
                let answer = String::from_utf8_lossy(reply.text(0));
                return Err(StreamError::answered(&answer, &self.address, what));
            }
        }
        Ok(replies)
    }
}

async fn exchange<const N: usize>(
    wire: &mut Wire,
    buffer: &mut Vec<u8>,
    requests: [&[String]; N],
) -> io::Result<[Arc<Reply>; N]> {
    wire.write_all(&requests.map(resp::request).concat()).await?;
    wire.flush().await?;
    buffer.clear();
    let mut replies = [const { None }; N];
    for reply in &mut replies {
        *reply = Some(Arc::new(next_reply(wire, buffer).await?));
    }
    if !buffer.is_empty() {
        return Err(io::Error::other("the server sent more than the reply"));
    }
    Ok(replies.map(|reply| reply.expect("each was read")))
}

/// Reads a whole reply, and leaves in `buffer` what came behind it.
async fn next_reply(wire: &mut Wire, buffer: &mut Vec<u8>) -> io::Result<Reply> {
    let mut tape = Tape::default();
    while !tape.advance(buffer).map_err(io::Error::other)? {
        buffer.reserve(READ_BYTES);
        if wire.read_buf(buffer).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"));
        }
    }
    let mut next = Vec::with_capacity(buffer.len().min(1 << 20));
    next.extend_from_slice(&buffer[tape.len()..]);
    buffer.truncate(tape.len());
    Ok(Reply { bytes: std::mem::replace(buffer, next), tokens: tape.tokens })
}
