//! What the descriptions of all services have in common.

use std::borrow::Cow;

use utoipa::openapi::{
    Content, OpenApi, Ref, ResponseBuilder,
    path::Operation,
    security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};

use crate::settings::About;

/// Adds what is the same for all routes: the version, tokens unless the service `is_open`, and the errors that every
/// route may answer. `scopes` tells which an operation asks for, `problem` the schema of a path's errors.
pub fn complete(
    mut api: OpenApi,
    about: &About,
    is_open: bool,
    scopes: impl Fn(&Operation) -> Vec<&'static str>,
    problem: impl Fn(&str) -> Cow<'static, str>,
) -> OpenApi {
    about.version.clone_into(&mut api.info.version);
    if !is_open {
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
    for (path, item) in &mut api.paths.paths {
        let problem = problem(path);
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            if !is_open {
                operation.security = Some(vec![SecurityRequirement::new("token", scopes(operation))]);
            }
            for (status, about) in [
                ("4XX", "the request can't be served: `code` says why for programs, the text for people"),
                (
                    "5XX",
                    "what it needs does not answer for the moment (503), or something is wrong here (500)",
                ),
            ] {
                let content = Content::new(Some(Ref::from_schema_name(problem.as_ref())));
                let response = ResponseBuilder::new().description(about).content("application/json", content);
                operation.responses.responses.insert(status.to_owned(), response.build().into());
            }
        }
    }
    api
}
