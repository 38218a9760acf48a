//! Why somebody is turned away.

use http::StatusCode;

use crate::error::ApiError;

/// Why a token, a request or a connection is refused. Messages never contain the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// None was sent where one is needed.
    #[error("a token is needed: send it as \"Authorization: Bearer TOKEN\" or where the protocol has it")]
    TokenMissing,
    /// It can't be trusted.
    #[error("the token is refused: {0}")]
    TokenInvalid(&'static str),
    /// It was good once.
    #[error("the token has expired; get a new one and try again")]
    TokenExpired,
    /// The keys of `JWKS_URL` were not reached yet.
    #[error("the keys that tokens are checked against were not reached yet; try again")]
    KeysUnavailable,
    /// It is good, but does not allow this.
    #[error("the token lacks the scope {0}")]
    ScopeMissing(&'static str),
    /// It is good, but somebody else's.
    #[error("this belongs to another user; only that user or a token with the scope {0} may use it")]
    NotYours(&'static str),
    /// A web page of a site that is not allowed.
    #[error("web pages of this Origin are not allowed; CORS_ORIGINS lists those that are")]
    OriginRefused,
    /// A request by way of a proxy where only this machine is served.
    #[error("forwarded requests are refused while no key is set; set a key such as JWT_SECRET, or AUTH=off")]
    ForwardedRefused,
    /// A request for another host name where only this machine is served.
    #[error(
        "only requests for a loopback Host are served while no key is set; set a key such as JWT_SECRET, or AUTH=off"
    )]
    HostRefused,
}

impl Refusal {
    /// The name that programs know it by.
    pub fn code(self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid(_) => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::KeysUnavailable => "keys_unavailable",
            Self::ScopeMissing(_) => "scope_missing",
            Self::NotYours(_) => "not_yours",
            Self::OriginRefused => "origin_refused",
            Self::ForwardedRefused => "forwarded_refused",
            Self::HostRefused => "host_refused",
        }
    }

    /// 401: send a (better) token; 403: a token does not help; 503: try again.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TokenMissing | Self::TokenInvalid(_) | Self::TokenExpired => StatusCode::UNAUTHORIZED,
            Self::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status(), refusal.code(), refusal.to_string())
    }
}
