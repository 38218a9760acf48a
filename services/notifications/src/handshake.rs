//! The request that opens a connection.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Body,
    extract::{Query, Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use synapse_chassis::{error::ApiError, identity::bearer_token, serve::Peer};
use synapse_realtime::{
    socketio::requests::{self, Asked},
    websocket::handshake::{Handshake, Upgrade},
};

use crate::{
    metrics,
    platform::{Place, Platform},
};

/// `/socket.io/`.
pub(crate) async fn socketio(
    State(platform): State<Arc<Platform>>,
    Query(mut parameters): Query<HashMap<String, String>>,
    mut request: Request,
) -> Response {
    let parameter = |name| parameters.get(name).map(String::as_str);
    let query = requests::Query {
        version: parameter("EIO"),
        transport: parameter("transport"),
        session: parameter("sid"),
    };
    let max_bytes = platform.settings.limits.max_message_bytes;
    let polls = match Asked::of(&platform.connections, request.method(), query) {
        Ok(Asked::WebSocket) => false,
        Ok(Asked::Polling) => true,
        Ok(Asked::Upgrade(session)) => {
            let peer = request.extensions().get::<Peer>().cloned();
            return upgraded(&mut request, |upgrade| platform.connections.upgrade(session, upgrade, peer));
        }
        Ok(Asked::Poll(session)) => {
            return requests::answer(&session, request, max_bytes).await.map(Body::new);
        }
        Err(error) => {
            metrics::refused("engine");
            return requests::refuse(error).map(Body::new);
        }
    };
    let place = match place(&platform, &request) {
        Ok(place) => place,
        Err(error) => {
            metrics::refused(error.code);
            return error.into_response();
        }
    };
    // A malformed header is no token; the parameter may still have one.
    let header = bearer_token(request.headers()).ok().flatten().map(str::to_owned);
    let token = header.or_else(|| parameters.remove("token"));
    if polls {
        let Some(session) = platform.serve_polled(token, place.address) else {
            metrics::refused("sessions");
            let message = "there are MAX_CONNECTIONS sessions that poll; try again later";
            return ApiError::unavailable("too_many_connections", message).into_response();
        };
        return requests::answer(&session, request, max_bytes).await.map(Body::new);
    }
    upgraded(&mut request, |upgrade| platform.serve(upgrade, token, place))
}

/// Answers a WebSocket's handshake, and hands on what becomes the socket.
fn upgraded(request: &mut Request, serve: impl FnOnce(Upgrade)) -> Response {
    match Handshake::of(request) {
        Ok(handshake) => {
            let (response, upgrade) = handshake.accept::<Body>();
            serve(upgrade);
            response
        }
        Err(error) => {
            metrics::refused("handshake");
            let refused = ApiError::new(error.status(), "not_a_websocket", error.to_string());
            let mut response = refused.into_response();
            error.explain(response.headers_mut());
            response
        }
    }
}

/// A place under the limits.
fn place(platform: &Platform, request: &Request) -> Result<Place, ApiError> {
    let peer = request
        .extensions()
        .get::<Peer>()
        .cloned()
        .ok_or_else(|| ApiError::internal(&std::io::Error::other("a request came without its peer")))?;
    if !platform.feed.is_following() {
        let message = "notifications can't be heard yet; is Redis running? try again soon";
        return Err(ApiError::unavailable("not_ready", message));
    }
    let admission = platform.service.authenticator.admission();
    let address = admission.client_address(peer.address.ip(), request.headers());
    let permit = platform.connections.place_for(address).ok_or_else(|| {
        let message = "this address has too many connections; close one, or ask for a higher MAX_CONNECTIONS_PER_ADDRESS";
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_connections", message)
    })?;
    Ok(Place { address: permit, _peer: peer })
}
