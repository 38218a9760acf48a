//! The byte stream to a server: TCP, TLS over TCP, or a Unix socket.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, pki_types};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{StreamError, resp};
use crate::config::{Endpoint, RedisSettings, TlsSettings};

/// How long reaching the server may take, name look-up and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long data may stay unacknowledged by the peer's kernel before the connection counts as dead.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(20);

/// An open byte stream to a server.
#[derive(Debug)]
pub enum Wire {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Wire {
    /// Connects, within [`CONNECT_TIMEOUT`].
    pub async fn open(settings: &RedisSettings) -> Result<Self, StreamError> {
        let unreachable = |reason: String| StreamError::Unreachable { address: settings.to_string(), reason };
        match timeout(CONNECT_TIMEOUT, Self::connect(settings)).await {
            Ok(Ok(wire)) => Ok(wire),
            Ok(Err(error)) => Err(unreachable(reason(&error))),
            Err(_) => Err(unreachable(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    /// Whether what is written may wait for a flush.
    pub(crate) fn is_buffered(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    async fn connect(settings: &RedisSettings) -> io::Result<Self> {
        let (host, port) = match &settings.endpoint {
            Endpoint::Unix(path) => return Ok(Self::Unix(UnixStream::connect(path).await?)),
            Endpoint::Tcp { host, port } => (host.as_str(), *port),
        };
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        limit_unacknowledged(&tcp)?;
        let Some(tls) = &settings.tls else { return Ok(Self::Tcp(tcp)) };
        let name = pki_types::ServerName::try_from(host.to_owned()).map_err(invalid)?;
        let connector = TlsConnector::from(Arc::new(client_config(tls)?));
        Ok(Self::Tls(Box::new(connector.connect(name, tcp).await?)))
    }
}

/// What went wrong, without the operating system's error number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// Notices a peer that vanished without a word (a pulled cable) also while we only wait for its replies.
fn limit_unacknowledged(tcp: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(tcp);
    let keepalive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_LIMIT))?;
    Ok(())
}

fn client_config(tls: &TlsSettings) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(invalid)?
        .with_root_certificates(trusted_authorities(tls)?);
    match (&tls.certificate_file, &tls.key_file) {
        (Some(certificate), Some(key)) => {
            let key = pki_types::PrivateKeyDer::from_pem_file(key).map_err(|error| pem_error(key, &error))?;
            builder.with_client_auth_cert(certificates(certificate)?, key).map_err(invalid)
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(invalid("a client certificate needs both its file and its key's file")),
    }
}

fn trusted_authorities(tls: &TlsSettings) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match &tls.ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                store.add(certificate).map_err(invalid)?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> io::Result<Vec<pki_types::CertificateDer<'static>>> {
    let read =
        pki_types::CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => {
            Err(invalid(format!("{}: no certificate in this file", path.display())))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(pem_error(path, &error)),
    }
}

fn pem_error(path: &Path, error: &pki_types::pem::Error) -> io::Error {
    invalid(format!("{}: {error}", path.display()))
}

impl Wire {
    /// Authenticates and selects the database, and waits until the server answers commands.
    pub(crate) async fn greet(&mut self, settings: &RedisSettings) -> Result<(), StreamError> {
        let (request, commands) = greeting(settings);
        let unreachable = |reason: String| StreamError::Unreachable { address: settings.to_string(), reason };
        let exchange = async {
            self.write_all(&request).await?;
            self.flush().await?;
            self.read_replies(commands.len()).await
        };
        let replies = match timeout(CONNECT_TIMEOUT, exchange).await {
            Ok(Ok(replies)) => replies,
            Ok(Err(error)) => return Err(unreachable(format!("in the greeting: {error}"))),
            Err(_) => return Err(unreachable("connected, but it did not answer the greeting".to_owned())),
        };
        for (command, reply) in commands.into_iter().zip(replies) {
            let Err(reason) = reply else { continue };
            return Err(match reason.split(' ').next() {
                Some("WRONGPASS" | "NOAUTH") => {
                    StreamError::Unauthorized { address: settings.to_string(), reason }
                }
                // A server that can't persist refuses even a PING, but answers whoever reads.
                Some("MISCONF") if command == "PING" => continue,
                _ if command == "AUTH" => StreamError::Unauthorized { address: settings.to_string(), reason },
                _ => StreamError::Refused { command: command.to_owned(), reason },
            });
        }
        Ok(())
    }

    async fn read_replies(&mut self, count: usize) -> io::Result<Vec<Result<(), String>>> {
        let (mut buffer, mut at, mut replies) = (Vec::new(), 0, Vec::new());
        while replies.len() < count {
            if self.read_buf(&mut buffer).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"));
            }
            while let Some((reply, behind)) = resp::next(&buffer, at).map_err(io::Error::other)? {
                at = behind;
                replies.push(match reply {
                    resp::Reply::Value(_) => Ok(()),
                    resp::Reply::Error(text) => Err(String::from_utf8_lossy(&buffer[text]).into_owned()),
                });
            }
        }
        Ok(replies)
    }
}

/// The commands a connection begins with, and their names.
fn greeting(settings: &RedisSettings) -> (Vec<u8>, Vec<&'static str>) {
    let mut commands: Vec<Vec<String>> = Vec::new();
    if let Some(password) = &settings.password {
        let user = settings.username.iter().cloned();
        let password = std::iter::once(password.reveal().to_owned());
        commands.push(std::iter::once("AUTH".to_owned()).chain(user).chain(password).collect());
    }
    if settings.database != 0 {
        commands.push(vec!["SELECT".to_owned(), settings.database.to_string()]);
    }
    commands.push(vec!["PING".to_owned()]);
    let mut request = Vec::new();
    for command in &commands {
        request.extend(resp::request(command));
    }
    let name = |command: &Vec<String>| match command[0].as_str() {
        "AUTH" => "AUTH",
        "SELECT" => "SELECT",
        _ => "PING",
    };
    let names = commands.iter().map(name).collect();
    (request, names)
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
