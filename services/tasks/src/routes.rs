//! What is served, and who may ask for it: users for themselves, services with the scope `tasks:all` for all.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, Uri, header};
use serde::Serialize;
use synapse_chassis::{
    error::{ApiError, flat},
    identity::{Authenticator, Identity},
    openapi::{FlatProblem, Problem},
    request::{Query, check_json},
    service::Service,
};
use synapse_database::Change;
use utoipa::{
    OpenApi, ToSchema,
    openapi::{OpenApi as Description, path::Operation},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Tasks,
    create::CreateTask,
    dependencies::{self, AddDependency, Dependency, DependencyView},
    idempotency::{Key, Once},
    list::{Page, Wanted},
    request::{Body, check_id},
    settings::ABOUT,
    task::{TaskView, no_such_task},
    update::UpdateTask,
    versions::{self, HistoryItem, VersionView},
};

#[derive(OpenApi)]
#[openapi(
    info(title = "synapse-tasks", description = "Tasks, their versions and dependencies. Every change publishes an event on `platform-events`."),
    tags((name = "tasks", description = "A user's own; with the scope `tasks:all` everybody's. Errors are `{\"error\": \"…\", \"code\": \"…\", \"field\": \"…\"}`, of `GET /tasks/{id}` in an object under `error`.")),
    components(schemas(Problem, FlatProblem)),
)]
struct Api;

/// All routes.
pub fn routes(tasks: Arc<Tasks>, service: &Service) -> Router {
    let (routes, description) =
        OpenApiRouter::with_openapi(Api::openapi()).merge(described()).split_for_parts();
    let description = Arc::new(complete(description, service.authenticator.is_open()));
    let openapi = get(async move || Json(description.as_ref().clone()));
    let shared = Shared { tasks, authenticator: service.authenticator.clone() };
    routes.method_not_allowed_fallback(method_not_allowed).route("/openapi.json", openapi).with_state(shared)
}

/// The description of all routes, as `/openapi.json` serves it.
pub fn openapi() -> Description {
    let (_, description) = OpenApiRouter::with_openapi(Api::openapi()).merge(described()).split_for_parts();
    complete(description, false)
}

#[derive(Clone)]
struct Shared {
    tasks: Arc<Tasks>,
    authenticator: Authenticator,
}

fn described() -> OpenApiRouter<Shared> {
    // These were there before us.
    let older = OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(update))
        .routes(routes!(history))
        .routes(routes!(add_dependency))
        .routes(routes!(find_dependencies))
        .layer(map_response(flat));
    OpenApiRouter::new().routes(routes!(find)).merge(older)
}

fn complete(api: Description, is_open: bool) -> Description {
    let problem = |_: &str, operation: &Operation| match operation.operation_id.as_deref() {
        Some("find_task") => Problem::name(),
        _ => FlatProblem::name(),
    };
    synapse_chassis::openapi::complete(api, &ABOUT, is_open, |_| vec![], problem)
}

/// What a new task is made of.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a body, for its description")]
#[schema(rename_all = "camelCase")]
struct NewTask {
    /// Its id; one is made if it is left out.
    #[schema(min_length = 1, max_length = 256, nullable = false)]
    task_id: Option<String>,
    /// Whose it is.
    #[schema(min_length = 1, max_length = 256)]
    user_id: String,
    /// Its fields: `title`, `description`, `status`, `priority`, and whatever else.
    #[schema(value_type = Object)]
    task_data: (),
}

/// What is to change.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a body, for its description")]
#[schema(rename_all = "camelCase")]
struct TaskChange {
    /// Who changes it.
    #[schema(min_length = 1, max_length = 256)]
    user_id: String,
    /// The fields that are to be otherwise; null takes one away.
    #[schema(value_type = Object)]
    changes: (),
    /// Why.
    #[schema(nullable = false)]
    change_reason: Option<String>,
}

/// A task that is to wait for another.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a body, for its description")]
#[schema(rename_all = "camelCase")]
struct NewDependency {
    /// The one that waits.
    #[schema(min_length = 1, max_length = 256)]
    task_id: String,
    /// The one it waits for.
    #[schema(min_length = 1, max_length = 256)]
    depends_on: String,
    /// How: `blocks` (also written `precedes`), `related` or `subtask`.
    #[schema(default = "blocks", nullable = false)]
    dependency_type: Option<String>,
    /// Who says so.
    #[schema(min_length = 1, max_length = 256)]
    user_id: String,
}

/// Makes a task.
#[utoipa::path(
    post, path = "/tasks", operation_id = "create_task", tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header, description = "sent again with the same key, the request has its effect once")),
    request_body(content = NewTask, content_type = "application/json"),
    responses(
        (status = 200, description = "its first version", body = VersionView),
        (status = 409, description = "there is a task with this id", body = FlatProblem),
    ),
)]
async fn create(State(shared): State<Shared>, uri: Uri, request: Request) -> Result<Response, ApiError> {
    let change = async |body, identity: &Identity| CreateTask::read(body, identity);
    shared.change(uri, request, "POST", change).await
}

/// Lists tasks, newest first.
#[utoipa::path(
    get, path = "/tasks", operation_id = "list_tasks", tag = "tasks",
    params(
        ("userId" = Option<String>, Query, description = "whose; one's own, or with the scope everybody's, if not given"),
        ("status" = Option<String>, Query, description = "with this status only"),
        ("priority" = Option<String>, Query, description = "with this priority only"),
        ("limit" = Option<u32>, Query, description = "how many at most, 50 if not given", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
    ),
    responses((status = 200, description = "a page of them", body = Page)),
)]
async fn list(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Json<Page>, ApiError> {
    let identity = shared.authenticator.require(&headers).await?;
    let wanted = Wanted::read(uri.query(), &identity)?;
    Ok(Json(shared.tasks.database.read(async |connection| wanted.find(connection).await).await?))
}

/// One task.
#[utoipa::path(
    get, path = "/tasks/{id}", operation_id = "find_task", tag = "tasks",
    params(("id" = String, Path, description = "the task's id")),
    responses((status = 200, description = "as it is now", body = TaskView), (status = 404, description = "there is no such task", body = Problem)),
)]
async fn find(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<TaskView>, ApiError> {
    Query::read(uri.query(), &[])?;
    Ok(Json(shared.visible(&headers, "id", &path_id("id", id)?).await?))
}

/// Changes a task: a version more.
#[utoipa::path(
    put, path = "/tasks/{id}", operation_id = "update_task", tag = "tasks",
    params(
        ("id" = String, Path, description = "the task's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "sent again with the same key, the request has its effect once"),
    ),
    request_body(content = TaskChange, content_type = "application/json"),
    responses(
        (status = 200, description = "its new version", body = VersionView),
        (status = 404, description = "there is no such task", body = FlatProblem),
        (status = 409, description = "this status does not follow the one it has", body = FlatProblem),
    ),
)]
async fn update(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    let id = path_id("id", id)?;
    let change = async |body, identity: &Identity| UpdateTask::read(id, body, identity.clone());
    shared.change(uri, request, "PUT", change).await
}

/// The versions of a task, newest first.
#[utoipa::path(
    get, path = "/tasks/{id}/versions", operation_id = "list_versions", tag = "tasks",
    params(
        ("id" = String, Path, description = "the task's id"),
        ("limit" = Option<u32>, Query, description = "how many at most, 50 if not given", minimum = 1, maximum = 500),
        ("before" = Option<i64>, Query, description = "only versions before this one", minimum = 1),
    ),
    responses((status = 200, description = "who, why, and the whole task since", body = Vec<HistoryItem>), (status = 404, description = "there is no such task", body = FlatProblem)),
)]
async fn history(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Vec<HistoryItem>>, ApiError> {
    let query = Query::read(uri.query(), &["limit", "before"])?;
    let limit = query.limit(versions::DEFAULT_LIMIT, versions::MAX_LIMIT)?;
    let before = versions::before_of(&query)?;
    let task = shared.visible(&headers, "id", &path_id("id", id)?).await?;
    let found = shared
        .tasks
        .database
        .read(async |connection| versions::find(connection, &task.id, before, limit).await);
    Ok(Json(found.await?))
}

/// Has a task wait for another.
#[utoipa::path(
    post, path = "/dependencies", operation_id = "add_dependency", tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header, description = "sent again with the same key, the request has its effect once")),
    request_body(content = NewDependency, content_type = "application/json"),
    responses(
        (status = 200, description = "the dependency, which may have been there", body = DependencyView),
        (status = 404, description = "there is no such task", body = FlatProblem),
        (status = 409, description = "the tasks would wait for one another", body = FlatProblem),
    ),
)]
async fn add_dependency(
    State(shared): State<Shared>,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    let change = async |body, identity: &Identity| AddDependency::read(body, identity.clone());
    shared.change(uri, request, "POST", change).await
}

/// What a task waits for, oldest first.
#[utoipa::path(
    get, path = "/dependencies/{taskId}", operation_id = "list_dependencies", tag = "tasks",
    params(("taskId" = String, Path, description = "the task's id")),
    responses((status = 200, description = "the tasks it depends on", body = Vec<Dependency>), (status = 404, description = "there is no such task", body = FlatProblem)),
)]
async fn find_dependencies(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Vec<Dependency>>, ApiError> {
    Query::read(uri.query(), &[])?;
    let task = shared.visible(&headers, "taskId", &path_id("taskId", id)?).await?;
    let found = shared.tasks.database.read(async |connection| dependencies::find(connection, &task.id).await);
    Ok(Json(found.await?))
}

impl Shared {
    /// Reads a change from a request, commits it, and answers with what it gives.
    async fn change<C>(
        &self,
        uri: Uri,
        request: Request,
        method: &str,
        read: impl AsyncFnOnce(Body, &Identity) -> Result<C, ApiError>,
    ) -> Result<Response, ApiError>
    where
        C: Change<Refusal = ApiError>,
        C::Output: Serialize,
    {
        Query::read(uri.query(), &[])?;
        check_json(request.headers())?;
        let headers = request.headers().clone();
        let identity = self.authenticator.require(&headers).await?;
        let body = self.tasks.bodies.receive(request).await?;
        let fields = Body::read(&body.bytes)?;
        let target = format!("{method} {}", uri.path());
        let key = Key::read(&headers, &identity, fields.claimed_user(), &target, &body.bytes)?;
        let change = read(fields, &identity).await?;
        // The body's share of memory is that of the change, until it is committed.
        let answer = self.tasks.database.write(Once { change, key }).await?;
        Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
    }

    /// A task, if the one who asks may see it.
    async fn visible(&self, headers: &HeaderMap, field: &str, id: &str) -> Result<TaskView, ApiError> {
        let identity = self.authenticator.require(headers).await?;
        let found = self.tasks.database.read(async |connection| TaskView::find(connection, id).await).await?;
        let task = found.ok_or_else(|| no_such_task(field, id))?;
        identity.must_be(&task.user_id, "tasks:all")?;
        Ok(task)
    }
}

fn path_id(field: &str, id: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let Path(id) = id.map_err(|error| ApiError::bad_field(field, error.body_text()))?;
    check_id(field, id)
}

async fn method_not_allowed(method: http::Method, uri: Uri) -> Response {
    let error = synapse_chassis::error::method_not_allowed(&method, &uri);
    flat(error.into_response()).await
}
