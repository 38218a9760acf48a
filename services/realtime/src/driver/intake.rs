//! What a client may send, and what of it has come: by a socket, by requests, or first by these and then by that.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::GOODBYE;
use crate::{
    close::CloseReason,
    limits::RateLimit,
    link::Link,
    socketio::{
        payload::Messages,
        polling::{Delivery, Place, Registered},
        session::new_sid,
    },
    websocket::decoder::{DecodeError, Decoder, Message},
};

/// What a client may send, and what of it has come.
#[derive(Debug)]
pub struct Intake {
    decoder: Decoder,
    rate: RateLimit,
    /// How much a client may still send that has nothing to say.
    unheard: Option<Allowance>,
    /// What requests bring, while the client polls.
    requests: Option<Box<Requests>>,
    /// What is held for a socket that took the place of requests, and has the session known.
    place: Option<Box<(Place, Registered)>>,
}

/// Bytes that may still come; `None` once more have.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: Option<usize>,
}

/// What the requests of a client that polls have brought.
#[derive(Debug)]
struct Requests {
    sid: Box<str>,
    deliveries: mpsc::Receiver<Delivery>,
    messages: Messages,
    /// Told when all messages have been read.
    answer: Option<oneshot::Sender<()>>,
    /// The session is known by its id as long as this is there.
    registered: Registered,
}

impl Intake {
    /// Messages of up to `max_message_bytes`, up to `per_second` of them (0: any number), of which
    /// `first_bytes` have come already.
    pub fn new(max_message_bytes: usize, per_second: u32, first_bytes: &[u8]) -> Self {
        let mut decoder = Decoder::new(max_message_bytes);
        decoder.extend(first_bytes);
        Self {
            decoder,
            rate: RateLimit::new(per_second, std::time::Instant::now()),
            unheard: None,
            requests: None,
            place: None,
        }
    }

    /// Nothing: what a client sends is dropped, and more than `max_bytes` of it ends the connection.
    pub fn unheard(max_bytes: usize) -> Self {
        let unheard = Some(Allowance { left: Some(max_bytes) });
        Self { unheard, ..Self::new(max_bytes, 0, &[]) }
    }

    /// The same from a client that polls, whose requests hand over what they bring.
    pub(crate) fn from_requests(
        max_message_bytes: usize,
        per_second: u32,
        sid: &str,
        deliveries: mpsc::Receiver<Delivery>,
        registered: Registered,
    ) -> Self {
        let requests =
            Requests { sid: sid.into(), deliveries, messages: Messages::default(), answer: None, registered };
        let intake = Self::new(max_message_bytes, per_second, &[]);
        Self { requests: Some(Box::new(requests)), ..intake }
    }

    /// The id of the session: the one its client's requests will give, or a new one.
    pub fn sid(&self) -> Box<str> {
        self.requests.as_ref().map_or_else(|| new_sid().into(), |requests| requests.sid.clone())
    }

    /// Takes what came from the socket.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        match &mut self.unheard {
            None => self.decoder.extend(bytes),
            Some(allowance) => allowance.left = allowance.left.and_then(|left| left.checked_sub(bytes.len())),
        }
    }

    pub(super) fn next_message(&mut self) -> Result<Option<Message>, CloseReason> {
        if self.unheard.is_some_and(|allowance| allowance.left.is_none()) {
            return Err(CloseReason::MessageTooLarge);
        }
        if let Some(requests) = &mut self.requests {
            if let Some(message) = requests.messages.next() {
                return Ok(Some(message));
            }
            self.answer();
        }
        self.decoder.next_message().map_err(|error: DecodeError| {
            tracing::debug!(%error, "a client's messages can't be read");
            error.reason()
        })
    }

    /// Whether the client may have another message read.
    pub(super) fn may_say_more(&mut self) -> bool {
        self.rate.allow(std::time::Instant::now())
    }

    /// Answers the request whose messages have been read.
    pub(super) fn answer(&mut self) {
        let answer = self.requests.as_mut().and_then(|requests| requests.answer.take());
        // A client that does not wait for the answer may do without.
        let _ = answer.map(|answer| answer.send(()));
    }

    /// How long a client that polls is given to come for the last frames. One whose own request is refused for this
    /// reason hears of it by that, and one that does not answer pings is not there.
    pub(super) fn patience(&self, reason: CloseReason) -> Option<Duration> {
        let Requests { registered, .. } = self.requests.as_deref()?;
        let hears = registered.is_polled() || !(registered.is_posted() || reason == CloseReason::PingTimeout);
        Some(if hears { GOODBYE } else { Duration::ZERO })
    }

    /// What the next request brings; for ever if there will be none.
    pub(super) async fn delivered(&mut self) -> Delivery {
        let delivery = match &mut self.requests {
            Some(requests) => requests.deliveries.recv().await,
            None => None,
        };
        match delivery {
            Some(delivery) => delivery,
            None => std::future::pending().await,
        }
    }

    pub(super) fn take(&mut self, delivery: Delivery, link: &Link) {
        match delivery {
            Delivery::Messages(messages, answer) => {
                if let Some(requests) = &mut self.requests {
                    requests.messages = messages;
                    requests.answer = Some(answer);
                }
            }
            Delivery::Socket(socket, decoder, place) => {
                self.decoder = decoder;
                // Before its requests learn of it.
                link.attach(socket);
                if let Some(mut requests) = self.requests.take() {
                    requests.registered.changed();
                    self.place = Some(Box::new((place, requests.registered)));
                }
            }
        }
    }
}
