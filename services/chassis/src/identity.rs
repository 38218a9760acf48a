//! Who is asking: tokens, scopes, and which web pages and proxies are believed.
//!
//! Three ways to run, decided by [`IdentitySettings`]:
//!
//! * with a key, each token is checked against it, and its algorithm is the key's, never the token's;
//! * without a key, on a loopback address only: identity is by the client's word, and whatever could
//!   come from elsewhere (a web page of another site, a forwarded request, a foreign `Host`) is refused;
//! * with `AUTH=off`, identity is by the client's word on any address.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, header};
use synapse_rs::shutdown::Shutdown;

use crate::settings::{Common, SettingError};

mod admission;
mod claims;
mod fetch;
mod guard;
mod jwks;
mod keys;
mod origins;
mod pem_key;
mod proxies;
mod refresh;
mod refusal;
mod settings;

pub use admission::Admission;
pub use guard::protect;
pub use origins::Origins;
pub use proxies::TrustedProxies;
pub use refusal::Refusal;
pub use settings::*;

use claims::Claims;
use keys::{Checker, Failure};
use refresh::Keys;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// What stands behind an [`Identity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// No token where tokens are asked for.
    Anonymous,
    /// A token that was checked.
    Proven,
    /// The client's word, where no key is set.
    Claimed,
}

/// On whose behalf a request or connection acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user, if the token names one.
    pub user: Option<String>,
    /// The organisation the user belongs to, if the token names one.
    pub organisation: Option<String>,
    /// What a service may do besides acting as a user.
    pub scopes: Vec<String>,
    /// From when on the token is no longer accepted, leeway included; `None` where there is no token.
    pub expires_at: Option<SystemTime>,
    standing: Standing,
}

impl Identity {
    /// Somebody without a token, who sees what is for everyone.
    pub fn anonymous() -> Self {
        Self::without_token(Standing::Anonymous)
    }

    /// Somebody who is believed, because no key is set: may act as anyone and has every scope.
    pub fn by_word() -> Self {
        Self::without_token(Standing::Claimed)
    }

    fn without_token(standing: Standing) -> Self {
        Self { user: None, organisation: None, scopes: Vec::new(), expires_at: None, standing }
    }

    /// Whether there was no token where tokens are asked for.
    pub fn is_anonymous(&self) -> bool {
        self.standing == Standing::Anonymous
    }

    /// Whether no key is set, so that the client's word is taken.
    pub fn is_by_word(&self) -> bool {
        self.standing == Standing::Claimed
    }

    /// Whether it may do what this scope allows, for example `events:all`.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.is_by_word() || self.scopes.iter().any(|own| own == scope)
    }

    /// Refuses who lacks a scope.
    pub fn must_have(&self, scope: &'static str) -> Result<(), Refusal> {
        if self.has_scope(scope) { Ok(()) } else { Err(Refusal::ScopeMissing(scope)) }
    }

    /// Whether it may act as this user: the user itself, or anyone where the client's word is taken.
    pub fn may_act_as(&self, user: &str) -> bool {
        self.is_by_word() || self.user.as_deref() == Some(user)
    }

    /// Refuses who is neither this user nor a service with this scope.
    pub fn must_be(&self, user: &str, or_scope: &'static str) -> Result<(), Refusal> {
        if self.may_act_as(user) || self.has_scope(or_scope) {
            Ok(())
        } else {
            Err(Refusal::NotYours(or_scope))
        }
    }
}

/// Tells who is asking. Clones share the keys.
#[derive(Clone, Debug)]
pub struct Authenticator {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `None`: the client's word is taken.
    keys: Option<Keys>,
    checker: Checker,
    deny_anonymous: bool,
    admission: Admission,
}

impl Authenticator {
    /// Reads the keys that are in settings and files; those behind a URL are fetched by
    /// [`Authenticator::keep_keys_fresh`].
    pub fn new(common: &Common) -> Result<Self, SettingError> {
        let identity = &common.identity;
        let keys = match &identity.trust {
            Trust::Key(source) => Some(Keys::load(source)?),
            Trust::LoopbackOnly | Trust::Off => None,
        };
        let shared = Shared {
            keys,
            checker: Checker::new(&identity.issuers, &identity.audiences),
            deny_anonymous: identity.deny_anonymous,
            admission: Admission::new(common),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Reads key sets again when they change, until `shutdown`; `loaded` is called whenever there are keys.
    ///
    /// Somebody must run this for keys behind a URL to come at all, and for a file to be read again.
    pub async fn keep_keys_fresh(&self, shutdown: &Shutdown, mut loaded: impl FnMut()) {
        if let Some(keys) = &self.shared.keys {
            keys.keep_fresh(shutdown, loaded).await;
        } else {
            loaded();
        }
    }

    /// Whether no key is set, so that identity is by the client's word.
    pub fn is_open(&self) -> bool {
        self.shared.keys.is_none()
    }

    /// Which requests are let in at all, whoever asks.
    pub fn admission(&self) -> &Admission {
        &self.shared.admission
    }

    /// Refuses requests from web pages and by ways that are not allowed; see [`Admission::admit`].
    pub fn admit(&self, peer: std::net::IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        self.shared.admission.admit(peer, headers)
    }

    /// Who connects with this token. Without one: anonymous, unless `ANONYMOUS=deny`.
    ///
    /// A token of an unknown key waits, for seconds at most, until the keys have been read again.
    pub async fn identify(&self, token: Option<&str>) -> Result<Identity, Refusal> {
        let Some(keys) = &self.shared.keys else { return Ok(Identity::by_word()) };
        match token {
            Some(token) => self.verify(keys, token).await,
            None if self.shared.deny_anonymous => Err(Refusal::TokenMissing),
            None => Ok(Identity::anonymous()),
        }
    }

    /// Who sends an HTTP request: a token is needed where a key is set.
    pub async fn require(&self, headers: &HeaderMap) -> Result<Identity, Refusal> {
        let Some(keys) = &self.shared.keys else { return Ok(Identity::by_word()) };
        let token = bearer_token(headers)?.ok_or(Refusal::TokenMissing)?;
        self.verify(keys, token).await
    }

    async fn verify(&self, keys: &Keys, token: &str) -> Result<Identity, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TokenInvalid("it is longer than 16 KiB"));
        }
        let checker = &self.shared.checker;
        let claims = match checker.check(token, &keys.current()) {
            Err(Failure::UnknownKey) if keys.read_again().await => checker.check(token, &keys.current()),
            first => first,
        };
        match claims {
            Ok(claims) => claims.into_identity(),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::UnknownKey) if keys.current().is_empty() => Err(Refusal::KeysUnavailable),
            Err(Failure::UnknownKey) => Err(Refusal::TokenInvalid("no key of ours has signed it")),
        }
    }
}

/// The token of an `Authorization: Bearer …` header, if there is such a header.
pub fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let malformed = Refusal::TokenInvalid("the Authorization header is not of the form \"Bearer TOKEN\"");
    let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.trim().split_once(' ')) else {
        return Err(malformed);
    };
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim())) } else { Err(malformed) }
}

#[cfg(test)]
mod test_keys;
#[cfg(test)]
mod tests;
