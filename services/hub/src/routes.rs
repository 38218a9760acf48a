//! What is served, and who may ask for it.

use std::sync::Arc;

use axum::{
    Json, Router,
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse as _, Response},
    routing::get,
};
use synapse_chassis::{
    error::{self, flat},
    service::Service,
};
use utoipa::{
    OpenApi, ToSchema,
    openapi::{OpenApi as Description, path::Operation},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    dead_letters,
    guard::{Needs, admit},
    hub::Hub,
    messages, publish, replay, schemas,
    settings::ABOUT,
    streams,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "synapse-hub", description = "The streams of Synapse over HTTP."),
    tags(
        (name = "streams", description = "Looking at streams (scope `streams:read`; of dead letters, `…:dlq`, `dlq:manage` too). Errors are `{\"error\": \"…\", \"code\": \"…\"}`."),
        (name = "events", description = "Publishing (scope `events:publish`)."),
        (name = "dead letters", description = "What could not be handled (scope `dlq:manage`)."),
        (name = "replay", description = "A part of a stream once more (scopes `dlq:manage`, and `events:publish` to start one)."),
    ),
    components(schemas(Problem, FlatProblem)),
)]
struct Api;

/// All routes, each behind what it needs.
pub fn routes(hub: Arc<Hub>, service: &Service) -> Router {
    let (routes, description) = described(Some(service));
    let description = Arc::new(complete(description, service.authenticator.is_open()));
    let openapi = get(async move || Json(description.as_ref().clone()));
    routes.route("/openapi.json", openapi).method_not_allowed_fallback(method_not_allowed).with_state(hub)
}

/// The description of all routes, as `/openapi.json` serves it.
pub fn openapi() -> Description {
    complete(described(None).1, false)
}

fn described(service: Option<&Service>) -> (Router<Arc<Hub>>, Description) {
    let needs = |router: OpenApiRouter<Arc<Hub>>, scopes| match service {
        Some(service) => router.layer(from_fn_with_state(Needs::new(&service.authenticator, scopes), admit)),
        None => router,
    };
    let reading = OpenApiRouter::new()
        .routes(routes!(streams::list))
        .routes(routes!(streams::info))
        .routes(routes!(messages::messages));
    let publishing = OpenApiRouter::new().routes(routes!(publish::publish));
    let managing = OpenApiRouter::new()
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::show))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(replay::find, replay::cancel));
    let replaying = OpenApiRouter::new().routes(routes!(replay::start));
    let knowing = OpenApiRouter::new().routes(routes!(schemas::schemas));
    OpenApiRouter::with_openapi(Api::openapi())
        // These were there before us.
        .merge(needs(reading, &["streams:read"]).layer(map_response(flat)))
        .merge(needs(publishing, &["events:publish"]))
        .merge(needs(managing, &["dlq:manage"]))
        .merge(needs(replaying, &["dlq:manage", "events:publish"]))
        .merge(needs(knowing, &[]))
        .split_for_parts()
}

fn complete(api: Description, is_open: bool) -> Description {
    let problem = |path: &str, _: &Operation| {
        if path.starts_with("/streams") { FlatProblem::name() } else { Problem::name() }
    };
    synapse_chassis::openapi::complete(api, &ABOUT, is_open, scopes_of, problem)
}

/// The scopes that [`described`] asks for, from where the operation is filed.
fn scopes_of(operation: &Operation) -> Vec<&'static str> {
    let tag = operation.tags.as_ref().and_then(|tags| tags.first()).map(String::as_str);
    match (tag, operation.operation_id.as_deref()) {
        (Some("streams"), _) => vec!["streams:read"],
        (Some("events"), Some("list_schemas")) => vec![],
        (Some("events"), _) => vec!["events:publish"],
        (_, Some("start_replay")) => vec!["dlq:manage", "events:publish"],
        _ => vec!["dlq:manage"],
    }
}

/// Why a request was not served.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of an answer, for its description")]
struct Problem {
    /// What is wrong.
    error: Reason,
}

/// What is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of an answer, for its description")]
struct Reason {
    /// For programs.
    #[schema(example = "stream_not_found")]
    code: String,
    /// For people.
    message: String,
    /// Of a list of events, which one: counted from 0.
    #[schema(nullable = false)]
    index: Option<usize>,
    /// Which of its fields.
    #[schema(nullable = false)]
    field: Option<String>,
}

/// Why a request was not served, as older clients read it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of an answer, for its description")]
struct FlatProblem {
    /// For people.
    error: String,
    /// For programs.
    #[schema(example = "stream_not_found")]
    code: String,
}

async fn method_not_allowed(method: http::Method, uri: http::Uri) -> Response {
    let error = error::method_not_allowed(&method, &uri);
    let is_older = uri.path() == "/streams" || uri.path().starts_with("/streams/");
    if is_older { flat(error.into_response()).await } else { error.into_response() }
}
