//! An answer that does not end: its route gets the connection itself, and sends the head of the answer first.
//!
//! The answer has gone through every layer by then, so that its head has all that they add. Nothing of the HTTP
//! connection stays in memory; the body is what the route writes, and ends with the connection.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header, response::Parts};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::oneshot};

/// Headers by which the end of the body would be known; here the end of the connection is the body's.
const OF_THE_CONNECTION: [HeaderName; 3] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// Asks for the connection of the request that this is the answer to.
///
/// The body of the answer is not sent. What the client has sent behind its request is dropped.
pub fn hand_over(response: &mut Response) -> HandedOver {
    let (sender, receiver) = oneshot::channel();
    response.extensions_mut().insert(Asked(Arc::new(Mutex::new(Some(sender)))));
    HandedOver(receiver)
}

/// A connection on its way to its route.
#[derive(Debug)]
pub struct HandedOver(oneshot::Receiver<Seized>);

/// A connection that is its route's own.
#[derive(Debug)]
pub struct Seized {
    /// The socket.
    pub socket: TcpStream,
    /// The head of the answer, to be sent before all else.
    pub head: Bytes,
}

impl Future for HandedOver {
    /// Nothing if the client has gone, or the answer was not sent over HTTP/1.
    type Output = Option<Seized>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let seized = ready!(pin!(&mut self.get_mut().0).poll(context));
        Poll::Ready(seized.ok())
    }
}

/// Waits among the extensions of an answer, which must be clonable.
#[derive(Clone)]
struct Asked(Arc<Mutex<Option<oneshot::Sender<Seized>>>>);

/// Where the service of a connection says that the connection is to be handed over.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Promised>>>);

/// Who is to get a connection, and the head of its last answer.
pub(super) struct Promised {
    sender: oneshot::Sender<Seized>,
    head: Bytes,
}

impl Slot {
    /// Gives an answer back that is to be sent as usual; one that asks for its connection is never sent, for the
    /// connection must be handed over instead.
    pub(super) async fn watch(&self, mut response: Response) -> Response {
        let Some(Asked(asked)) = response.extensions_mut().remove() else { return response };
        let Some(sender) = asked.lock().take() else { return response };
        let (parts, _) = response.into_parts();
        *self.0.lock() = Some(Promised { sender, head: head_of(&parts) });
        std::future::pending().await
    }

    /// What was promised, if something was.
    pub(super) fn take(&self) -> Option<Promised> {
        self.0.lock().take()
    }
}

impl Promised {
    /// Hands over the connection.
    pub(super) fn keep(self, io: TokioIo<TcpStream>) {
        // Who no longer wants it lets it close.
        let _ = self.sender.send(Seized { socket: io.into_inner(), head: self.head });
    }
}

fn head_of(parts: &Parts) -> Bytes {
    let mut head = Vec::with_capacity(512);
    let reason = parts.status.canonical_reason().unwrap_or_default();
    head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str()).as_bytes());
    let mut push = |name: &str, value: &HeaderValue| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    };
    for (name, value) in parts.headers.iter().filter(|(name, _)| !OF_THE_CONNECTION.contains(name)) {
        push(name.as_str(), value);
    }
    push("connection", &HeaderValue::from_static("close"));
    head.extend_from_slice(b"\r\n");
    head.into()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_head_has_all_headers_but_those_that_would_end_the_body() {
        let response = http::Response::builder()
            .header("content-type", "text/event-stream")
            .header("content-length", "0")
            .header("vary", "origin")
            .body(Body::empty())
            .unwrap();
        let head = head_of(&response.into_parts().0);
        let expected =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nvary: origin\r\nconnection: close\r\n\r\n";
        assert_eq!(head, expected);
    }
}
