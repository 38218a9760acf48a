//! Who may ask for what.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use synapse_chassis::{error::ApiError, identity::Authenticator};

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

/// Turns away who may not ask: 401 without a good token, 403 with one that lacks a scope.
pub async fn admit(State(needs): State<Needs>, request: Request, next: Next) -> Result<Response, ApiError> {
    let identity = needs.authenticator.require(request.headers()).await?;
    for scope in needs.scopes {
        identity.must_have(scope)?;
    }
    Ok(next.run(request).await)
}
