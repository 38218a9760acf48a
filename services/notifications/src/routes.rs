//! What is served, and who may ask for it: users for themselves, services with the scope `notifications:all` for all.

use std::sync::Arc;

use axum::{
    Json, Router,
    middleware::map_response,
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use synapse_chassis::{
    error::{self, flat},
    openapi::{FlatProblem, Problem},
    service::Service,
};
use utoipa::{
    OpenApi, ToSchema as _,
    openapi::{OpenApi as Description, path::Operation},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{handshake, inbox, platform::Platform, pushing, settings::ABOUT};

#[derive(OpenApi)]
#[openapi(
    info(title = "synapse-notifications", description = "Notifications of users, and Web Push."),
    tags(
        (name = "inbox", description = "A user's own; with the scope `notifications:all` everybody's."),
        (name = "push", description = "Web Push. Errors are `{\"error\": \"…\", \"code\": \"…\"}`."),
    ),
    components(schemas(Problem, FlatProblem)),
)]
struct Api;

/// All routes.
pub fn routes(platform: Arc<Platform>, service: &Service) -> Router {
    let (routes, description) = described();
    let description = Arc::new(complete(description, service.authenticator.is_open()));
    let openapi = get(async move || Json(description.as_ref().clone()));
    routes
        .method_not_allowed_fallback(method_not_allowed)
        .route("/openapi.json", openapi)
        .route("/socket.io/", any(handshake::socketio))
        .with_state(platform)
}

/// The description of all routes, as `/openapi.json` serves it.
pub fn openapi() -> Description {
    complete(described().1, false)
}

fn described() -> (Router<Arc<Platform>>, Description) {
    let inbox = OpenApiRouter::new()
        .routes(routes!(inbox::list))
        .routes(routes!(inbox::read_all))
        .routes(routes!(inbox::read));
    // These were there before us.
    let older = OpenApiRouter::new()
        .routes(routes!(pushing::status))
        .routes(routes!(pushing::vapid_key))
        .routes(routes!(pushing::subscribe))
        .routes(routes!(pushing::unsubscribe))
        .routes(routes!(pushing::send))
        .routes(routes!(pushing::send_multiple))
        .routes(routes!(pushing::validate))
        .routes(routes!(pushing::of_user))
        .layer(map_response(flat));
    OpenApiRouter::with_openapi(Api::openapi()).merge(inbox).merge(older).split_for_parts()
}

fn complete(api: Description, is_open: bool) -> Description {
    let scopes = |operation: &Operation| match operation.operation_id.as_deref() {
        Some("send_pushes") => vec![crate::SCOPE],
        _ => vec![],
    };
    let problem = |path: &str, _: &Operation| {
        if path.starts_with("/notifications") { Problem::name() } else { FlatProblem::name() }
    };
    let mut api = synapse_chassis::openapi::complete(api, &ABOUT, is_open, scopes, problem);
    let key = api.paths.paths.get_mut("/push/vapid-key").and_then(|item| item.get.as_mut());
    if let Some(operation) = key {
        // It is public.
        operation.security = None;
    }
    api
}

async fn method_not_allowed(method: http::Method, uri: http::Uri) -> Response {
    let error = error::method_not_allowed(&method, &uri);
    let is_older = uri.path().starts_with("/push/") || uri.path().starts_with("/websocket/");
    if is_older { flat(error.into_response()).await } else { error.into_response() }
}
