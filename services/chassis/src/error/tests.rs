use axum::body::to_bytes;

use super::*;

#[tokio::test]
async fn a_client_gets_code_and_message_as_json() {
    let response = ApiError::not_found("stream_not_found", "no stream \"x\"").into_response();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let body = to_bytes(response.into_body(), 1024).await.unwrap();
    assert_eq!(body, r#"{"error":{"code":"stream_not_found","message":"no stream \"x\""}}"#);
}

#[tokio::test]
async fn an_internal_cause_is_kept_from_the_client() {
    let error = ApiError::internal(&std::io::Error::other("password of the database"));
    assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!error.to_string().contains("password"));
}

#[test]
fn only_a_401_asks_for_a_token() {
    let status = |status| ApiError::new(status, "x", "y").into_response();
    assert_eq!(status(StatusCode::UNAUTHORIZED).headers()[header::WWW_AUTHENTICATE], "Bearer");
    assert!(!status(StatusCode::FORBIDDEN).headers().contains_key(header::WWW_AUTHENTICATE));
}

#[tokio::test]
async fn older_routes_have_the_message_as_the_error() {
    let response = flat(ApiError::not_found("stream_not_found", "no stream \"x\"").into_response()).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(response.headers().get_all(header::CONTENT_TYPE).iter().count(), 1);
    let body = to_bytes(response.into_body(), 1024).await.unwrap();
    assert_eq!(body, r#"{"error":"no stream \"x\"","code":"stream_not_found"}"#);
    let refused = flat(ApiError::new(StatusCode::UNAUTHORIZED, "x", "y").into_response()).await;
    assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer");
    let other = flat((StatusCode::OK, "text").into_response()).await;
    assert_eq!(to_bytes(other.into_body(), 1024).await.unwrap(), "text");
}

#[test]
fn what_redis_refuses_is_told_by_what_a_client_can_do() {
    let error = |reason: &str| {
        ApiError::from(StreamError::Refused { command: "XADD s".to_owned(), reason: reason.to_owned() })
    };
    assert_eq!(error("OOM command not allowed").status, StatusCode::SERVICE_UNAVAILABLE);
    let wrong = error("WRONGTYPE Operation against a key");
    assert_eq!((wrong.status, wrong.code), (StatusCode::CONFLICT, "wrong_type"));
    assert_eq!(error("NOPERM no").status, StatusCode::INTERNAL_SERVER_ERROR);
    let gone = StreamError::Unreachable { address: "10.0.0.1".to_owned(), reason: "x".to_owned() };
    assert!(!ApiError::from(gone).to_string().contains("10.0.0.1"));
}
