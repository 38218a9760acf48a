//! Errors as a client of the HTTP face sees them.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use synapse_rs::stream::StreamError;

/// An error that a client is told: `{"error": {"code": "…", "message": "…"}}` with a fitting status.
///
/// ```
/// use http::StatusCode;
/// use synapse_chassis::error::ApiError;
///
/// let error = ApiError::new(StatusCode::NOT_FOUND, "stream_not_found", "there is no stream \"x\"");
/// assert_eq!(error.to_string(), "stream_not_found: there is no stream \"x\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The status of the response.
    pub status: StatusCode,
    /// The name that programs know it by; never changed once published.
    pub code: &'static str,
    /// What is wrong and what to do, for people.
    pub message: String,
    /// The part of the request that is wrong, for example `taskData.title`.
    pub field: Option<String>,
}

impl ApiError {
    /// An error with its status, code and message.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None }
    }

    /// 400: the request can't be understood; the message names what and how it should be.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 400: a part of the request is not as it should be; the message names it too.
    pub fn bad_field(field: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        let field = field.into();
        Self::bad_request("invalid_request", format!("{field}: {reason}")).at(field)
    }

    /// The same, with the part of the request that is wrong.
    pub fn at(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// 404: there is no such thing.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 503: not now; the client may try again.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// 500: our fault. The cause is logged for the operator and kept from the client.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = %cause, "a request failed");
        let message = "something went wrong here; the log of the service says what";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl ApiError {
    fn name_field(&self, body: &mut Value) {
        if let Some(field) = &self.field {
            body["field"] = field.as_str().into();
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut reason = json!({ "code": self.code, "message": self.message });
        self.name_field(&mut reason);
        let body = json!({ "error": reason });
        let mut response = (self.status, Json(body)).into_response();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives an error the form of the routes that were there before us: `{"error": "…", "code": "…"}`.
///
/// To be laid around such routes by [`axum::middleware::map_response`].
#[expect(clippy::unused_async, reason = "the form of a middleware")]
pub async fn flat(mut response: Response) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else { return response };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut body = json!({ "error": error.message, "code": error.code });
    error.name_field(&mut body);
    (parts.status, parts.headers, Json(body)).into_response()
}

/// What Redis could not do is told by what the client can do about it; the rest is for the log.
impl From<StreamError> for ApiError {
    fn from(error: StreamError) -> Self {
        if error.is_transient() {
            tracing::debug!(%error, "a request could not ask redis");
            return Self::unavailable("redis_unavailable", "redis does not answer for the moment; try again");
        }
        match &error {
            StreamError::Refused { command, .. } if error.code() == Some("WRONGTYPE") => Self::new(
                StatusCode::CONFLICT,
                "wrong_type",
                format!("{command}: the key is there, but is no stream; rename it or use another name"),
            ),
            _ => Self::internal(&error),
        }
    }
}

/// The answer to a method that a path does not take.
pub fn method_not_allowed(method: &http::Method, uri: &http::Uri) -> ApiError {
    let message = format!("{} does not take {method}; see /openapi.json", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// The answer to a path that is not served.
pub fn no_such_route(uri: &http::Uri) -> ApiError {
    ApiError::not_found("route_not_found", format!("nothing is served at {}", uri.path()))
}

#[cfg(test)]
mod tests;
