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
