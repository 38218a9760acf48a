//! What is served, and who may ask for it: users for their own figures, services by scopes for everything.

use std::sync::Arc;

use axum::{
    Json, Router,
    middleware::map_response,
    response::{IntoResponse as _, Response},
    routing::get,
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

use crate::{Analytics, READ, models, settings::ABOUT, time_series, training};

#[derive(OpenApi)]
#[openapi(
    info(title = "synapse-analytics", description = "Answers about inference and training events, and figures of users."),
    tags(
        (name = "analytics", description = "With the scope `analytics:read`."),
        (name = "time series", description = "A user's own; with the scope `analytics:read` everybody's may be read, with \
            `events:publish` recorded. Errors are `{\"error\": \"…\", \"code\": \"…\", \"field\": \"…\"}`."),
    ),
    components(schemas(Problem, FlatProblem)),
)]
struct Api;

/// All routes.
pub fn routes(analytics: Arc<Analytics>, service: &Service) -> Router {
    let (routes, description) = described();
    let description = Arc::new(complete(description, service.authenticator.is_open()));
    let openapi = get(async move || Json(description.as_ref().clone()));
    routes
        .method_not_allowed_fallback(method_not_allowed)
        .route("/openapi.json", openapi)
        .with_state(analytics)
}

/// The description of all routes, as `/openapi.json` serves it.
pub fn openapi() -> Description {
    complete(described().1, false)
}

fn described() -> (Router<Arc<Analytics>>, Description) {
    let answers = OpenApiRouter::new()
        .routes(routes!(models::list))
        .routes(routes!(models::series))
        .routes(routes!(training::history));
    // These were there before us.
    let older = OpenApiRouter::new()
        .routes(routes!(time_series::record))
        .routes(routes!(time_series::list))
        .layer(map_response(flat));
    OpenApiRouter::with_openapi(Api::openapi()).merge(answers).merge(older).split_for_parts()
}

fn complete(api: Description, is_open: bool) -> Description {
    let is_older = |path: &str| path.starts_with("/time-series/");
    let scopes = |operation: &Operation| match operation.operation_id.as_deref() {
        Some("record_figure" | "list_figures") => vec![],
        _ => vec![READ],
    };
    let problem =
        |path: &str, _: &Operation| if is_older(path) { FlatProblem::name() } else { Problem::name() };
    synapse_chassis::openapi::complete(api, &ABOUT, is_open, scopes, problem)
}

async fn method_not_allowed(method: http::Method, uri: http::Uri) -> Response {
    let error = error::method_not_allowed(&method, &uri);
    let is_older = uri.path().starts_with("/time-series/");
    if is_older { flat(error.into_response()).await } else { error.into_response() }
}
