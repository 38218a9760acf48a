//! What is sent: JSON that the page's service worker shows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    notification::{Notification, data_of},
    store::PushOf,
};

/// The longest payload: with the header and what encryption adds it makes the 4,096 bytes that push services take.
pub const MAX_PAYLOAD_BYTES: usize = 3_993;
/// How long push services keep a push for a browser that is off.
pub const LIFE: Duration = Duration::from_hours(1);
const ICON: &str = "/icon-192x192.png";
const URL: &str = "/";

/// A push as a service of ours asks for it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct Wanted {
    /// What stands above.
    pub title: String,
    /// What it says.
    pub body: String,
    /// The address of a picture; a default of the page's if there is none.
    #[serde(default)]
    #[schema(nullable)]
    pub icon: Option<String>,
    /// The address of a small picture, or a number.
    #[serde(default)]
    #[schema(nullable)]
    pub badge: Option<Badge>,
    /// What goes along for the page.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Map<String, Value>>,
    /// What a click opens.
    #[serde(default)]
    #[schema(nullable)]
    pub url: Option<String>,
}

/// A small picture, or a whole number.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Badge {
    /// How many there are.
    Count(i64),
    /// The address of a picture.
    Picture(String),
}

/// A push that goes with a notification.
pub fn of(notification: &Notification) -> PushOf {
    let mut data = Map::new();
    if let Value::Object(own) = data_of(&notification.data) {
        data = own;
    }
    data.insert("id".to_owned(), json!(notification.id));
    data.insert("type".to_owned(), json!(notification.kind));
    let payload = Wanted {
        title: notification.title.clone(),
        body: notification.message.clone(),
        icon: None,
        badge: None,
        data: Some(data),
        url: None,
    }
    .payload();
    let life_ms = i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX);
    PushOf { payload, expires_ms: notification.created_ms.saturating_add(life_ms) }
}

impl Wanted {
    /// What is encrypted. If it is too long, first the data goes, but for id and type, and then the end of the body.
    pub fn payload(&self) -> String {
        let mut data = self.data.clone().unwrap_or_default();
        let whole = self.written(&data, &self.title, &self.body);
        if whole.len() <= MAX_PAYLOAD_BYTES {
            return whole;
        }
        data.retain(|name, value| matches!(name.as_str(), "id" | "type") && value.to_string().len() <= 300);
        let mut keep = MAX_PAYLOAD_BYTES;
        loop {
            let payload = self.short().written(&data, cut(&self.title, keep / 4), cut(&self.body, keep));
            if payload.len() <= MAX_PAYLOAD_BYTES || keep == 0 {
                return payload;
            }
            // Quotes and the like take more bytes than they count here.
            keep -= (payload.len() - MAX_PAYLOAD_BYTES).div_ceil(6).max(1).min(keep);
        }
    }

    /// Without addresses that would leave no room for anything else.
    fn short(&self) -> Self {
        let fits = |text: &Option<String>| text.clone().filter(|text| json!(text).to_string().len() <= 500);
        let badge = self.badge.clone().filter(|badge| json!(badge).to_string().len() <= 500);
        Self { icon: fits(&self.icon), url: fits(&self.url), badge, ..self.clone() }
    }

    fn written(&self, data: &Map<String, Value>, title: &str, body: &str) -> String {
        let mut data = data.clone();
        data.insert(
            "url".to_owned(),
            json!(self.url.as_deref().filter(|url| !url.is_empty()).unwrap_or(URL)),
        );
        json!({
            "title": title,
            "body": body,
            "icon": self.icon.as_deref().filter(|icon| !icon.is_empty()).unwrap_or(ICON),
            "badge": self.badge.clone().unwrap_or(Badge::Count(0)),
            "data": data,
        })
        .to_string()
    }
}

/// The first so many bytes of a text, or a little less: no character is cut.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(title: &str, body: &str, data: &Value) -> Wanted {
        let data = data.as_object().cloned();
        Wanted { title: title.to_owned(), body: body.to_owned(), icon: None, badge: None, data, url: None }
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let payload: Value = serde_json::from_str(&wanted("t", "b", &json!({"a": 1})).payload()).unwrap();
        let whole = json!({
            "title": "t", "body": "b", "icon": "/icon-192x192.png", "badge": 0, "data": {"a": 1, "url": "/"},
        });
        assert_eq!(payload, whole);
    }

    #[test]
    fn data_goes_before_the_body_is_cut() {
        let data = json!({"id": "1", "type": "t", "much": "x".repeat(4_000)});
        let payload: Value = serde_json::from_str(&wanted("t", "body", &data).payload()).unwrap();
        assert_eq!(payload["data"], json!({"id": "1", "type": "t", "url": "/"}));
        assert_eq!(payload["body"], "body");
    }

    proptest! {
        #[test]
        fn a_payload_always_fits_and_is_json(
            title in ".{0,3000}", body in "[\u{0}-\u{ffff}]{0,6000}", icon in ".{0,3000}", data in ".{0,5000}",
        ) {
            let mut wanted = wanted(&title, &body, &json!({ "id": data }));
            wanted.icon = Some(icon.clone());
            wanted.url = Some(icon);
            let payload = wanted.payload();
            prop_assert!(payload.len() <= MAX_PAYLOAD_BYTES, "{} bytes", payload.len());
            let payload: Value = serde_json::from_str(&payload).unwrap();
            prop_assert!(body.starts_with(payload["body"].as_str().unwrap()));
        }
    }
}
