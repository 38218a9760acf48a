//! The polling transport: requests that bring messages, and requests that wait for some.
//!
//! A session begins with its connection's task, as over WebSocket, but its [`Link`] has no socket. A `GET`
//! [takes](Polled::poll) what waits there, or waits itself; a `POST` [hands](Polled::post) its messages to the task and is
//! answered when they have been read. A WebSocket that proves itself by a [probe](Polled::upgrade) becomes the link's
//! socket; the task and all that waits stay as they are.
//!
//! Invariant: at most one `GET`, one `POST` and one probe of a session at a time ([`Turn`]), so that messages keep their
//! order in both directions.

use std::{
    any::Any,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    close::CloseReason,
    driver::turn_away,
    link::Link,
    socketio::{
        engine::{self, HandshakeError},
        payload::{self, Messages},
    },
    websocket::{
        decoder::{Decoder, Message},
        frame,
        handshake::Opened,
    },
};

/// Packets of one payload: python-engineio refuses more.
const MAX_PACKETS: usize = 16;
/// How long a probe may take: while it runs, requests come back ten times a second.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a request waits while a probe runs: the client is to stop polling before it changes transports.
const WHILE_PROBED: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 4 << 10;

/// What is held as long as a socket is.
pub(crate) type Place = Box<dyn Any + Send>;

/// What a request hands to the task of its session.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// Messages, and what to tell when they have been read.
    Messages(Messages, oneshot::Sender<()>),
    /// The socket that takes the place of polling, and what came on it.
    Socket(TcpStream, Decoder, Place),
}

/// The sessions that began by polling, by their ids. An id is known to its client alone, and stands for it.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_id: Mutex<HashMap<Box<str>, Known>>,
}

/// A session that is there.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// It polls.
    Polls(Arc<Polled>),
    /// It has a socket by now.
    Changed,
}

/// A session that polls, for its requests.
#[derive(Debug)]
pub struct Polled {
    link: Arc<Link>,
    deliveries: mpsc::Sender<Delivery>,
    /// The session is over, or polls no longer.
    ended: CancellationToken,
    polling: AtomicBool,
    posting: AtomicBool,
    probing: AtomicBool,
    /// The client has ended polling; its task is about to take the socket.
    changing: AtomicBool,
}

/// A session is known as long as this is there.
#[derive(Debug)]
pub(crate) struct Registered {
    sessions: Arc<Sessions>,
    id: Box<str>,
    /// None once it has a socket.
    polled: Option<Arc<Polled>>,
}

impl Sessions {
    /// Adds a session. It is known until the second is dropped.
    pub(crate) fn register(
        self: &Arc<Self>,
        id: &str,
        link: Arc<Link>,
        deliveries: mpsc::Sender<Delivery>,
    ) -> (Arc<Polled>, Registered) {
        let polled = Arc::new(Polled {
            link,
            deliveries,
            ended: CancellationToken::new(),
            polling: AtomicBool::new(false),
            posting: AtomicBool::new(false),
            probing: AtomicBool::new(false),
            changing: AtomicBool::new(false),
        });
        self.by_id.lock().insert(id.into(), Known::Polls(polled.clone()));
        (polled.clone(), Registered { sessions: self.clone(), id: id.into(), polled: Some(polled) })
    }

    /// The session of this id.
    pub(crate) fn find(&self, id: &str) -> Option<Known> {
        self.by_id.lock().get(id).cloned()
    }
}

impl Registered {
    /// Its requests end: it has a socket.
    pub(crate) fn changed(&mut self) {
        if let Some(polled) = self.polled.take() {
            self.sessions.by_id.lock().insert(self.id.clone(), Known::Changed);
            polled.ended.cancel();
        }
    }

    /// Whether a `GET` waits.
    pub(crate) fn is_polled(&self) -> bool {
        self.polled.as_ref().is_some_and(|polled| polled.polling.load(Ordering::Acquire))
    }

    /// Whether a `POST` waits to be answered.
    pub(crate) fn is_posted(&self) -> bool {
        self.polled.as_ref().is_some_and(|polled| polled.posting.load(Ordering::Acquire))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.sessions.by_id.lock().remove(&self.id);
        if let Some(polled) = self.polled.take() {
            polled.ended.cancel();
        }
    }
}

impl Polled {
    /// Answers a `GET`: the payload of what waits, as soon as something does.
    ///
    /// Dropped before it is done, the client has gone while it waited, and with it the session.
    ///
    /// # Errors
    ///
    /// Where another `GET` waits already, which ends the session, or where the session has ended.
    pub async fn poll(&self) -> Result<Vec<u8>, HandshakeError> {
        if self.changing.load(Ordering::Acquire) {
            return Err(HandshakeError::BadRequest);
        }
        let _turn = self.turn(&self.polling)?;
        let waiting = Waiting { link: &self.link, is_answered: false };
        let answer = self.next_payload().await;
        waiting.answered();
        answer
    }

    async fn next_payload(&self) -> Result<Vec<u8>, HandshakeError> {
        loop {
            let changed = self.link.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let taken = self.link.take(MAX_PACKETS);
            if !taken.is_empty() {
                return Ok(payload::encode(&taken));
            }
            if !self.link.is_polled() {
                return Ok(engine::NOOP.into());
            }
            let probing = self.probing.load(Ordering::Acquire);
            tokio::select! {
                biased;
                () = changed => {}
                () = self.ended.cancelled() => return self.last_payload(),
                () = sleep(WHILE_PROBED), if probing => return Ok(engine::NOOP.into()),
            }
        }
    }

    /// What was sent just before the session ended.
    fn last_payload(&self) -> Result<Vec<u8>, HandshakeError> {
        match self.link.take(MAX_PACKETS) {
            taken if !taken.is_empty() => Ok(payload::encode(&taken)),
            _ if !self.link.is_polled() => Ok(engine::NOOP.into()),
            _ => Err(HandshakeError::UnknownSession),
        }
    }

    /// Takes the body of a `POST`; comes back when its messages have been read.
    ///
    /// # Errors
    ///
    /// Where it is not of the protocol, or comes while another is being read: both end the session.
    pub async fn post(&self, body: Bytes) -> Result<(), HandshakeError> {
        let _turn = self.turn(&self.posting)?;
        let Some(messages) = payload::decode(body) else {
            self.end(CloseReason::ProtocolError).await;
            return Err(HandshakeError::BadRequest);
        };
        let (answer, answered) = oneshot::channel();
        self.deliver(Delivery::Messages(messages, answer)).await?;
        answered.await.map_err(|_| HandshakeError::BadRequest)
    }

    /// A body that is too large for the session has come, and ends it.
    pub async fn refuse_body(&self) {
        let _turn = Turn::take(&self.posting);
        self.end(CloseReason::MessageTooLarge).await;
    }

    /// Ends the session; comes back when it has, so that the answer to the request is the last of it.
    async fn end(&self, reason: CloseReason) {
        self.link.close(reason);
        self.ended.cancelled().await;
    }

    /// Has a WebSocket take the place of polling, once the client has proved by a probe that it gets through. Where it
    /// does not, the session goes on polling.
    ///
    /// Dropped before it is done, for example because it takes too long, the session goes on polling.
    pub(crate) async fn upgrade(&self, opened: Opened, max_message_bytes: usize, place: Place) {
        let Some(_turn) = Turn::take(&self.probing) else { return turn_away(opened.socket).await };
        let mut decoder = Decoder::new(max_message_bytes);
        decoder.extend(&opened.first_bytes);
        let mut socket = opened.socket;
        let probe = timeout(PROBE_PATIENCE, self.probe(&mut socket, &mut decoder));
        if !matches!(probe.await, Ok(Some(()))) {
            return turn_away(socket).await;
        }
        self.changing.store(true, Ordering::Release);
        // A session that has ended meanwhile takes its socket with it.
        let _ = self.deliver(Delivery::Socket(socket, decoder, place)).await;
    }

    /// `2probe` is answered by `3probe`; `5` then ends polling.
    async fn probe(&self, socket: &mut TcpStream, decoder: &mut Decoder) -> Option<()> {
        let mut is_probed = false;
        loop {
            match decoder.next_message().ok()? {
                None => read_some(socket, decoder).await?,
                Some(Message::Text(text)) => match engine::Packet::parse(&text)? {
                    engine::Packet::Ping(payload) if !is_probed => {
                        socket.write_all(&frame::text(&engine::pong(payload))).await.ok()?;
                        is_probed = true;
                        // A request that waits is to come back, so that the client can stop.
                        self.link.tell_poll();
                    }
                    engine::Packet::Upgrade if is_probed => return Some(()),
                    _ => return None,
                },
                Some(_) => return None,
            }
        }
    }

    async fn deliver(&self, delivery: Delivery) -> Result<(), HandshakeError> {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => Err(HandshakeError::UnknownSession),
            sent = self.deliveries.send(delivery) => sent.map_err(|_| HandshakeError::UnknownSession),
        }
    }

    fn turn<'a>(&self, taken: &'a AtomicBool) -> Result<Turn<'a>, HandshakeError> {
        Turn::take(taken).ok_or_else(|| {
            tracing::debug!("a client sent a request while another of its kind was running");
            self.link.close(CloseReason::ProtocolError);
            HandshakeError::BadRequest
        })
    }
}

/// The right to be the only request of its kind; given back when dropped.
struct Turn<'a> {
    taken: &'a AtomicBool,
}

impl<'a> Turn<'a> {
    fn take(taken: &'a AtomicBool) -> Option<Self> {
        (!taken.swap(true, Ordering::AcqRel)).then_some(Self { taken })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.taken.store(false, Ordering::Release);
    }
}

/// A `GET` that waits; its client has gone if it is dropped before it is answered.
struct Waiting<'a> {
    link: &'a Link,
    is_answered: bool,
}

impl Waiting<'_> {
    fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.link.break_off();
        }
    }
}

async fn read_some(socket: &TcpStream, decoder: &mut Decoder) -> Option<()> {
    socket.readable().await.ok()?;
    let mut buffer = [0; READ_BYTES];
    match socket.try_read(&mut buffer) {
        Ok(0) => None,
        Ok(length) => {
            decoder.extend(&buffer[..length]);
            Some(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(()),
        Err(_) => None,
    }
}
