//! What requests to these routes hold, and what they are answered with.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{Object, Type},
    },
};

use crate::push::message::Wanted;

/// A subscription, as a browser gives it.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of a body, for its description")]
pub(crate) struct BrowserSubscription {
    /// The push service's address for this browser.
    pub(crate) endpoint: String,
    /// What pushes are encrypted with.
    pub(crate) keys: Keys,
}

/// What pushes are encrypted with.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of a body, for its description")]
pub(crate) struct Keys {
    /// A point of P-256, base64url.
    pub(crate) p256dh: String,
    /// 16 bytes, base64url.
    pub(crate) auth: String,
}

/// A number from −2⁶³ to 2⁶⁴−1.
#[derive(Debug, Deserialize)]
pub(crate) struct Whole(pub(crate) serde_json::Number);

impl PartialSchema for Whole {
    fn schema() -> RefOr<Schema> {
        Object::builder().schema_type(Type::Integer).into()
    }
}

impl ToSchema for Whole {}

/// A user's id: a text of 1 to 256 bytes, or a whole number.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum UserId {
    Text(String),
    Number(Whole),
}

/// A user's subscription.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the form of a body, for its description")]
pub(crate) struct OfUser {
    /// Whose.
    pub(crate) user_id: UserId,
    /// Where its pushes go.
    pub(crate) subscription: BrowserSubscription,
}

/// A user's subscription that is to be forgotten.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the form of a body, for its description")]
pub(crate) struct Forget {
    /// Whose.
    pub(crate) user_id: UserId,
    /// Where its pushes went.
    pub(crate) subscription: Endpoint,
}

/// A push to a user.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the form of a body, for its description")]
pub(crate) struct ToUser {
    /// To whom.
    pub(crate) user_id: UserId,
    /// Where to; to all of the user's if there is none.
    pub(crate) subscription: Option<BrowserSubscription>,
    /// What it says.
    pub(crate) notification: Wanted,
}

/// A push to many.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of a body, for its description")]
pub(crate) struct ToMany {
    /// Where to; one that can't be right counts as failed.
    #[schema(max_items = 100, value_type = Vec<Value>)]
    pub(crate) subscriptions: (),
    /// What it says.
    pub(crate) notification: Wanted,
}

/// A subscription to look at.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of a body, for its description")]
pub(crate) struct ToValidate {
    /// The subscription.
    #[schema(value_type = Object)]
    pub(crate) subscription: (),
}

/// A body of these routes; what is needed of it depends on the route.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Body {
    pub(crate) user_id: Value,
    pub(crate) subscription: Value,
    pub(crate) subscriptions: Value,
    pub(crate) notification: Value,
}

/// Who is connected.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connected {
    /// `ok`.
    pub(crate) status: &'static str,
    /// How many users are connected to this replica.
    pub(crate) connections: usize,
    /// Now, RFC 3339.
    pub(crate) timestamp: String,
}

/// The key that browsers need to subscribe.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublicKey {
    /// base64url of the uncompressed point.
    pub(crate) public_key: String,
}

/// A subscription was kept, or forgotten.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kept {
    pub(crate) success: bool,
    pub(crate) message: &'static str,
    pub(crate) user_id: String,
    /// Where its pushes go.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) subscription: Option<Endpoint>,
}

/// Where pushes go.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Endpoint {
    pub(crate) endpoint: String,
}

/// What became of a push.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    /// Whether a push service took it.
    pub(crate) success: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) error: Option<String>,
    /// Whether the subscription is worth nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) should_remove: Option<bool>,
}

/// What became of pushes to many.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SentToMany {
    /// Whether all of them were tried.
    pub(crate) success: bool,
    /// How many a push service took.
    pub(crate) success_count: usize,
    /// How many not.
    pub(crate) failure_count: usize,
}

/// Whether a subscription can be sent to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Valid {
    pub(crate) valid: bool,
}
