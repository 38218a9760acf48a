//! What is served.

use std::sync::Arc;

use axum::{
    Json, Router,
    middleware::map_response,
    response::IntoResponse as _,
    routing::{any, get},
};
use http::{Method, Uri};
use synapse_chassis::{
    error::{flat, method_not_allowed},
    openapi::{FlatProblem, Problem},
    service::Service,
};
use utoipa::{
    OpenApi, ToSchema as _,
    openapi::{OpenApi as Description, path::Operation},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{emit, gateway::Gateway, handshake, settings::ABOUT, sse};

#[derive(OpenApi)]
#[openapi(
    info(title = "synapse-gateway", description = "Events of every stream, as they come. The sockets are described in docs/gateway.md."),
    tags((name = "emit", description = "To users (scope `events:publish`). Errors are `{\"error\": \"…\", \"code\": \"…\"}`.")),
    components(schemas(Problem, FlatProblem)),
)]
struct Api;

/// All routes.
pub(crate) fn routes(gateway: Arc<Gateway>, service: &Service) -> Router {
    let (routes, description) = described();
    let description = Arc::new(complete(description, service.authenticator.is_open()));
    routes
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            // What there was before us keeps the form of its errors.
            flat(method_not_allowed(&method, &uri).into_response()).await
        })
        .route("/openapi.json", get(async move || Json(description.as_ref().clone())))
        .route("/socket.io/", any(handshake::socketio))
        .route("/ws", any(handshake::websocket))
        .route("/events", any(sse::request::events))
        .with_state(gateway)
}

fn described() -> (Router<Arc<Gateway>>, Description) {
    // It was there before us.
    let older = OpenApiRouter::new().routes(routes!(emit::gamification)).layer(map_response(flat));
    OpenApiRouter::with_openapi(Api::openapi()).merge(older).split_for_parts()
}

fn complete(api: Description, is_open: bool) -> Description {
    let scopes = |operation: &Operation| match operation.operation_id.as_deref() {
        Some("emit_gamification") => vec![emit::SCOPE],
        _ => vec![],
    };
    synapse_chassis::openapi::complete(api, &ABOUT, is_open, scopes, |_, _| FlatProblem::name())
}
