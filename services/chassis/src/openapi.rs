//! What the descriptions of all services have in common.

use std::borrow::Cow;

use utoipa::{
    ToSchema,
    openapi::{
        Content, OpenApi, Ref, ResponseBuilder,
        path::Operation,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::settings::About;

/// Why a request was not served.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of an answer, for its description")]
pub struct Problem {
    /// What is wrong.
    error: Reason,
}

/// What is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of an answer, for its description")]
pub struct Reason {
    /// For programs.
    #[schema(example = "invalid_request")]
    code: String,
    /// For people.
    message: String,
    /// The part of the request that is wrong.
    #[schema(nullable = false)]
    field: Option<String>,
}

/// Why a request was not served, as older clients read it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of an answer, for its description")]
pub struct FlatProblem {
    /// For people.
    error: String,
    /// For programs.
    #[schema(example = "invalid_request")]
    code: String,
    /// The part of the request that is wrong.
    #[schema(nullable = false)]
    field: Option<String>,
}

/// Adds what is the same for all routes: the version, tokens unless the service `is_open`, and the errors that every
/// route may answer. `scopes` tells which an operation asks for, `problem` the schema of its errors.
pub fn complete(
    mut api: OpenApi,
    about: &About,
    is_open: bool,
    scopes: impl Fn(&Operation) -> Vec<&'static str>,
    problem: impl Fn(&str, &Operation) -> Cow<'static, str>,
) -> OpenApi {
    about.version.clone_into(&mut api.info.version);
    if !is_open {
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
    for (path, item) in &mut api.paths.paths {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let problem = problem(path, operation);
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
