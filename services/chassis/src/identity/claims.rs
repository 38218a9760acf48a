//! What a token says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::Value;

use super::{Identity, Refusal, Standing, keys::LEEWAY};

/// The claims of a token whose signature, times, issuer and audience were found right.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    sub: Option<Value>,
    #[serde(rename = "userId")]
    user_id: Option<Value>,
    id: Option<Value>,
    org: Option<Value>,
    scope: Option<Value>,
    /// Seconds since 1970; fractions are allowed.
    exp: Option<Value>,
}

impl Claims {
    /// Whom the token speaks for; it may be a service with scopes and no user.
    pub(super) fn into_identity(self) -> Result<Identity, Refusal> {
        let mut user = None;
        for claim in [self.sub, self.user_id, self.id] {
            if user.is_none() {
                user = name(claim, "its user (sub, userId or id) is neither a string nor an integer")?;
            }
        }
        Ok(Identity {
            user,
            organisation: name(self.org, "its org is neither a string nor an integer")?,
            scopes: scopes(self.scope)?,
            expires_at: Some(end(self.exp.as_ref())?),
            standing: Standing::Proven,
        })
    }
}

/// From when on the token is no longer accepted.
fn end(exp: Option<&Value>) -> Result<SystemTime, Refusal> {
    let exp = exp.and_then(Value::as_f64).and_then(|exp| Duration::try_from_secs_f64(exp).ok());
    let end = exp.and_then(|exp| UNIX_EPOCH.checked_add(exp)?.checked_add(LEEWAY));
    end.ok_or(Refusal::TokenInvalid("its expiry (exp) is not a time"))
}

/// A non-empty string, or an integer as its decimal text.
fn name(claim: Option<Value>, otherwise: &'static str) -> Result<Option<String>, Refusal> {
    match claim {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok((!text.is_empty()).then_some(text)),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Some(number.to_string())),
        Some(_) => Err(Refusal::TokenInvalid(otherwise)),
    }
}

fn scopes(claim: Option<Value>) -> Result<Vec<String>, Refusal> {
    let refused = Refusal::TokenInvalid("its scope is neither a string nor an array of strings");
    match claim {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.split_whitespace().map(str::to_owned).collect()),
        Some(Value::Array(values)) => values
            .into_iter()
            .map(|value| if let Value::String(scope) = value { Ok(scope) } else { Err(refused) })
            .collect(),
        Some(_) => Err(refused),
    }
}
