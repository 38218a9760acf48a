//! Who may ask for what.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use percent_encoding::percent_decode;
use synapse_chassis::{error::ApiError, identity::Authenticator};
use synapse_rs::stream::DEAD_LETTER_SUFFIX;

/// What the token of a request must have: all of these scopes. None: any good token.
#[derive(Clone, Debug)]
pub struct Needs {
    authenticator: Authenticator,
    scopes: &'static [&'static str],
}

impl Needs {
    /// Asks for all of these scopes.
    pub fn new(authenticator: &Authenticator, scopes: &'static [&'static str]) -> Self {
        Self { authenticator: authenticator.clone(), scopes }
    }
}

/// Whether a path is that of a stream of dead letters, `/streams/{stream}:dlq/…`.
fn names_dead_letters(path: &str) -> bool {
    let stream = path.strip_prefix("/streams/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    percent_decode(stream.as_bytes()).collect::<Vec<_>>().ends_with(DEAD_LETTER_SUFFIX.as_bytes())
}

/// Turns away who may not ask: 401 without a good token, 403 with one that lacks a scope.
pub async fn admit(State(needs): State<Needs>, request: Request, next: Next) -> Result<Response, ApiError> {
    let identity = needs.authenticator.require(request.headers()).await?;
    for scope in needs.scopes {
        identity.must_have(scope)?;
    }
    if names_dead_letters(request.uri().path()) {
        identity.must_have("dlq:manage")?;
    }
    Ok(next.run(request).await)
}
