//! What services may say to users beside the streams.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use synapse_chassis::{error::ApiError, request::parse_object};
use synapse_realtime::hub::Room;
use utoipa::ToSchema;

use crate::{gateway::Gateway, relay::RelayError, requests::id_of};

/// The scope with which a service may speak to users.
pub(crate) const SCOPE: &str = "events:publish";

/// What a user is told of its progress in a game.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the form of a body, for its description")]
pub(crate) struct NewGamification {
    /// Who is told: a text or a whole number.
    #[schema(min_length = 1, max_length = 256)]
    user_id: String,
    /// What kind of progress it is.
    #[schema(min_length = 1)]
    r#type: String,
    /// What goes along.
    data: Option<Value>,
}

/// It is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Emitted {
    /// Always true.
    success: bool,
}

/// Tells a user of its progress in a game, on every connection that it has to any replica; nothing is kept for later.
/// Connections get `gamification:event {type, data, timestamp}`.
#[utoipa::path(
    post, path = "/emit/gamification", operation_id = "emit_gamification", tag = "emit",
    request_body(content = NewGamification, content_type = "application/json"),
    responses((status = 200, description = "all replicas are told", body = Emitted)),
)]
pub(crate) async fn gamification(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Json<Emitted>, ApiError> {
    gateway.require(request.headers()).await?.must_have(SCOPE)?;
    let body = gateway.bodies.json(request).await?;
    let body: Value = parse_object(&body.bytes)?;
    let user = id_of(body.get("userId"), "userId").map_err(|error| ApiError::bad_field("userId", error))?;
    let user = Room::user(&user).map_err(|error| ApiError::bad_field("userId", error))?;
    let kind = body["type"].as_str().filter(|kind| !kind.is_empty());
    let kind = kind.ok_or_else(|| ApiError::bad_field("type", "is not a text, or empty"))?;
    let timestamp = format!("{:.3}", jiff::Timestamp::now());
    let said = json!({ "type": kind, "data": body["data"], "timestamp": timestamp });
    gateway.relay.tell_gamification(&user, said).await?;
    Ok(Json(Emitted { success: true }))
}

impl From<RelayError> for ApiError {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Publish(_) | RelayError::TooLate => {
                Self::unavailable("redis_unavailable", error.to_string())
            }
            RelayError::Delivery(_) => {
                Self::new(StatusCode::BAD_GATEWAY, "refused_by_redis", error.to_string())
            }
        }
    }
}
