//! A public key from PEM: what it is decides the algorithm.

use jsonwebtoken::{Algorithm, DecodingKey};

use super::keys::{Key, KeySet, MIN_MODULUS_BYTES};

/// What the operator is told when the text is something else.
pub(super) const ALLOWED: &str =
    "a public key in PEM (BEGIN PUBLIC KEY): RSA of at least 2048 bits, EC P-256 or Ed25519";

// The DER of an algorithm identifier (RFC 5280, section 4.1.1.2) is the same in every key of a kind.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const P256: &[u8] = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const ED25519: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";

/// Reads the key; `Err` says what is wrong with it.
pub(super) fn read(text: &str) -> Result<KeySet, String> {
    // One-line variables carry line ends as the two characters \n.
    let text = text.replace("\\n", "\n");
    let block = pem::parse(&text).map_err(|_| ALLOWED.to_owned())?;
    match block.tag() {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => return Err(format!("{ALLOWED}; get it with: openssl x509 -pubkey -noout -in FILE")),
        tag if tag.ends_with("PRIVATE KEY") => {
            return Err(format!(
                "{ALLOWED}, never a private one; get it with: openssl pkey -pubout -in FILE"
            ));
        }
        _ => return Err(ALLOWED.to_owned()),
    }
    let key = match (block.tag(), algorithm_identifier(block.contents())) {
        ("RSA PUBLIC KEY", _) => {
            DecodingKey::from_rsa_pem(text.as_bytes()).map(|key| (Algorithm::RS256, key))
        }
        (_, Some(RSA)) => DecodingKey::from_rsa_pem(text.as_bytes()).map(|key| (Algorithm::RS256, key)),
        (_, Some(P256)) => DecodingKey::from_ec_pem(text.as_bytes()).map(|key| (Algorithm::ES256, key)),
        (_, Some(ED25519)) => DecodingKey::from_ed_pem(text.as_bytes()).map(|key| (Algorithm::EdDSA, key)),
        _ => return Err(ALLOWED.to_owned()),
    };
    let (algorithm, decoding) = key.map_err(|_| ALLOWED.to_owned())?;
    // An RSA key's DER is its modulus and some twenty to forty bytes.
    if algorithm == Algorithm::RS256 && block.contents().len() < MIN_MODULUS_BYTES {
        return Err(ALLOWED.to_owned());
    }
    let key = Key { id: None, algorithm, decoding };
    if !key.is_usable() {
        return Err(ALLOWED.to_owned());
    }
    Ok(KeySet::single(key))
}

/// The known identifier that a `SubjectPublicKeyInfo` begins with.
fn algorithm_identifier(der: &[u8]) -> Option<&'static [u8]> {
    // SEQUENCE, its length in the short or long form, then the identifier.
    let header = match der {
        [0x30, length, ..] if *length < 0x80 => 2,
        [0x30, long, ..] => 2 + usize::from(long & 0x7f),
        _ => return None,
    };
    let rest = der.get(header..)?;
    [RSA, P256, ED25519].into_iter().find(|identifier| rest.starts_with(identifier))
}
