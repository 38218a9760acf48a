//! One small GET of a key set, over HTTP or HTTPS.
//!
//! Built on hyper and rustls, which serve and connect to Redis anyway: a whole HTTP client with
//! proxies, cookies and redirects would be the largest dependency of a service, for one request in
//! five minutes. A redirect is refused on purpose: keys come from the address that was configured.

use std::{io, sync::Arc, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

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
    /// Certificates of this machine.
    #[error("no certificate authorities found on this machine: {0}")]
    Authorities(String),
    /// Something that is not HTTP.
    #[error("the exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
    /// Another answer than 200.
    #[error("the answer is {0}, not 200")]
    Status(StatusCode),
    /// Too long, or cut off.
    #[error("the document is cut off or longer than {MAX_DOCUMENT_BYTES} bytes: {0}")]
    Body(String),
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
        Self::trusting(url, authorities)
    }

    fn trusting(
        url: Url,
        authorities: impl FnOnce() -> Result<RootCertStore, FetchError>,
    ) -> Result<Self, FetchError> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().ok_or_else(|| FetchError::Host(host.clone()))?;
        let tls = if url.scheme() == "https" {
            let name = ServerName::try_from(host.clone()).map_err(|_| FetchError::Host(host.clone()))?;
            Some((connector(authorities()?)?, name))
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
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let target = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let authority = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
        let request = Request::get(target)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, concat!("synapse/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| FetchError::Host(error.to_string()))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES).collect().await;
            body.map(|body| body.to_bytes().to_vec()).map_err(|error| FetchError::Body(error.to_string()))
        };
        // The connection moves only while it is polled. An error of it is also the answer's, unless
        // that is complete: some servers end TLS without saying so.
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Fetcher").field(&self.url.as_str()).finish()
    }
}

fn authorities() -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(FetchError::Authorities(errors.join("; ")));
    }
    Ok(roots)
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, FetchError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Authorities(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
