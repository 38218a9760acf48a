//! The gate in front of a service's routes.

use std::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use http::{HeaderName, HeaderValue, Method, header, request::Parts};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer, MaxAge};

use super::{Authenticator, Origins};
use crate::{error::ApiError, serve::Peer};

/// How long a browser may remember what it was told about other origins.
const MAX_AGE: Duration = Duration::from_mins(10);

/// Puts the admission rules in front of all routes, and tells browsers which origins are allowed.
pub fn protect(router: Router, authenticator: &Authenticator) -> Router {
    router.layer(cors(authenticator)).layer(from_fn_with_state(authenticator.clone(), admit))
}

async fn admit(
    State(authenticator): State<Authenticator>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let peer = request.extensions().get::<Peer>().ok_or_else(|| {
        ApiError::internal(&std::io::Error::other("a request came without the address of its peer"))
    })?;
    authenticator.admit(peer.address.ip(), request.headers())?;
    Ok(next.run(request).await)
}

fn cors(authenticator: &Authenticator) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods(AllowMethods::list([Method::GET, Method::POST, Method::PUT, Method::DELETE]))
        .allow_headers(AllowHeaders::list([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
        ]))
        .max_age(MaxAge::exact(MAX_AGE));
    let origins = authenticator.admission().origins().clone();
    if origins == Origins::Any {
        // All origins together with cookies would let every web page act as the user.
        return layer.allow_origin(AllowOrigin::any());
    }
    let allowed = move |origin: &HeaderValue, request: &Parts| {
        let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        origin.to_str().is_ok_and(|origin| origins.allow(origin, host))
    };
    layer.allow_origin(AllowOrigin::predicate(allowed)).allow_credentials(true)
}
