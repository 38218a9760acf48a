//! Keys, and checking a token against them.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, Validation, decode, decode_header, errors::ErrorKind,
};

use super::{Claims, Refusal};

/// How far clocks may be apart.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);

/// The shortest secret that HS256 is as strong with as it can be, in bytes (RFC 7518, section 3.2).
pub(super) const STRONG_SECRET_BYTES: usize = 32;
/// The shortest RSA modulus, in bytes (RFC 7518, section 3.3).
pub(super) const MIN_MODULUS_BYTES: usize = 256;

/// A key that signatures are checked with, and the one algorithm it is for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// Its name in a set.
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

impl Key {
    /// The length of an RSA modulus that was given as a number.
    pub(super) fn modulus_bytes(&self) -> Option<usize> {
        match self.decoding.kind() {
            DecodingKeyKind::RsaModulusExponent { n, .. } => Some(n.len()),
            DecodingKeyKind::SecretOrDer(_) => None,
        }
    }

    /// Whether the key is a point or number that signatures can be checked with, not merely well-formed:
    /// with it, a made-up signature is wrong rather than impossible to check.
    pub(super) fn is_usable(&self) -> bool {
        let signature = URL_SAFE_NO_PAD.encode([1_u8; 64]);
        jsonwebtoken::crypto::verify(&signature, b"", &self.decoding, self.algorithm).is_ok()
    }
}

/// The keys of one source.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Whether a token's `kid` chooses the key; a single configured key is used whatever the token calls it.
    by_id: bool,
}

impl KeySet {
    pub(super) fn single(key: Key) -> Self {
        Self { keys: vec![key], by_id: false }
    }

    pub(super) fn of_many(keys: Vec<Key>) -> Self {
        Self { keys, by_id: true }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys a token with this `kid` can be signed with.
    fn candidates<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| match (id, key.id.as_deref()) {
            (Some(wanted), Some(id)) if self.by_id => wanted == id,
            (Some(_), None) if self.by_id => false,
            _ => true,
        })
    }
}

/// Why a token is not accepted.
#[derive(Debug)]
pub(super) enum Failure {
    /// It names a key that is not in the set; one that was added since may be.
    UnknownKey,
    /// It is refused whatever the keys.
    Refused(Refusal),
}

/// The rules that every token must meet.
#[derive(Debug)]
pub(super) struct Checker {
    rules: Validation,
}

impl Checker {
    pub(super) fn new(issuers: &[String], audiences: &[String]) -> Self {
        let mut rules = Validation::default();
        let mut required = vec!["exp"];
        rules.leeway = LEEWAY.as_secs();
        rules.validate_nbf = true;
        // Without these two, a token that lacks the claim would pass.
        if !issuers.is_empty() {
            rules.set_issuer(issuers);
            required.push("iss");
        }
        rules.validate_aud = !audiences.is_empty();
        if rules.validate_aud {
            rules.set_audience(audiences);
            required.push("aud");
        }
        rules.set_required_spec_claims(&required);
        Self { rules }
    }

    /// Checks signature, times, issuer and audience.
    pub(super) fn check(&self, token: &str, keys: &KeySet) -> Result<Claims, Failure> {
        let refused = |why| Failure::Refused(Refusal::TokenInvalid(why));
        let header = decode_header(token).map_err(|_| refused("it is not a signed JSON Web Token"))?;
        if header.crit.is_some() {
            return Err(refused("its header demands extensions that are not known here"));
        }
        let mut last = Failure::UnknownKey;
        for key in keys.candidates(header.kid.as_deref()) {
            // The key says which algorithm it is for; a token that says otherwise is not even tried.
            if key.algorithm != header.alg {
                if !matches!(last, Failure::Refused(_)) {
                    last = refused("it is signed with another algorithm than the key's");
                }
                continue;
            }
            let mut rules = self.rules.clone();
            rules.algorithms = vec![key.algorithm];
            match decode::<Claims>(token, &key.decoding, &rules) {
                Ok(token) => return Ok(token.claims),
                Err(error) => last = Failure::Refused(refusal(error.kind())),
            }
            if !matches!(last, Failure::Refused(Refusal::TokenInvalid(WRONG_SIGNATURE))) {
                break;
            }
        }
        Err(last)
    }
}

const WRONG_SIGNATURE: &str = "its signature is wrong";

fn refusal(kind: &ErrorKind) -> Refusal {
    Refusal::TokenInvalid(match kind {
        ErrorKind::ExpiredSignature => return Refusal::TokenExpired,
        ErrorKind::InvalidSignature => WRONG_SIGNATURE,
        ErrorKind::ImmatureSignature => "it is not valid yet (nbf)",
        ErrorKind::InvalidIssuer => "its issuer (iss) is not JWT_ISSUER",
        ErrorKind::InvalidAudience => "its audience (aud) does not include JWT_AUDIENCE",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "exp" => "it has no expiry (exp)",
            "iss" => "it has no issuer (iss)",
            _ => "it has no audience (aud)",
        },
        ErrorKind::InvalidClaimFormat(_) => "one of its times (exp, nbf) is not a number",
        _ => "it is not a signed JSON Web Token",
    })
}
