use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{test_keys::*, *};
use crate::settings::{Common, Environment};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn authenticator(variables: &[(&str, &str)]) -> Authenticator {
    let common = Common::read(&Environment::from_map(variables.iter().copied()), 1).unwrap();
    Authenticator::new(&common).unwrap()
}

fn with_secret(more: &[(&str, &str)]) -> Authenticator {
    authenticator(&[&[("JWT_SECRET", SECRET)], more].concat())
}

fn with_public_key(pair: &Pair) -> Authenticator {
    authenticator(&[("JWT_PUBLIC_KEY", &pair.public_pem)])
}

async fn identify(authenticator: &Authenticator, token: &str) -> Result<Identity, Refusal> {
    authenticator.identify(Some(token)).await
}

async fn identity(claims: Value) -> Identity {
    identify(&with_secret(&[]), &hs256(SECRET.as_bytes(), &claims)).await.unwrap()
}

async fn refusal(authenticator: &Authenticator, token: &str) -> Refusal {
    identify(authenticator, token).await.expect_err("this token must be refused")
}

#[tokio::test]
async fn a_token_says_user_organisation_scopes_and_end() {
    let exp = in_seconds(60);
    let claims = json!({ "sub": "42", "org": "acme", "scope": "events:publish  events:all", "exp": exp });
    let identity = identity(claims).await;
    assert_eq!(identity.user.as_deref(), Some("42"));
    assert_eq!(identity.organisation.as_deref(), Some("acme"));
    assert!(identity.has_scope("events:all") && identity.has_scope("events:publish"));
    assert!(!identity.has_scope("events") && !identity.has_scope("dlq:manage"));
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(exp.unsigned_abs() + 30);
    assert_eq!(identity.expires_at, Some(end));
    assert!(!identity.is_anonymous() && !identity.is_by_word());
}

#[tokio::test]
async fn a_user_may_be_named_by_several_claims_and_as_an_integer() {
    let exp = in_seconds(60);
    for (claims, user) in [
        (json!({ "exp": exp, "userId": "7" }), Some("7")),
        (json!({ "exp": exp, "id": 7 }), Some("7")),
        (json!({ "exp": exp, "sub": 9_007_199_254_740_993_u64 }), Some("9007199254740993")),
        (json!({ "exp": exp, "sub": "a", "userId": "b", "id": "c" }), Some("a")),
        (json!({ "exp": exp, "sub": "", "userId": null, "id": "c" }), Some("c")),
        (json!({ "exp": exp, "scope": ["events:all"] }), None),
    ] {
        assert_eq!(identity(claims.clone()).await.user.as_deref(), user, "{claims}");
    }
    for wrong in [
        json!({ "exp": exp, "sub": { "id": 1 } }),
        json!({ "exp": exp, "sub": 1.5 }),
        json!({ "exp": exp, "sub": true }),
        json!({ "exp": exp, "sub": "a", "org": [] }),
        json!({ "exp": exp, "sub": "a", "scope": 1 }),
        json!({ "exp": exp, "sub": "a", "scope": ["x", 1] }),
    ] {
        let token = hs256(SECRET.as_bytes(), &wrong);
        assert!(matches!(refusal(&with_secret(&[]), &token).await, Refusal::TokenInvalid(_)), "{wrong}");
    }
}

#[tokio::test]
async fn times_are_checked_with_half_a_minute_of_leeway() {
    let authenticator = with_secret(&[]);
    let outcome = async |claims: Value| identify(&authenticator, &hs256(SECRET.as_bytes(), &claims)).await;
    assert!(outcome(json!({ "sub": "a", "exp": in_seconds(-20) })).await.is_ok());
    assert_eq!(outcome(json!({ "sub": "a", "exp": in_seconds(-40) })).await, Err(Refusal::TokenExpired));
    assert!(outcome(json!({ "sub": "a", "exp": in_seconds(60), "nbf": in_seconds(20) })).await.is_ok());
    for wrong in [
        json!({ "sub": "a", "exp": in_seconds(90), "nbf": in_seconds(60) }),
        json!({ "sub": "a" }),
        json!({ "sub": "a", "exp": null }),
        json!({ "sub": "a", "exp": in_seconds(60).to_string() }),
        json!({ "sub": "a", "exp": -1 }),
        json!({ "sub": "a", "exp": 1e300 }),
        json!({ "sub": "a", "exp": in_seconds(60), "nbf": "soon" }),
    ] {
        assert!(matches!(outcome(wrong.clone()).await, Err(Refusal::TokenInvalid(_))), "{wrong}");
    }
}

#[tokio::test]
async fn issuer_and_audience_must_be_there_and_right_when_they_are_set() {
    let exp = in_seconds(60);
    let strict = with_secret(&[("JWT_ISSUER", "me,too"), ("JWT_AUDIENCE", "us")]);
    let sign = |claims: &Value| hs256(SECRET.as_bytes(), claims);
    for right in [
        json!({ "exp": exp, "sub": "a", "iss": "me", "aud": "us" }),
        json!({ "exp": exp, "sub": "a", "iss": "too", "aud": ["them", "us"] }),
    ] {
        assert!(identify(&strict, &sign(&right)).await.is_ok(), "{right}");
    }
    for wrong in [
        json!({ "exp": exp, "sub": "a", "aud": "us" }),
        json!({ "exp": exp, "sub": "a", "iss": "me" }),
        json!({ "exp": exp, "sub": "a", "iss": "you", "aud": "us" }),
        json!({ "exp": exp, "sub": "a", "iss": "me", "aud": "them" }),
        json!({ "exp": exp, "sub": "a", "iss": "me", "aud": [] }),
        json!({ "exp": exp, "sub": "a", "iss": 1, "aud": "us" }),
        json!({ "exp": exp, "sub": "a", "iss": "me,too", "aud": "us" }),
    ] {
        assert!(matches!(refusal(&strict, &sign(&wrong)).await, Refusal::TokenInvalid(_)), "{wrong}");
    }
    let any = json!({ "exp": exp, "sub": "a", "iss": "x", "aud": "y" });
    assert!(identify(&with_secret(&[]), &sign(&any)).await.is_ok());
}

#[tokio::test]
async fn a_public_key_of_each_kind_checks_tokens_of_its_own_algorithm_only() {
    let pairs: [&Pair; 3] = [&RSA, &EC, &ED];
    for pair in pairs {
        let authenticator = with_public_key(pair);
        assert!(identify(&authenticator, &pair.sign(&claims())).await.is_ok(), "{:?}", pair.algorithm);
        assert!(identify(&authenticator, &pair.sign_as(Some("any"), &claims())).await.is_ok());
        for other in pairs.iter().filter(|other| other.algorithm != pair.algorithm) {
            assert!(identify(&authenticator, &other.sign(&claims())).await.is_err());
        }
    }
    assert!(identify(&with_public_key(&ED), &OTHER_ED.sign(&claims())).await.is_err());
}

#[tokio::test]
async fn the_algorithm_is_the_keys_and_never_the_tokens() {
    for pair in [&*RSA, &*EC, &*ED] {
        let authenticator = with_public_key(pair);
        // The public key is public: as a secret of HS256 it must not open anything.
        let confused = hs256(pair.public_pem.as_bytes(), &claims());
        assert!(matches!(refusal(&authenticator, &confused).await, Refusal::TokenInvalid(_)));
    }
    for authenticator in [with_secret(&[]), with_public_key(&RSA)] {
        for algorithm in ["none", "None", "NONE", "", "HS1", "RS1"] {
            for signature in [&b""[..], b"x"] {
                let token = forged(&json!({ "alg": algorithm, "typ": "JWT" }), &claims(), signature);
                assert!(identify(&authenticator, &token).await.is_err(), "{algorithm}");
            }
        }
        let unsigned = forged(&json!({ "typ": "JWT" }), &claims(), b"");
        assert!(identify(&authenticator, &unsigned).await.is_err());
    }
    let longer = jsonwebtoken::encode(
        &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS512),
        &claims(),
        &jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes()),
    );
    assert!(identify(&with_secret(&[]), &longer.unwrap()).await.is_err());
}

#[tokio::test]
async fn what_is_not_a_token_is_refused() {
    let authenticator = with_secret(&[]);
    let good = hs256(SECRET.as_bytes(), &claims());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let long = json!({ "sub": "42", "exp": in_seconds(60), "x": "x".repeat(MAX_TOKEN_BYTES) });
    let mut critical = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    critical.crit = Some(vec!["http://example.com/unknown".into()]);
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    for token in [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        head.into(),
        format!("{head}."),
        format!("{good}.x"),
        format!("{head}.{flipped}{}", &signature[1..]),
        format!("{good} "),
        hs256(b"another secret", &claims()),
        jsonwebtoken::encode(&critical, &claims(), &key).unwrap(),
        hs256(SECRET.as_bytes(), &long),
    ] {
        assert!(matches!(refusal(&authenticator, &token).await, Refusal::TokenInvalid(_)), "{token}");
    }
    assert!(identify(&authenticator, &good).await.is_ok());
}

#[test]
fn what_is_not_a_sound_public_key_is_refused_at_the_start_without_printing_it() {
    let truncated: String =
        RSA.public_pem.lines().take(3).chain(["-----END PUBLIC KEY-----"]).collect::<Vec<_>>().join("\n");
    // A well-formed key whose point is none of the curve.
    let mut der = pem::parse(&EC.public_pem).unwrap().into_contents();
    *der.last_mut().unwrap() ^= 1;
    let off_curve = pem::encode(&pem::Pem::new("PUBLIC KEY", der));
    for (pem, hint) in [
        ("hello", "BEGIN PUBLIC KEY"),
        (RSA.private_pem.as_str(), "never a private one"),
        (EC.private_pem.as_str(), "never a private one"),
        (ED.private_pem.as_str(), "never a private one"),
        (WEAK_RSA.public_pem.as_str(), "2048 bits"),
        (p384_public_pem().as_str(), "P-256"),
        (truncated.as_str(), "BEGIN PUBLIC KEY"),
        (off_curve.as_str(), "P-256"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "openssl x509"),
    ] {
        let common = Common::read(&Environment::from_map([("JWT_PUBLIC_KEY", pem)]), 1).unwrap();
        let message = Authenticator::new(&common).unwrap_err().to_string();
        assert!(message.starts_with("JWT_PUBLIC_KEY is \"***\"; allowed: a public key"), "{message}");
        assert!(message.contains(hint), "{message}");
    }
}

#[tokio::test]
async fn a_public_key_may_be_written_on_one_line() {
    let line = ED.public_pem.trim_end().replace('\n', "\\n");
    let authenticator = authenticator(&[("JWT_PUBLIC_KEY", &line)]);
    assert!(identify(&authenticator, &ED.sign(&claims())).await.is_ok());
}

#[tokio::test]
async fn without_a_key_everyone_is_believed() {
    for variables in [&[][..], &[("AUTH", "off"), ("HOST", "0.0.0.0")]] {
        let authenticator = authenticator(variables);
        assert!(authenticator.is_open());
        for identity in [
            authenticator.identify(None).await.unwrap(),
            authenticator.identify(Some("nonsense")).await.unwrap(),
            authenticator.require(&HeaderMap::new()).await.unwrap(),
        ] {
            assert!(identity.is_by_word() && !identity.is_anonymous());
            assert!(identity.has_scope("events:all") && identity.may_act_as("anyone"));
            assert_eq!(identity.user, None);
        }
    }
}

#[tokio::test]
async fn a_socket_without_a_token_is_anonymous_unless_that_is_denied() {
    let identity = with_secret(&[]).identify(None).await.unwrap();
    assert!(identity.is_anonymous() && !identity.has_scope("events:all") && !identity.may_act_as("42"));
    let deny = with_secret(&[("ANONYMOUS", "deny")]);
    assert_eq!(deny.identify(None).await, Err(Refusal::TokenMissing));
    assert!(deny.identify(Some(&hs256(SECRET.as_bytes(), &claims()))).await.is_ok());
    // A bad token is not the same as none.
    assert!(with_secret(&[]).identify(Some("bad")).await.is_err());
    assert!(with_secret(&[]).identify(Some("")).await.is_err());
}

#[tokio::test]
async fn http_needs_a_bearer_token_and_says_401_or_403() {
    let authenticator = with_secret(&[]);
    let require = async |value: Option<String>| {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        }
        authenticator.require(&headers).await
    };
    let good = hs256(SECRET.as_bytes(), &claims());
    assert_eq!(require(None).await, Err(Refusal::TokenMissing));
    for wrong in ["", "Bearer", "Basic dTpw", "Bearer ", "Bearer x"] {
        let refusal = require(Some(wrong.to_owned())).await.unwrap_err();
        assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let user = require(Some(format!("bearer {good}"))).await.unwrap();
    assert_eq!(user.must_be("42", "tasks:all"), Ok(()));
    let refusal = user.must_be("43", "tasks:all").unwrap_err();
    assert_eq!((refusal.status(), refusal.code()), (StatusCode::FORBIDDEN, "not_yours"));
    let refusal = user.must_have("dlq:manage").unwrap_err();
    assert_eq!((refusal.status(), refusal.code()), (StatusCode::FORBIDDEN, "scope_missing"));
    let service = Identity { scopes: vec!["tasks:all".into()], ..user };
    assert_eq!(service.must_be("43", "tasks:all"), Ok(()));
    assert_eq!(service.must_have("tasks:all"), Ok(()));
}

#[tokio::test]
async fn a_token_is_in_no_message_and_a_key_in_no_debug_output() {
    let authenticator = with_secret(&[]);
    let token = hs256(b"another", &json!({ "sub": "hunter2", "exp": in_seconds(60) }));
    let refusal = refusal(&authenticator, &token).await;
    let payload = token.split('.').nth(1).unwrap();
    assert!(!format!("{refusal} {refusal:?}").contains(payload));
    assert!(!format!("{authenticator:?}").contains(SECRET));
}
