//! Web Push over HTTP, in the shapes that clients know, and how many are connected.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State, rejection::PathRejection},
};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use serde::Deserialize as _;
use serde_json::Value;
use synapse_chassis::{error::ApiError, identity::Identity, request::parse};

mod forms;

use self::forms::{
    Body, Connected, Endpoint, Forget, Kept, OfUser, PublicKey, Sent, SentToMany, ToMany, ToUser, ToValidate,
    UserId, Valid, Whole,
};
use crate::{
    SCOPE,
    inbox::{Shown, check_user},
    metrics,
    platform::Platform,
    push::{
        message::{LIFE, Wanted},
        queue::forget_if_gone,
        sender::PushError,
    },
    store::{self, Subscription},
};

/// How many subscriptions one request may push to.
const MAX_SUBSCRIPTIONS_AT_ONCE: usize = 100;
/// How many requests to push one user may have at a time.
const MAX_REQUESTS_OF_USER: usize = 2;
/// How many pushes of one such request are sent at a time.
const AT_ONCE_OF_USER: usize = 4;
/// How many notifications `GET /push/{userId}` gives.
const LISTED: u32 = 100;

/// How many users are connected.
#[utoipa::path(
    get, path = "/websocket/status", operation_id = "websocket_status", tag = "push",
    responses((status = 200, description = "how many", body = Connected)),
)]
pub(crate) async fn status(
    State(platform): State<Arc<Platform>>,
    headers: HeaderMap,
) -> Result<Json<Connected>, ApiError> {
    platform.require(&headers).await?;
    let timestamp = format!("{:.3}", jiff::Timestamp::now());
    Ok(Json(Connected { status: "ok", connections: platform.feed.hub.room_count(), timestamp }))
}

/// The key that browsers need to subscribe: for everyone.
#[utoipa::path(
    get, path = "/push/vapid-key", operation_id = "vapid_key", tag = "push",
    responses((status = 200, description = "the key", body = PublicKey)),
)]
pub(crate) async fn vapid_key(State(platform): State<Arc<Platform>>) -> Result<Json<PublicKey>, ApiError> {
    Ok(Json(PublicKey { public_key: platform.sender.key().await?.public() }))
}

/// Keeps a subscription of a user, of which it has 20 at most; with one more the oldest goes.
#[utoipa::path(
    post, path = "/push/subscribe", operation_id = "subscribe", tag = "push",
    request_body(content = OfUser, content_type = "application/json"),
    responses((status = 200, description = "it is kept", body = Kept)),
)]
pub(crate) async fn subscribe(
    State(platform): State<Arc<Platform>>,
    request: Request,
) -> Result<Json<Kept>, ApiError> {
    let (identity, body) = body_of(&platform, request).await?;
    let (user, subscription) = user_and_subscription(&body, &identity)?;
    platform.sender.check(&subscription).map_err(|error| ApiError::bad_field("subscription", error))?;
    let endpoint = subscription.endpoint.clone();
    platform.store.subscribe(user.clone(), subscription).await?;
    Ok(Json(Kept {
        success: true,
        message: "Subscription registered successfully",
        user_id: user,
        subscription: Some(Endpoint { endpoint }),
    }))
}

/// Forgets a subscription of a user.
#[utoipa::path(
    post, path = "/push/unsubscribe", operation_id = "unsubscribe", tag = "push",
    request_body(content = Forget, content_type = "application/json"),
    responses((status = 200, description = "it is not there any more", body = Kept)),
)]
pub(crate) async fn unsubscribe(
    State(platform): State<Arc<Platform>>,
    request: Request,
) -> Result<Json<Kept>, ApiError> {
    let (identity, body) = body_of(&platform, request).await?;
    let missing = || ApiError::bad_request("invalid_request", "userId and subscription are required");
    let user = user_of(&body, &identity)?.ok_or_else(missing)?;
    let endpoint = match &body.subscription {
        Value::Null => return Err(missing()),
        subscription => text_at(subscription, "endpoint").ok_or_else(invalid_subscription)?,
    };
    platform.store.unsubscribe(user.clone(), endpoint).await?;
    let message = "Subscription removed successfully";
    Ok(Json(Kept { success: true, message, user_id: user, subscription: None }))
}

/// Pushes to a user now, once.
#[utoipa::path(
    post, path = "/push/send", operation_id = "send_push", tag = "push",
    request_body(content = ToUser, content_type = "application/json"),
    responses((status = 200, description = "what became of it", body = Sent)),
)]
pub(crate) async fn send(
    State(platform): State<Arc<Platform>>,
    request: Request,
) -> Result<Json<Sent>, ApiError> {
    let (identity, body) = body_of(&platform, request).await?;
    let missing = || ApiError::bad_request("invalid_request", "userId and notification are required");
    let user = user_of(&body, &identity)?.ok_or_else(missing)?;
    let payload = payload_of(&body)?.ok_or_else(missing)?;
    let who = identity.user.clone().unwrap_or_else(|| user.clone());
    let _place = platform.pushing.acquire(who, MAX_REQUESTS_OF_USER).ok_or_else(|| {
        let message =
            format!("{MAX_REQUESTS_OF_USER} pushes of this user are on their way; wait for one of them");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_pushes", message)
    })?;
    let subscriptions = match &body.subscription {
        Value::Null => platform.store.subscriptions(user).await?,
        subscription => vec![subscription_of(subscription)?],
    };
    let results = send_all(&platform, subscriptions, payload, AT_ONCE_OF_USER).await;
    if results.iter().any(Result::is_ok) {
        return Ok(Json(Sent { success: true, error: None, should_remove: None }));
    }
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    let all_gone = !errors.is_empty() && errors.iter().all(|error| matches!(error, PushError::Gone(_)));
    let error = errors.iter().find(|error| !matches!(error, PushError::Gone(_))).or(errors.first());
    let error = error.map_or_else(|| "the user has no subscription".to_owned(), PushError::to_string);
    Ok(Json(Sent { success: false, error: Some(error), should_remove: all_gone.then_some(true) }))
}

/// Pushes to many now, once (scope `notifications:all`).
#[utoipa::path(
    post, path = "/push/send-multiple", operation_id = "send_pushes", tag = "push",
    request_body(content = ToMany, content_type = "application/json"),
    responses((status = 200, description = "what became of them", body = SentToMany)),
)]
pub(crate) async fn send_multiple(
    State(platform): State<Arc<Platform>>,
    request: Request,
) -> Result<Json<SentToMany>, ApiError> {
    let (identity, body) = body_of(&platform, request).await?;
    identity.must_have(SCOPE)?;
    let missing = || ApiError::bad_request("invalid_request", "subscriptions and notification are required");
    let payload = payload_of(&body)?.ok_or_else(missing)?;
    let given = body.subscriptions.as_array().ok_or_else(missing)?;
    if given.len() > MAX_SUBSCRIPTIONS_AT_ONCE {
        let reason = format!("has {} entries, expected {MAX_SUBSCRIPTIONS_AT_ONCE} at most", given.len());
        return Err(ApiError::bad_field("subscriptions", reason));
    }
    let subscriptions: Vec<_> = given.iter().filter_map(|given| subscription_of(given).ok()).collect();
    let all = given.len();
    let results = send_all(&platform, subscriptions, payload, MAX_SUBSCRIPTIONS_AT_ONCE).await;
    let success_count = results.iter().filter(|result| result.is_ok()).count();
    Ok(Json(SentToMany { success: true, success_count, failure_count: all - success_count }))
}

/// Whether a subscription can be sent to: an https address, a point of P-256, and a secret of 16 bytes.
#[utoipa::path(
    post, path = "/push/validate", operation_id = "validate_subscription", tag = "push",
    request_body(content = ToValidate, content_type = "application/json"),
    responses((status = 200, description = "whether", body = Valid)),
)]
pub(crate) async fn validate(
    State(platform): State<Arc<Platform>>,
    request: Request,
) -> Result<Json<Valid>, ApiError> {
    let (_, body) = body_of(&platform, request).await?;
    if !body.subscription.is_object() {
        return Err(ApiError::bad_request("invalid_request", "subscription is required: an object"));
    }
    let subscription = subscription_of(&body.subscription);
    let valid = subscription.is_ok_and(|subscription| platform.sender.check(&subscription).is_ok());
    Ok(Json(Valid { valid }))
}

/// The newest notifications of a user.
#[utoipa::path(
    get, path = "/push/{userId}", operation_id = "list_pushes", tag = "push",
    params(("userId" = String, Path, description = "whose", min_length = 1, max_length = 256)),
    responses((status = 200, description = "up to 100 or 1 MiB, newest first", body = Vec<Shown>)),
)]
pub(crate) async fn of_user(
    State(platform): State<Arc<Platform>>,
    user: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Vec<Shown>>, ApiError> {
    let identity = platform.require(&headers).await?;
    let Path(user) = user.map_err(|error| ApiError::bad_field("userId", error.body_text()))?;
    check_user("userId", &user)?;
    identity.must_be(&user, SCOPE)?;
    let wanted = store::Query { user, unread: false, limit: LISTED, before: None };
    Ok(Json(platform.store.list(wanted).await?.0.iter().map(Shown::from).collect()))
}

// === what requests say ===

async fn body_of(platform: &Platform, request: Request) -> Result<(Identity, Body), ApiError> {
    let identity = platform.require(request.headers()).await?;
    let received = platform.bodies.json(request).await?;
    let body: Value = parse(&received.bytes)?;
    if !body.is_object() {
        return Err(ApiError::bad_request("invalid_request", "the body is not an object with named fields"));
    }
    let body = serde_json::from_value(body)
        .map_err(|error| ApiError::bad_request("invalid_request", error.to_string()))?;
    Ok((identity, body))
}

/// Whose subscription or push it is, by somebody who may; `None` if it does not say.
fn user_of(body: &Body, identity: &Identity) -> Result<Option<String>, ApiError> {
    if body.user_id.is_null() {
        return Ok(None);
    }
    let user = match UserId::deserialize(&body.user_id) {
        Ok(UserId::Text(user)) if user.is_empty() => return Ok(None),
        Ok(UserId::Text(user)) => user,
        Ok(UserId::Number(Whole(user))) if user.is_i64() || user.is_u64() => user.to_string(),
        _ => return Err(ApiError::bad_field("userId", "expected a text or a whole number")),
    };
    check_user("userId", &user)?;
    identity.must_be(&user, SCOPE)?;
    Ok(Some(user))
}

fn user_and_subscription(body: &Body, identity: &Identity) -> Result<(String, Subscription), ApiError> {
    let missing = || ApiError::bad_request("invalid_request", "userId and subscription are required");
    let user = user_of(body, identity)?.ok_or_else(missing)?;
    match &body.subscription {
        Value::Null => Err(missing()),
        subscription => Ok((user, subscription_of(subscription)?)),
    }
}

fn invalid_subscription() -> ApiError {
    ApiError::bad_request("invalid_subscription", "Invalid subscription object").at("subscription")
}

fn subscription_of(given: &Value) -> Result<Subscription, ApiError> {
    let keys = &given["keys"];
    let found = || {
        Some(Subscription {
            endpoint: text_at(given, "endpoint")?,
            p256dh: text_at(keys, "p256dh")?,
            auth: text_at(keys, "auth")?,
        })
    };
    found().ok_or_else(invalid_subscription)
}

/// A text that says something, and that any database can keep.
fn text_at(value: &Value, name: &str) -> Option<String> {
    let text = value.get(name)?.as_str()?;
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

fn payload_of(body: &Body) -> Result<Option<String>, ApiError> {
    if body.notification.is_null() {
        return Ok(None);
    }
    let wanted: Wanted = serde_json::from_value(body.notification.clone())
        .map_err(|error| ApiError::bad_field("notification", error))?;
    Ok(Some(wanted.payload()))
}

/// Pushes to each, so many at a time, as far as [`Sender`](crate::push::Sender) has places; forgets those that are gone.
async fn send_all(
    platform: &Arc<Platform>,
    subscriptions: Vec<Subscription>,
    payload: String,
    at_once: usize,
) -> Vec<Result<(), PushError>> {
    let sending = subscriptions.into_iter().map(|subscription| {
        let (platform, payload) = (platform.clone(), payload.clone());
        async move {
            let result = platform.sender.send_for_request(&subscription, &payload, LIFE).await;
            metrics::pushed(match &result {
                Ok(()) => "sent",
                Err(PushError::Gone(_)) => "gone",
                Err(error) if error.is_transient() => "failed",
                Err(_) => "refused",
            });
            forget_if_gone(&platform.store, &subscription, &result).await;
            result
        }
    });
    futures_util::stream::iter(sending).buffer_unordered(at_once).collect().await
}
