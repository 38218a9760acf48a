//! A JSON Web Key Set (RFC 7517): which of its keys can check signatures, and by which algorithm.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use tracing::warn;

use super::keys::{Key, KeySet, MIN_MODULUS_BYTES};

/// The most keys that a set may have.
const MAX_KEYS: usize = 100;

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// Why a document gives no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidKeySet {
    /// Another form than `{"keys": […]}`.
    #[error("not a JSON Web Key Set: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Too long a list.
    #[error("it has {0} keys, more than {MAX_KEYS}")]
    TooManyKeys(usize),
    /// None of the keys can be used.
    #[error("none of its {0} keys can check signatures (RSA, EC P-256 or P-384, Ed25519)")]
    NoUsableKey(usize),
}

/// Reads the set. Keys of other kinds and uses are passed over with a warning.
pub(super) fn read(text: &[u8]) -> Result<KeySet, InvalidKeySet> {
    let document: Document = serde_json::from_slice(text)?;
    let total = document.keys.len();
    if total > MAX_KEYS {
        return Err(InvalidKeySet::TooManyKeys(total));
    }
    let mut keys = Vec::with_capacity(total);
    for (index, value) in document.keys.into_iter().enumerate() {
        let id = value.get("kid").and_then(Value::as_str).unwrap_or("without kid").to_owned();
        match usable_key(value) {
            Ok(key) => keys.push(key),
            Err(reason) => warn!(index, kid = id, reason, "a key of the set is not used"),
        }
    }
    if keys.is_empty() { Err(InvalidKeySet::NoUsableKey(total)) } else { Ok(KeySet::of_many(keys)) }
}

fn usable_key(value: Value) -> Result<Key, &'static str> {
    let jwk: Jwk =
        serde_json::from_value(value).map_err(|_| "it is not well-formed or of an unknown kind")?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return Err("its use is not sig");
    }
    let natural = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Algorithm::ES384,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::OctetKey(_) => return Err("a shared secret does not belong into a key set"),
        _ => return Err("its kind is not supported"),
    };
    let algorithm = match jwk.common.key_algorithm {
        None => natural,
        Some(named) => match Algorithm::try_from(named) {
            Ok(named) if fits(natural, named) => named,
            _ => return Err("its alg does not fit its kind"),
        },
    };
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "its numbers are not well-formed")?;
    let key = Key { id: jwk.common.key_id, algorithm, decoding };
    if key.modulus_bytes().is_some_and(|bytes| bytes < MIN_MODULUS_BYTES) {
        return Err("an RSA key of less than 2048 bits is too weak");
    }
    if key.is_usable() { Ok(key) } else { Err("its numbers are not a key") }
}

/// An RSA key may be for any of the RSA algorithms; the other kinds have one each.
fn fits(natural: Algorithm, named: Algorithm) -> bool {
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    match natural {
        RS256 => matches!(named, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
        other => named == other,
    }
}
