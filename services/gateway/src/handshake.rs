//! What a client gives with the request that opens its connection.

use std::collections::HashMap;

use axum::{
    body::Body,
    extract::{Query, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, StatusCode, header::ORIGIN};
use std::sync::Arc;
use synapse_chassis::{error::ApiError, identity::bearer_token, serve::Peer};
use synapse_realtime::{
    limits::AddressPermit,
    socketio::{
        polling::Polled,
        requests::{self, Asked},
    },
    websocket::handshake::{Handshake, HandshakeError},
};

use crate::{
    frames::Protocol,
    gateway::{Gateway, Place},
    metrics,
    who::Word,
};

/// The query of a request, each name once.
pub(crate) type Parameters = Query<HashMap<String, String>>;

/// What a client gives with its request.
#[derive(Default)]
pub struct Hello {
    /// A token, from the `Authorization` header or the `token` parameter.
    pub token: Option<String>,
    /// Whom it says to be.
    pub word: Word,
    /// The room for its presence.
    pub room: Option<String>,
    /// Whether it can come back by offsets: a browser, or it says so.
    pub resumes: bool,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello").field("word", &self.word).field("room", &self.room).finish_non_exhaustive()
    }
}

impl Hello {
    pub(crate) fn of(headers: &HeaderMap, mut parameters: HashMap<String, String>) -> Self {
        // A malformed header is no token; the parameter may still have one.
        let header = bearer_token(headers).ok().flatten().map(str::to_owned);
        let mut take = |names: &[&str]| names.iter().find_map(|name| parameters.remove(*name));
        Self {
            token: header.or_else(|| take(&["token"])),
            word: Word {
                user: take(&["userId", "user_id"]),
                organisation: take(&["organizationId", "organization_id"]),
            },
            room: take(&["room"]),
            // A page of the gateway's own origin sends no Origin with a GET.
            resumes: headers.contains_key(ORIGIN)
                || headers.contains_key(SEC_FETCH_SITE)
                || take(&["resume"]).as_deref() == Some("1"),
        }
    }
}

/// Sent by browsers with every request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// `GET /ws`.
pub(crate) async fn websocket(
    State(gateway): State<Arc<Gateway>>,
    Query(parameters): Parameters,
    request: Request,
) -> Response {
    open(&gateway, Protocol::WebSocket, parameters, request)
}

/// `/socket.io/`.
pub(crate) async fn socketio(
    State(gateway): State<Arc<Gateway>>,
    Query(parameters): Parameters,
    request: Request,
) -> Response {
    let parameter = |name| parameters.get(name).map(String::as_str);
    let query = requests::Query {
        version: parameter("EIO"),
        transport: parameter("transport"),
        session: parameter("sid"),
    };
    let (session, request) = match Asked::of(&gateway.connections, request.method(), query) {
        Ok(Asked::WebSocket) => return open(&gateway, Protocol::SocketIo, parameters, request),
        Ok(Asked::Upgrade(session)) => return upgrade(&gateway, session, request),
        Ok(Asked::Poll(session)) => (session, request),
        Ok(Asked::Polling) => match place_for(&gateway, &request) {
            Ok((permit, _)) => {
                let hello = Box::new(Hello::of(request.headers(), parameters));
                match gateway.serve_polled(hello, permit) {
                    Some(session) => (session, request),
                    None => return too_many_sessions().into_response(),
                }
            }
            Err(error) => return error.into_response(),
        },
        Err(error) => {
            metrics::refused("engine");
            return requests::refuse(error).map(Body::new);
        }
    };
    requests::answer(&session, request, gateway.settings.max_message_bytes).await.map(Body::new)
}

/// A session that polls is to change to a WebSocket.
fn upgrade(gateway: &Arc<Gateway>, session: Option<Arc<Polled>>, mut request: Request) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    match Handshake::of(&mut request) {
        Ok(handshake) => {
            let (response, upgrade) = handshake.accept::<Body>();
            gateway.connections.upgrade(session, upgrade, peer);
            response
        }
        Err(error) => refuse(error),
    }
}

fn open(
    gateway: &Arc<Gateway>,
    protocol: Protocol,
    parameters: HashMap<String, String>,
    mut request: Request,
) -> Response {
    let (permit, peer) = match place_for(gateway, &request) {
        Ok(place) => place,
        Err(error) => return error.into_response(),
    };
    let hello = Box::new(Hello::of(request.headers(), parameters));
    match Handshake::of(&mut request) {
        Ok(handshake) => {
            let (response, upgrade) = handshake.accept::<Body>();
            gateway.serve(protocol, upgrade, hello, Place { _address: permit, _peer: peer });
            response
        }
        Err(error) => refuse(error),
    }
}

fn too_many_sessions() -> ApiError {
    metrics::refused("sessions");
    let message = "there are MAX_CONNECTIONS sessions that poll; try again later";
    ApiError::unavailable("too_many_connections", message)
}

/// A place under the limits, and who takes it.
pub(crate) fn place_for<B>(
    gateway: &Gateway,
    request: &http::Request<B>,
) -> Result<(AddressPermit, Peer), ApiError> {
    let peer = request
        .extensions()
        .get::<Peer>()
        .cloned()
        .ok_or_else(|| ApiError::internal(&std::io::Error::other("a request came without its peer")))?;
    if !gateway.is_loaded() {
        metrics::refused("not_ready");
        let message = "the streams have not been read yet; is Redis running? try again soon";
        return Err(ApiError::unavailable("not_ready", message));
    }
    let address = gateway.address_of(peer.address.ip(), request.headers());
    let permit = gateway.connections.place_for(address).ok_or_else(|| {
        metrics::refused("address");
        let message = "this address has too many connections; close one, or ask for a higher MAX_CONNECTIONS_PER_ADDRESS";
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_connections", message)
    })?;
    Ok((permit, peer))
}

fn refuse(error: HandshakeError) -> Response {
    metrics::refused("handshake");
    let mut response = ApiError::new(error.status(), "not_a_websocket", error.to_string()).into_response();
    error.explain(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_goes_before_the_parameter_and_neither_is_printed() {
        let mut headers = HeaderMap::new();
        let parameters = HashMap::from([("token".to_owned(), "from-query".to_owned())]);
        assert_eq!(Hello::of(&headers, parameters.clone()).token.as_deref(), Some("from-query"));
        headers.insert(http::header::AUTHORIZATION, "Bearer from-header".parse().unwrap());
        let hello = Hello::of(&headers, parameters);
        assert_eq!(hello.token.as_deref(), Some("from-header"));
        assert!(!format!("{hello:?}").contains("from-"));
    }

    #[test]
    fn who_is_in_a_browser_or_says_so_may_come_back() {
        let resumes = |header: Option<&'static str>, resume: Option<&str>| {
            let headers = header.map(|name| (HeaderName::from_static(name), "x".parse().unwrap()));
            let parameters = resume.map(|value| ("resume".to_owned(), value.to_owned()));
            Hello::of(&headers.into_iter().collect(), parameters.into_iter().collect()).resumes
        };
        assert!(!resumes(None, None) && !resumes(Some("accept"), None) && !resumes(None, Some("0")));
        assert!(resumes(Some("origin"), None) && resumes(Some("sec-fetch-site"), None));
        assert!(resumes(None, Some("1")));
    }
}
