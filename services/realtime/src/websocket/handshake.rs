//! The handshake: from an HTTP request to the socket itself.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Appended to the client's key, by RFC 6455.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;

/// Why a request is no WebSocket handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Another method.
    #[error("a WebSocket begins with GET")]
    NotGet,
    /// The headers don't ask for it.
    #[error("this address speaks WebSocket: send Connection: Upgrade and Upgrade: websocket")]
    NotAsked,
    /// A version before or after RFC 6455.
    #[error("Sec-WebSocket-Version must be 13")]
    UnsupportedVersion,
    /// No key of 16 bytes in base64.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64")]
    MalformedKey,
    /// The connection can't be handed over, for example HTTP/2.
    #[error("this connection can't become a WebSocket; use HTTP/1.1")]
    NotUpgradable,
}

impl HandshakeError {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotGet => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAsked | Self::UnsupportedVersion => StatusCode::UPGRADE_REQUIRED,
            Self::MalformedKey | Self::NotUpgradable => StatusCode::BAD_REQUEST,
        }
    }

    /// Adds to the answer what a client that could do it right has to know.
    pub fn explain(self, headers: &mut HeaderMap) {
        if self.status() == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
    }
}

/// A request that has been found to be a handshake.
#[derive(Debug)]
pub struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
}

/// The socket after the handshake, and what was read from it already.
#[derive(Debug)]
pub struct Opened {
    /// The socket.
    pub socket: TcpStream,
    /// The client's first bytes, if they came with the request.
    pub first_bytes: Bytes,
}

impl Handshake {
    /// Checks a request and takes its connection.
    pub fn of<B>(request: &mut Request<B>) -> Result<Self, HandshakeError> {
        if request.method() != Method::GET {
            return Err(HandshakeError::NotGet);
        }
        let headers = request.headers();
        if !has_token(headers, &header::CONNECTION, "upgrade")
            || !has_token(headers, &header::UPGRADE, "websocket")
        {
            return Err(HandshakeError::NotAsked);
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(HandshakeError::UnsupportedVersion);
        }
        let accept = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| accept(key.as_bytes()));
        let accept = accept.ok_or(HandshakeError::MalformedKey)?;
        let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or(HandshakeError::NotUpgradable)?;
        Ok(Self { accept, upgrade })
    }

    /// The answer to the request, and what becomes the socket once the answer has been sent.
    pub fn accept<B: Default>(self) -> (Response<B>, Upgrade) {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        (response, Upgrade { upgrade: self.upgrade })
    }
}

/// A connection on its way from HTTP to WebSocket.
#[derive(Debug)]
pub struct Upgrade {
    upgrade: OnUpgrade,
}

impl Upgrade {
    /// Waits for the socket; `None` if the client has gone, or the server does not serve plain TCP.
    pub async fn open(self) -> Option<Opened> {
        let upgraded = match self.upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(%error, "a client left during the handshake");
                return None;
            }
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            tracing::error!("a WebSocket was refused: the server's connections are not plain TCP streams");
            return None;
        };
        Some(Opened { socket: parts.io.into_inner(), first_bytes: parts.read_buf })
    }
}

fn accept(key: &[u8]) -> Option<HeaderValue> {
    let decoded = STANDARD.decode(key).ok()?;
    if decoded.len() != KEY_BYTES {
        return None;
    }
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key);
    hash.update(KEY_SUFFIX);
    HeaderValue::from_str(&STANDARD.encode(hash.digest().bytes())).ok()
}

/// Whether a comma-separated header names this, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::{Handshake, HandshakeError, accept};
    use http::Request;

    fn refused(headers: &[(&str, &str)]) -> HandshakeError {
        let request =
            headers.iter().fold(Request::get("/ws"), |request, (name, value)| request.header(*name, *value));
        Handshake::of(&mut request.body(()).unwrap()).expect_err("refused")
    }

    #[test]
    fn the_key_of_the_rfc_gets_the_answer_of_the_rfc() {
        let answer = accept(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept(b"c2hvcnQ="), None);
        assert_eq!(accept(b"not base64!"), None);
    }

    #[test]
    fn requests_that_are_no_handshake_are_told_apart() {
        let ask = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(refused(&[]), HandshakeError::NotAsked);
        assert_eq!(refused(&ask), HandshakeError::UnsupportedVersion);
        let version = ("sec-websocket-version", "13");
        assert_eq!(refused(&[ask[0], ask[1], version]), HandshakeError::MalformedKey);
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(refused(&[ask[0], ask[1], version, key]), HandshakeError::NotUpgradable);
    }
}
