//! Requests that are sent again and have their effect once.
//!
//! What was answered to a request with an `Idempotency-Key` is kept with the change itself, in one transaction; the same
//! key gets the same answer. A refused request has had no effect and is not remembered. (The header is that of the IETF draft
//! "The Idempotency-Key HTTP Header Field".)

use http::{HeaderMap, StatusCode};
use serde::Serialize;
use synapse_chassis::{error::ApiError, identity::Identity};
use synapse_database::{AnyConnection, Change, Refusable, Row as _, sqlx, take_turns};

use crate::task::now;

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// A key, whose it is, and what it was given for.
#[derive(Clone, Debug)]
pub struct Key {
    asker: String,
    text: String,
    request: String,
}

impl Key {
    /// The key of a request, if it has one.
    pub fn read(
        headers: &HeaderMap,
        identity: &Identity,
        target: &str,
        body: &[u8],
    ) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let expected = || {
            let reason = format!("expected 1 to {MAX_KEY_BYTES} printable characters of ASCII");
            ApiError::bad_field("Idempotency-Key", reason)
        };
        let key = value.to_str().map_err(|_| expected())?.trim();
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(expected());
        }
        let asker = identity.user.clone().unwrap_or_default();
        Ok(Some(Self { asker, text: key.to_owned(), request: fingerprint(target, body) }))
    }

    async fn answered(&self, connection: &mut AnyConnection) -> Result<Option<String>, Refusable<ApiError>> {
        const ANSWER: &str = "SELECT request, body FROM answers WHERE asker = $1 AND idempotency_key = $2";
        // Of two at once, the second waits for the first.
        take_turns(connection, &format!("synapse_tasks.answers/{}/{}", self.asker, self.text)).await?;
        let found = sqlx::query(ANSWER).bind(&self.asker).bind(&self.text).fetch_optional(connection).await?;
        let Some(row) = found else { return Ok(None) };
        if row.try_get::<String, _>("request")? == self.request {
            return Ok(Some(row.try_get("body")?));
        }
        let message = "Idempotency-Key: this key was given for another request; use a new one";
        let reused = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", message);
        Err(Refusable::Refused(reused.at("Idempotency-Key")))
    }

    async fn remember(&self, connection: &mut AnyConnection, body: &str) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO answers VALUES ($1, $2, $3, $4, $5)")
            .bind(&self.asker)
            .bind(&self.text)
            .bind(&self.request)
            .bind(body)
            .bind(now())
            .execute(connection)
            .await
            .map(drop)
    }
}

/// Tells a request from another that carries the same key by mistake.
fn fingerprint(target: &str, body: &[u8]) -> String {
    format!("{target} {}", sha1_smol::Sha1::from(body).digest())
}

/// A change that has its effect once per key; the answer is its output as JSON.
#[derive(Debug)]
pub struct Once<C> {
    /// The change.
    pub change: C,
    /// The key, if there is one.
    pub key: Option<Key>,
}

impl<C> Change for Once<C>
where
    C: Change<Refusal = ApiError>,
    C::Output: Serialize,
{
    type Output = String;
    type Refusal = ApiError;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<String, Refusable<ApiError>> {
        if let Some(key) = &self.key
            && let Some(body) = key.answered(connection).await?
        {
            return Ok(body);
        }
        let output = self.change.apply(connection).await?;
        let body =
            serde_json::to_string(&output).map_err(|error| Refusable::Refused(ApiError::internal(&error)))?;
        if let Some(key) = &self.key {
            key.remember(connection, &body).await?;
        }
        Ok(body)
    }
}
