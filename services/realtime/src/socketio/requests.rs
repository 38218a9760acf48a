//! Requests to the address of Socket.IO: what each asks for, and the answers of the polling transport.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Body;

use super::{
    engine::{self, HandshakeError},
    polling::{Known, Polled},
};
use crate::connections::Connections;

/// The query of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// The version of Engine.IO, `EIO`.
    pub version: Option<&'a str>,
    /// `transport`.
    pub transport: Option<&'a str>,
    /// The session, `sid`.
    pub session: Option<&'a str>,
}

/// What a request asks for.
#[derive(Debug)]
pub enum Asked {
    /// A session over WebSocket.
    WebSocket,
    /// A session that polls.
    Polling,
    /// A WebSocket in place of polling; none if the session has one already.
    Upgrade(Option<Arc<Polled>>),
    /// To bring messages to a session that polls, or to take some.
    Poll(Arc<Polled>),
}

impl Asked {
    /// Reads what is asked for.
    ///
    /// # Errors
    ///
    /// What the protocol does not know, or a session that is not there.
    pub fn of(connections: &Connections, method: &Method, query: Query<'_>) -> Result<Self, HandshakeError> {
        // A client of an older version must learn so whatever else it asks for.
        if query.version.is_some_and(|version| version != engine::VERSION) {
            return Err(HandshakeError::UnsupportedVersion);
        }
        let over_websocket = match query.transport {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Err(HandshakeError::UnknownTransport),
        };
        let Some(sid) = query.session else {
            return match query.version {
                None => Err(HandshakeError::UnsupportedVersion),
                Some(_) if method != Method::GET => Err(HandshakeError::BadMethod),
                Some(_) if over_websocket => Ok(Self::WebSocket),
                Some(_) => Ok(Self::Polling),
            };
        };
        match connections.polled(sid).ok_or(HandshakeError::UnknownSession)? {
            Known::Polls(session) if over_websocket => Ok(Self::Upgrade(Some(session))),
            Known::Polls(session) => Ok(Self::Poll(session)),
            Known::Changed if over_websocket => Ok(Self::Upgrade(None)),
            Known::Changed => Err(HandshakeError::BadRequest),
        }
    }
}

/// Answers a request of a session that polls, with messages of up to `max_bytes` together.
pub async fn answer<B>(session: &Polled, request: Request<B>, max_bytes: usize) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let answered = match *request.method() {
        Method::GET => session.poll().await,
        Method::POST => match Limited::new(request.into_body(), max_bytes).collect().await {
            Ok(body) => session.post(body.to_bytes()).await.map(|()| b"ok".to_vec()),
            Err(error) if error.is::<LengthLimitError>() => {
                session.refuse_body().await;
                return with_status(StatusCode::PAYLOAD_TOO_LARGE, Vec::new());
            }
            Err(_) => Err(HandshakeError::BadRequest),
        },
        _ => Err(HandshakeError::BadRequest),
    };
    match answered {
        Ok(payload) => with_status(StatusCode::OK, payload),
        Err(error) => refuse(error),
    }
}

/// The answer to a request that is refused.
pub fn refuse(error: HandshakeError) -> Response<Full<Bytes>> {
    let mut response = with_status(error.status(), error.body().into_bytes());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn with_status(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::connections::Limits;

    #[test]
    fn handshakes_are_refused_in_the_words_of_the_protocol() {
        let connections = Connections::new(Limits {
            outbox_bytes: 1,
            max_message_bytes: 1,
            max_messages_per_second: 0,
            max_connections_per_address: 1,
            connect_timeout: Duration::from_secs(1),
        });
        let ask = |method: Method, version, transport, session| {
            Asked::of(&connections, &method, Query { version, transport, session })
        };
        assert!(matches!(ask(Method::GET, Some("4"), Some("websocket"), None), Ok(Asked::WebSocket)));
        assert!(matches!(ask(Method::GET, Some("4"), Some("polling"), None), Ok(Asked::Polling)));
        let cases = [
            (Method::GET, Some("3"), Some("websocket"), None, 5, "Unsupported protocol version"),
            (Method::GET, None, Some("polling"), None, 5, "Unsupported protocol version"),
            (Method::GET, Some("4"), Some("carrier-pigeon"), None, 0, "Transport unknown"),
            (Method::GET, Some("4"), None, None, 0, "Transport unknown"),
            (Method::POST, Some("4"), Some("polling"), None, 2, "Bad handshake method"),
            (Method::GET, Some("4"), Some("websocket"), Some("gone"), 1, "Session ID unknown"),
            (Method::POST, Some("4"), Some("polling"), Some("gone"), 1, "Session ID unknown"),
        ];
        for (method, version, transport, session, code, message) in cases {
            let error = ask(method, version, transport, session).unwrap_err();
            let body: serde_json::Value = serde_json::from_str(&error.body()).unwrap();
            assert_eq!(body, serde_json::json!({"code": code, "message": message}));
        }
    }
}
