//! On whose behalf a connection acts, and what it says of that itself.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use synapse_chassis::identity::{Identity, Refusal};
use tokio::time::Instant;

/// On whose behalf a connection acts.
#[derive(Clone, Debug)]
pub struct Who {
    identity: Identity,
    /// The user: of the token, or by the client's word.
    pub user: Option<String>,
    /// The organisation, likewise.
    pub organisation: Option<String>,
    /// When the token expires.
    pub expires_at: Option<Instant>,
}

/// What a client says of itself; believed only while no key is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// A user.
    pub user: Option<String>,
    /// An organisation.
    pub organisation: Option<String>,
}

impl Who {
    /// Somebody who was identified so; the word counts where it is believed.
    pub(crate) fn of(identity: Identity, word: Word) -> Result<Self, Refusal> {
        let Word { user, organisation } = if identity.is_by_word() {
            word
        } else {
            Word { user: identity.user.clone(), organisation: identity.organisation.clone() }
        };
        let expires_at = identity.expires_at.map(|end| {
            let left = end.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
            // Beyond any timer is as good as never.
            Instant::now() + left.min(Duration::from_hours(24 * 365))
        });
        // A token is good to the end of its last second; who has but that left would be sent away as soon as let in.
        if expires_at.is_some_and(|end| end <= Instant::now()) {
            return Err(Refusal::TokenExpired);
        }
        Ok(Self { identity, user, organisation, expires_at })
    }

    /// Whether it may act as this user.
    pub fn may_act_as(&self, user: &str) -> bool {
        self.identity.may_act_as(user)
    }

    /// Whether it is nobody in particular, where a key is set.
    pub fn is_anonymous(&self) -> bool {
        self.identity.is_anonymous()
    }

    /// Who it says to be; nothing where that is not believed.
    pub(crate) fn said(&self) -> Word {
        if !self.is_by_word() {
            return Word::default();
        }
        Word { user: self.user.clone(), organisation: self.organisation.clone() }
    }

    /// Whether its word is taken.
    pub fn is_by_word(&self) -> bool {
        self.identity.is_by_word()
    }

    /// Whether this may take the other's place on a connection: the same user with another token, or
    /// anyone where there was nobody.
    pub fn may_succeed(&self, other: &Self) -> bool {
        other.is_anonymous() || other.is_by_word() || (self.user == other.user && !self.is_anonymous())
    }

    /// Whether it has a scope.
    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        self.identity.has_scope(scope)
    }
}
