//! Keys made for the tests, and tokens signed with them.

use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, spki::der::pem::LineEnding};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rand_core::OsRng;
use serde_json::{Value, json};

/// A private key, its public half in PEM, and the algorithm it is for.
pub(super) struct Pair {
    pub(super) private: EncodingKey,
    pub(super) private_pem: String,
    pub(super) public_pem: String,
    pub(super) algorithm: Algorithm,
    jwk: Value,
}

pub(super) static RSA: LazyLock<Pair> = LazyLock::new(|| rsa(2048));
pub(super) static WEAK_RSA: LazyLock<Pair> = LazyLock::new(|| rsa(1024));
pub(super) static EC: LazyLock<Pair> = LazyLock::new(|| {
    let key = p256::SecretKey::random(&mut OsRng);
    let private_pem = key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    let public_pem = key.public_key().to_public_key_pem(LineEnding::LF).unwrap();
    let private = EncodingKey::from_ec_pem(private_pem.as_bytes()).unwrap();
    let jwk = jwk_of(&private, Algorithm::ES256);
    Pair { private, private_pem, public_pem, algorithm: Algorithm::ES256, jwk }
});
pub(super) static ED: LazyLock<Pair> = LazyLock::new(ed25519);
pub(super) static OTHER_ED: LazyLock<Pair> = LazyLock::new(ed25519);

pub(super) fn p384_public_pem() -> String {
    p384::SecretKey::random(&mut OsRng).public_key().to_public_key_pem(LineEnding::LF).unwrap()
}

fn rsa(bits: usize) -> Pair {
    let key = ::rsa::RsaPrivateKey::new(&mut OsRng, bits).unwrap();
    let private_pem = key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    let public_pem = key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
    let private = EncodingKey::from_rsa_pem(private_pem.as_bytes()).unwrap();
    let jwk = jwk_of(&private, Algorithm::RS256);
    Pair { private, private_pem, public_pem, algorithm: Algorithm::RS256, jwk }
}

fn ed25519() -> Pair {
    let key = ed25519_dalek::SigningKey::generate(&mut OsRng);
    let private_pem = key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    let public_pem = key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
    let private = EncodingKey::from_ed_pem(private_pem.as_bytes()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x });
    Pair { private, private_pem, public_pem, algorithm: Algorithm::EdDSA, jwk }
}

fn jwk_of(private: &EncodingKey, algorithm: Algorithm) -> Value {
    serde_json::to_value(Jwk::from_encoding_key(private, algorithm).unwrap()).unwrap()
}

impl Pair {
    /// A token with these claims.
    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as(None, claims)
    }

    /// A token that names its key.
    pub(super) fn sign_as(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }

    /// The public half as a member of a key set.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = kid.into();
        jwk
    }
}

/// A token signed with HS256.
pub(super) fn hs256(secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// Seconds since 1970, some seconds from now.
pub(super) fn in_seconds(offset: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + offset
}

/// Claims of user 42, good for a minute.
pub(super) fn claims() -> Value {
    json!({ "sub": "42", "exp": in_seconds(60) })
}

/// A token whose header is written by hand.
pub(super) fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!(
        "{}.{}.{}",
        part(header.to_string().as_bytes()),
        part(claims.to_string().as_bytes()),
        part(signature)
    )
}
