//! Who sends a push: the key pair by which push services know this platform (RFC 8292).

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::{PublicKey, SecretKey, elliptic_curve::sec1::ToEncodedPoint as _, pkcs8::EncodePrivateKey as _};
use rand_core::OsRng;
use serde_json::json;
use url::Url;

/// What a public key looks like.
pub(crate) const PUBLIC_FORM: &str = "an uncompressed point of P-256 in base64url, without padding";
/// How long a push service is to believe a token; 24 hours are the most.
const TOKEN_LIFE: Duration = Duration::from_hours(12);
const KEY_FILE: &str = "vapid.key";

/// The private key, and with it the public one.
#[derive(Clone, PartialEq, Eq)]
pub struct VapidKey(SecretKey);

/// Why a push can't be signed.
#[derive(Debug, thiserror::Error)]
#[error("a push can't be signed: {0}")]
pub struct SignError(String);

/// Why the kept key can't be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} can't be used as the key of Web Push: {reason}; set VAPID_PUBLIC_KEY and VAPID_PRIVATE_KEY, or remove it"
)]
pub struct KeyFileError {
    path: String,
    reason: String,
}

impl VapidKey {
    /// A new one.
    pub fn generate() -> Self {
        Self(SecretKey::random(&mut OsRng))
    }

    /// Reads 32 bytes in base64url.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('=')).ok()?;
        SecretKey::from_slice(&bytes).ok().filter(|_| bytes.len() == 32).map(Self)
    }

    /// The same text again: a secret.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.to_bytes())
    }

    /// The public key as browsers take it: base64url of the uncompressed point.
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.public_point().to_encoded_point(false).as_bytes())
    }

    pub(crate) fn public_point(&self) -> PublicKey {
        self.0.public_key()
    }

    /// The `Authorization` of a push to this endpoint.
    pub fn authorization(&self, endpoint: &Url, contact: &str, now: SystemTime) -> Result<String, SignError> {
        let failed = |error: &dyn std::fmt::Display| SignError(error.to_string());
        let der = self.0.to_pkcs8_der().map_err(|error| failed(&error))?;
        let expiry = now.duration_since(UNIX_EPOCH).unwrap_or_default() + TOKEN_LIFE;
        let claims = json!({
            "aud": endpoint.origin().ascii_serialization(),
            "exp": expiry.as_secs(),
            "sub": contact,
        });
        let key = EncodingKey::from_ec_der(der.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key)
            .map_err(|error| failed(&error))?;
        Ok(format!("vapid t={token}, k={}", self.public()))
    }

    /// The key in a directory, made there if there is none; whole or not at all, and for its owner only.
    pub fn in_directory(directory: &Path) -> Result<Self, KeyFileError> {
        let path = directory.join(KEY_FILE);
        let failed = |reason: &dyn std::fmt::Display| KeyFileError {
            path: path.display().to_string(),
            reason: reason.to_string(),
        };
        match fs::read_to_string(&path) {
            Ok(text) => Self::decode(&text).ok_or_else(|| failed(&"it holds no key")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate();
                key.keep(directory, &path).map_err(|error| failed(&error))?;
                Ok(key)
            }
            Err(error) => Err(failed(&error)),
        }
    }

    fn keep(&self, directory: &Path, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        fs::create_dir_all(directory)?;
        let beside = path.with_extension("new");
        // One that was left by a crash may be of any mode.
        if let Err(error) = fs::remove_file(&beside)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = File::options().create_new(true).write(true).mode(0o600).open(&beside)?;
        writeln!(file, "{}", self.encode())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()
    }
}

impl std::fmt::Debug for VapidKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("VapidKey").field(&self.public()).finish()
    }
}

/// A point of P-256 in base64url.
pub(crate) fn decode_public(text: &str) -> Option<PublicKey> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok().filter(|bytes| bytes.len() == 65)?;
    PublicKey::from_sec1_bytes(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::TempDir::new().unwrap();
        let directory = folder.path().join("deep");
        let made = VapidKey::in_directory(&directory).unwrap();
        assert_eq!(VapidKey::in_directory(&directory).unwrap(), made);
        let path = directory.join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "AAAA").unwrap();
        let error = VapidKey::in_directory(&directory).unwrap_err().to_string();
        assert!(error.contains("vapid.key") && error.contains("VAPID_PRIVATE_KEY"), "{error}");
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = VapidKey::generate();
        let text = format!("{key:?}");
        assert!(text.contains(&key.public()) && !text.contains(&key.encode()));
        assert_eq!(VapidKey::decode(&key.encode()), Some(key));
    }
}
