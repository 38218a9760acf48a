//! Serving HTTP/1.1 over plain TCP, with limits on all that a client can take: connections, bytes and time.
//!
//! A route that upgrades its connection gets the very socket back: `hyper::upgrade::Upgraded`
//! downcasts to `TokioIo<TcpStream>`, and of the HTTP connection nothing stays in memory. So does one whose answer
//! does not end: [`hand_over`].

use std::{
    convert::Infallible,
    future::{Future as _, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{counter, gauge};
use socket2::{SockRef, TcpKeepalive};
use synapse_rs::{backoff::Backoff, shutdown::Shutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;
use tower::Service as _;
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::{debug, info, warn};

mod handover;
mod listen;

pub use handover::{HandedOver, Seized, hand_over};
pub use listen::{ListenError, listen};

/// What a client is told when there is no room for its connection.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 90\r\n\r\n\
    {\"error\":{\"code\":\"too_many_connections\",\"message\":\"too many connections; try again soon\"}}";

/// The other end of a connection; an extension of each of its requests.
///
/// Who keeps an upgraded connection keeps a clone of this as well: with the last one the connection
/// stops counting towards the limit.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address of the socket's other end, which may be a proxy's.
    pub address: SocketAddr,
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Peer {
    /// A peer that counts nowhere, for requests that were not received from a socket.
    pub fn uncounted(address: SocketAddr) -> Self {
        Self { address, _room: None }
    }
}

/// How much a client can take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once, upgraded ones included.
    pub connections: usize,
    /// Time to send a whole request head, and to stay idle between two requests.
    pub head_timeout: Duration,
    /// Bytes of a request head; beyond it 431.
    pub head_bytes: usize,
    /// Header fields of a request; beyond it 431.
    pub head_fields: usize,
    /// Time between two pieces of a request body.
    pub body_stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            head_timeout: Duration::from_secs(10),
            head_bytes: 16 << 10,
            head_fields: 64,
            body_stall: Duration::from_secs(30),
        }
    }
}

/// Serves until `shutdown`, then lets requests under way finish within `grace`.
///
/// At the end no connection of HTTP is open. Upgraded ones are their owners' to close.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
    grace: Duration,
) {
    let server = Server {
        router: router.layer(RequestBodyTimeoutLayer::new(limits.body_stall)),
        http: http(&limits),
        room: Arc::new(Semaphore::new(limits.connections)),
        shutdown,
        cut: Shutdown::new(),
        connections: TaskTracker::new(),
    };
    server.accept(&listener).await;
    // Closed now: who comes later is refused by the system and tries another replica.
    drop(listener);
    server.connections.close();
    if timeout(grace, server.connections.wait()).await.is_err() {
        info!(connections = server.connections.len(), ?grace, "connections were cut at the end of the grace");
        server.cut.cancel();
        server.connections.wait().await;
    }
}

fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.head_fields);
    http
}

struct Server {
    router: Router,
    http: http1::Builder,
    room: Arc<Semaphore>,
    shutdown: Shutdown,
    /// The grace is over.
    cut: Shutdown,
    connections: TaskTracker,
}

impl Server {
    async fn accept(&self, listener: &TcpListener) {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    backoff.reset();
                    self.admit(stream, address);
                }
                Err(error) if is_of_one_connection(&error) => debug!(%error, "a connection was gone at once"),
                Err(error) => {
                    warn!(%error, "connections can't be accepted; trying again (a higher limit of open files may help)");
                    tokio::select! {
                        () = sleep(backoff.next_delay()) => {}
                        () = self.shutdown.cancelled() => return,
                    }
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            counter!("http_connections_refused_total").increment(1);
            // The send buffer of a new socket has room for this; a client that is gone needs no answer.
            let _ = SockRef::from(&stream).send(BUSY);
            let _ = SockRef::from(&stream).shutdown(std::net::Shutdown::Write);
            return;
        };
        if let Err(error) = prepare(&stream) {
            debug!(%error, "a connection was gone at once");
            return;
        }
        counter!("http_connections_total").increment(1);
        let peer = Peer { address, _room: Some(Arc::new(room)) };
        let (http, router) = (self.http.clone(), self.router.clone());
        let (shutdown, cut) = (self.shutdown.clone(), self.cut.clone());
        self.connections.spawn(async move {
            let gauge = Open::count();
            tokio::select! {
                () = converse(http, stream, router, peer, shutdown) => {}
                () = cut.cancelled() => {}
            }
            drop(gauge);
        });
    }
}

/// Exchanges requests and responses until the connection ends, is upgraded or handed over, or `shutdown` finds it idle.
async fn converse(http: http1::Builder, stream: TcpStream, router: Router, peer: Peer, shutdown: Shutdown) {
    let slot = handover::Slot::default();
    let watching = slot.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        // A router is always ready.
        let (answer, slot) = (router.clone().call(request), watching.clone());
        async move {
            let response = answer.await.map_err(|never: Infallible| never)?;
            Ok::<_, Infallible>(slot.watch(response).await)
        }
    });
    let mut connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut leaving = std::pin::pin!(shutdown.cancelled());
    let mut is_leaving = false;
    let ended = poll_fn(|context| {
        if !is_leaving && leaving.as_mut().poll(context).is_ready() {
            is_leaving = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        let ended = Pin::new(&mut connection).poll(context);
        // The service is polled within the connection, so that what it promises is seen at once.
        match slot.take() {
            Some(promised) => Poll::Ready(Ok(Some(promised))),
            None => ended.map_ok(|()| None),
        }
    })
    .await;
    match ended {
        Ok(None) => {}
        Ok(Some(promised)) => {
            if let Some(parts) = connection.into_parts() {
                promised.keep(parts.io);
            }
        }
        Err(error) => debug!(%error, "a connection ended early"),
    }
}

/// Small answers leave at once, and a peer that vanished is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_mins(1)).with_interval(Duration::from_secs(20));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Errors of `accept` that say nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// One open connection in the metrics, however it ends.
struct Open(());

impl Open {
    fn count() -> Self {
        gauge!("http_connections").increment(1);
        Self(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!("http_connections").decrement(1);
    }
}

#[cfg(test)]
mod tests;
