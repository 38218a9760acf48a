//! Many requests to one server, on connections that are kept.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::client::TlsStream;
use tower::Service;

use super::{OutgoingError, Tls, beginning};

/// How long a connection nobody uses is kept: less than servers and what is in between keep it.
const IDLE: Duration = Duration::from_secs(20);

/// Sends requests on connections that are kept. Clones share them.
#[derive(Clone, Debug)]
pub struct Client {
    pool: legacy::Client<Connector, Full<Bytes>>,
}

impl Client {
    /// Connects within so long; without `tls` to `http://` addresses only.
    pub fn new(tls: Option<Tls>, connect_timeout: Duration) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        Self { pool: builder.build(Connector { tls, connect_timeout }) }
    }

    /// Sends a request and reads its whole answer, of up to `max_body_bytes`. How long it may take is for the caller to say;
    /// with the future the connection is given up too.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        max_body_bytes: usize,
    ) -> Result<Response<Bytes>, OutgoingError> {
        let (parts, body) = self.request(request).await?.into_parts();
        let body = Limited::new(body, max_body_bytes)
            .collect()
            .await
            .map_err(|error| OutgoingError::Body { limit: max_body_bytes, reason: error.to_string() })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    /// Sends a request whose answer is its status. Of its body only the beginning is read, up to `max_body_bytes` and for as
    /// long as `patience` at most, and whatever is wrong with it does not matter.
    pub async fn send_for_status(
        &self,
        request: Request<Full<Bytes>>,
        max_body_bytes: usize,
        patience: Duration,
    ) -> Result<Response<Bytes>, OutgoingError> {
        let (parts, body) = self.request(request).await?.into_parts();
        Ok(Response::from_parts(parts, beginning(body, max_body_bytes, patience).await))
    }

    async fn request(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, OutgoingError> {
        self.pool.request(request).await.map_err(|error| OutgoingError::Request(causes(&error)))
    }
}

/// What an error says, and what stands behind it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Makes connections.
#[derive(Clone, Debug)]
struct Connector {
    tls: Option<Tls>,
    connect_timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let limit = connector.connect_timeout;
            timeout(limit, connector.connect(&uri)).await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}")))
            })
        })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> io::Result<Stream> {
        let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{reason}: {uri}"));
        let host =
            uri.host().ok_or_else(|| invalid("no host"))?.trim_start_matches('[').trim_end_matches(']');
        let is_encrypted = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        if !is_encrypted {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        }
        let tls = self.tls.as_ref().ok_or_else(|| invalid("not prepared for https"))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid("no name of a server"))?;
        Ok(Stream::Encrypted(TokioIo::new(Box::new(tls.0.connect(name, tcp).await?))))
    }
}

/// A connection.
#[derive(Debug)]
enum Stream {
    Plain(TokioIo<TcpStream>),
    Encrypted(TokioIo<Box<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// The same call on whichever it is.
macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Self::Plain($inner) => $call,
            Self::Encrypted($inner) => $call,
        }
    };
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, inner => Pin::new(inner).poll_read(cx, into))
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, inner => Pin::new(inner).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(inner) => inner.is_write_vectored(),
            Self::Encrypted(inner) => inner.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, inner => Pin::new(inner).poll_write_vectored(cx, bytes))
    }
}
