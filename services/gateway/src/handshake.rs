//! What a client gives with the request that opens its connection.

use std::collections::HashMap;

use axum::{
    body::Body,
    extract::{Query, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use std::sync::Arc;
use synapse_chassis::{error::ApiError, identity::bearer_token, serve::Peer};
use synapse_realtime::{
    socketio::engine,
    websocket::handshake::{Handshake, HandshakeError},
};

use crate::{
    frames::Protocol,
    gateway::{Gateway, Place, Word},
    metrics,
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
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello").field("word", &self.word).field("room", &self.room).finish_non_exhaustive()
    }
}

impl Hello {
    fn of(headers: &HeaderMap, mut parameters: HashMap<String, String>) -> Self {
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
        }
    }
}

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
    match engine::check_handshake(parameter("EIO"), parameter("transport"), parameter("sid")) {
        Ok(()) => open(&gateway, Protocol::SocketIo, parameters, request),
        Err(error) => {
            metrics::refused("engine");
            (error.status(), [(header::CONTENT_TYPE, "application/json")], error.body()).into_response()
        }
    }
}

fn open(
    gateway: &Arc<Gateway>,
    protocol: Protocol,
    parameters: HashMap<String, String>,
    mut request: Request,
) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return ApiError::internal(&std::io::Error::other("a request came without its peer")).into_response();
    };
    if !gateway.is_loaded() {
        metrics::refused("not_ready");
        let message = "the streams have not been read yet; is Redis running? try again soon";
        return ApiError::unavailable("not_ready", message).into_response();
    }
    let address = gateway.address_of(peer.address.ip(), request.headers());
    let Some(permit) = gateway.connections.place_for(address) else {
        metrics::refused("address");
        let message = "this address has too many connections; close one, or ask for a higher MAX_CONNECTIONS_PER_ADDRESS";
        return ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_connections", message).into_response();
    };
    let hello = Hello::of(request.headers(), parameters);
    match Handshake::of(&mut request) {
        Ok(handshake) => {
            let (response, upgrade) = handshake.accept::<Body>();
            gateway.serve(protocol, upgrade, hello, Place { _address: permit, _peer: peer });
            response
        }
        Err(error) => refuse(error),
    }
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
        headers.insert(header::AUTHORIZATION, "Bearer from-header".parse().unwrap());
        let hello = Hello::of(&headers, parameters);
        assert_eq!(hello.token.as_deref(), Some("from-header"));
        assert!(!format!("{hello:?}").contains("from-"));
    }
}
