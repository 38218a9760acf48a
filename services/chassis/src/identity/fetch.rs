//! One small GET of a key set, over HTTP or HTTPS.
//!
//! A redirect is refused on purpose: keys come from the address that was configured.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::outgoing::{OutgoingError, Tls, USER_AGENT, exchange};

/// The longest document that is read, in bytes.
pub(super) const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a document was not fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Nothing there, or nothing that can be trusted.
    #[error("can't connect: {0}")]
    Connect(#[from] io::Error),
    /// Not the name of a server.
    #[error("not a host name: {0}")]
    Host(String),
    /// No exchange, or no end of it.
    #[error(transparent)]
    Outgoing(#[from] OutgoingError),
    /// Another answer than 200.
    #[error("the answer is {0}, not 200")]
    Status(StatusCode),
    /// Too slow.
    #[error("no whole answer within {TIMEOUT:?}")]
    TimedOut,
}

/// Gets one document again and again.
pub(super) struct Fetcher {
    url: Url,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Fetcher {
    /// Trusts the certificate authorities of this machine.
    pub(super) fn new(url: Url) -> Result<Self, FetchError> {
        Self::over(url, Tls::new)
    }

    fn over(url: Url, tls: impl FnOnce() -> Result<Tls, OutgoingError>) -> Result<Self, FetchError> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().ok_or_else(|| FetchError::Host(host.clone()))?;
        let tls = if url.scheme() == "https" {
            let name = ServerName::try_from(host.clone()).map_err(|_| FetchError::Host(host.clone()))?;
            Some((tls()?.0, name))
        } else {
            None
        };
        Ok(Self { url, host, port, tls })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        timeout(TIMEOUT, self.connect_and_get()).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn connect_and_get(&self) -> Result<Vec<u8>, FetchError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            Some((connector, name)) => self.get(connector.connect(name.clone(), stream).await?).await,
            None => self.get(stream).await,
        }
    }

    async fn get<S>(&self, stream: S) -> Result<Vec<u8>, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let target = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let authority = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
        let request = Request::get(target)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::<Bytes>::default())
            .map_err(|error| FetchError::Host(error.to_string()))?;
        let answer = exchange(stream, request, MAX_DOCUMENT_BYTES).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body().into()),
            status => Err(FetchError::Status(status)),
        }
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Fetcher").field(&self.url.as_str()).finish()
    }
}

#[cfg(test)]
mod tests;
