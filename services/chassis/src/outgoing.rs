//! Requests to others: one exchange on a connection of the caller's own making, or many on connections that are kept.
//!
//! Built on hyper and rustls, which serve and connect to Redis anyway: a whole HTTP client with proxies, cookies and
//! redirects would be the largest dependency of a service, for a few small requests. Redirects are answers like any
//! other.

mod client;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

pub use client::Client;

/// How we call ourselves (`User-Agent`).
pub const USER_AGENT: &str = concat!("synapse/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// Certificates of this machine.
    #[error(
        "no certificate authorities found on this machine ({0}): install ca-certificates, or name a file of them by \
         SSL_CERT_FILE"
    )]
    Authorities(String),
    /// Something that is not HTTP.
    #[error("the exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
    /// No connection, or one that broke.
    #[error("{0}")]
    Request(String),
    /// It did not come in time.
    #[error("there was no answer in time")]
    TooLate,
    /// Too long, or cut off.
    #[error("the answer's body is cut off or longer than {limit} bytes: {reason}")]
    Body {
        /// How long it may be.
        limit: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Encrypts connections to servers that the certificate authorities of this machine vouch for.
#[derive(Clone)]
pub struct Tls(pub TlsConnector);

impl Tls {
    /// Trusts the certificate authorities of this machine.
    pub fn new() -> Result<Self, OutgoingError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            let errors = if errors.is_empty() { "none are installed".to_owned() } else { errors.join("; ") };
            return Err(OutgoingError::Authorities(errors));
        }
        Self::trusting(roots)
    }

    /// Trusts these.
    pub fn trusting(roots: RootCertStore) -> Result<Self, OutgoingError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| OutgoingError::Authorities(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Sends a request and reads its whole answer, of up to `max_body_bytes`.
pub async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    max_body_bytes: usize,
) -> Result<Response<Bytes>, OutgoingError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let whole = async |body| {
        let body = Limited::new(body, max_body_bytes).collect().await;
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| OutgoingError::Body {
            limit: max_body_bytes,
            reason: error.to_string(),
        };
        Ok(body.map_err(failed)?.to_bytes())
    };
    exchange_by(stream, request, None, whole).await
}

/// Sends a request whose answer is its status, which is to come by `deadline`. Of its body only the beginning is read, up to
/// `max_body_bytes` and for as long as `patience` at most, and whatever is wrong with it does not matter.
pub async fn exchange_for_status<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    max_body_bytes: usize,
    deadline: Instant,
    patience: Duration,
) -> Result<Response<Bytes>, OutgoingError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let read = async |body| Ok(beginning(body, max_body_bytes, patience).await);
    exchange_by(stream, request, Some(deadline), read).await
}

/// The beginning of a body: so much, or what comes within so long.
async fn beginning(mut body: Incoming, max_bytes: usize, patience: Duration) -> Bytes {
    let mut read = Vec::new();
    let reading = async {
        while read.len() < max_bytes
            && let Some(Ok(frame)) = body.frame().await
        {
            read.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        }
    };
    // What has come by then is enough.
    let _ = timeout(patience, reading).await;
    read.truncate(max_bytes);
    Bytes::from(read)
}

async fn exchange_by<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    deadline: Option<Instant>,
    read: impl AsyncFnOnce(Incoming) -> Result<Bytes, OutgoingError>,
) -> Result<Response<Bytes>, OutgoingError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let asked = sender.send_request(request);
        let answer = match deadline {
            Some(deadline) => timeout_at(deadline, asked).await.map_err(|_| OutgoingError::TooLate)?,
            None => asked.await,
        };
        let (parts, body) = answer?.into_parts();
        Ok(Response::from_parts(parts, read(body).await?))
    };
    // The connection moves only while it is polled. An error of it is also the answer's, unless
    // that is complete: some servers end TLS without saying so.
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}
