use std::net::{Ipv4Addr, SocketAddr};

use axum::{Router, body::Body, extract::Request, routing::get};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tower::ServiceExt as _;

use super::*;
use crate::{
    identity::{Authenticator, protect},
    serve::Peer,
    settings::Environment,
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const KEY: (&str, &str) = ("JWT_SECRET", "0123456789abcdef0123456789abcdef");
const OFF: (&str, &str) = ("AUTH", "off");

fn common(variables: &[(&str, &str)]) -> Common {
    Common::read(&Environment::from_map(variables.iter().copied()), 1).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

fn admit(variables: &[(&str, &str)], pairs: &[(&str, &str)]) -> Result<(), Refusal> {
    Admission::new(&common(variables)).admit(HERE, &headers(pairs))
}

#[test]
fn cookies_count_only_with_pages_that_are_named_or_our_own() {
    let takes = |origins: &str, pairs: &[(&str, &str)]| {
        let settings = [KEY, ("HOST", "0.0.0.0"), ("CORS_ORIGINS", origins)];
        Admission::new(&common(&settings)).takes_cookies(&headers(pairs))
    };
    let host = ("host", "api.example");
    for origins in ["", "*", "https://app.example"] {
        assert!(takes(origins, &[host]), "no web page");
        assert!(takes(origins, &[host, ("sec-fetch-site", "same-origin")]));
        assert!(takes(origins, &[host, ("origin", "https://api.example")]));
        for origin in ["https://evil.example", "null", "", "http://localhost:3000"] {
            assert!(!takes(origins, &[host, ("origin", origin)]), "{origins:?} and {origin:?}");
        }
        assert!(!takes(origins, &[host, ("sec-fetch-site", "cross-site")]), "an image, say, of another site");
        assert!(!takes(
            origins,
            &[host, ("origin", "https://api.example"), ("origin", "https://api.example")]
        ));
    }
    assert!(takes("https://app.example", &[host, ("origin", "https://app.example")]));
    assert!(!takes("*", &[host, ("origin", "https://app.example")]));
    assert!(takes("", &[("host", "localhost:5008"), ("origin", "http://localhost:3000")]));
}

#[test]
fn without_a_key_only_this_machine_is_served() {
    for pairs in [
        &[][..],
        &[("host", "127.0.0.1:5008")],
        &[("host", "LocalHost:5008"), ("origin", "http://localhost:3000")],
        &[("host", "[::1]:5008"), ("origin", "http://[::1]:5008")],
        &[("host", "localhost"), ("origin", "https://127.0.0.1")],
        &[("host", "localhost:80")],
    ] {
        assert_eq!(admit(&[], pairs), Ok(()), "{pairs:?}");
    }
    for (pairs, refusal) in [
        (&[("host", "evil.example:5008")][..], Refusal::HostRefused),
        (&[("host", "127.0.0.1.evil.example")], Refusal::HostRefused),
        (&[("host", "localhost.evil.example")], Refusal::HostRefused),
        (&[("host", "localhost@evil.example")], Refusal::HostRefused),
        (&[("host", "10.0.0.1")], Refusal::HostRefused),
        (&[("host", "")], Refusal::HostRefused),
        (&[("host", "localhost"), ("host", "evil.example")], Refusal::HostRefused),
        (&[("host", "rebound.example"), ("origin", "http://rebound.example")], Refusal::HostRefused),
        (&[("host", "localhost"), ("origin", "https://evil.example")], Refusal::OriginRefused),
        (&[("host", "localhost"), ("origin", "null")], Refusal::OriginRefused),
        (&[("host", "localhost"), ("origin", "")], Refusal::OriginRefused),
        (&[("host", "localhost"), ("origin", "file://")], Refusal::OriginRefused),
        (&[("host", "localhost"), ("origin", "http://localhost.evil.example")], Refusal::OriginRefused),
        (&[("host", "localhost"), ("origin", "http://localhost@evil.example")], Refusal::OriginRefused),
        (&[("host", "localhost"), ("origin", "http://evil.example/localhost")], Refusal::OriginRefused),
        (&[("host", "localhost"), ("origin", "http://localhost/")], Refusal::OriginRefused),
        (&[("origin", "http://localhost"), ("origin", "http://evil.example")], Refusal::OriginRefused),
        (&[("forwarded", "for=10.0.0.1")], Refusal::ForwardedRefused),
        (&[("X-Forwarded-For", "127.0.0.1")], Refusal::ForwardedRefused),
        (&[("X-Forwarded-Host", "localhost")], Refusal::ForwardedRefused),
        (&[("x-forwarded-proto", "https")], Refusal::ForwardedRefused),
        (&[("x-real-ip", "127.0.0.1")], Refusal::ForwardedRefused),
    ] {
        assert_eq!(admit(&[], pairs), Err(refusal), "{pairs:?}");
    }
    let elsewhere = Admission::new(&common(&[])).admit("10.0.0.1".parse().unwrap(), &HeaderMap::new());
    assert_eq!(elsewhere, Err(Refusal::ForwardedRefused));
    let mapped = Admission::new(&common(&[])).admit("::ffff:127.0.0.1".parse().unwrap(), &HeaderMap::new());
    assert_eq!(mapped, Ok(()));
}

#[test]
fn with_a_key_or_auth_off_proxies_and_other_hosts_are_served() {
    for way in [KEY, OFF] {
        let pairs = [("host", "api.example.com"), ("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=x")];
        assert_eq!(admit(&[way], &pairs), Ok(()), "{way:?}");
    }
}

#[test]
fn by_default_web_pages_of_the_same_origin_and_of_this_machine_may_call() {
    for way in [KEY, OFF] {
        for (host, origin) in [
            ("api.example.com", "https://api.example.com"),
            ("api.example.com:443", "https://api.example.com"),
            ("api.example.com:8443", "https://api.example.com:8443"),
            ("API.example.com", "https://api.example.com"),
            ("api.example.com", "http://localhost:3000"),
        ] {
            assert_eq!(admit(&[way], &[("host", host), ("origin", origin)]), Ok(()), "{host} {origin}");
        }
        for (host, origin) in [
            ("api.example.com", "https://example.com"),
            ("api.example.com", "https://api.example.com:8443"),
            ("api.example.com:8443", "https://api.example.com"),
            ("api.example.com", "https://api.example.com.evil"),
            ("api.example.com", "https://user@api.example.com"),
            ("api.example.com", "null"),
            ("api.example.com", "chrome-extension://abc"),
        ] {
            let refused = admit(&[way], &[("host", host), ("origin", origin)]);
            assert_eq!(refused, Err(Refusal::OriginRefused), "{host} {origin}");
        }
    }
}

#[test]
fn listed_origins_take_the_place_of_loopback_ones() {
    let list = ("CORS_ORIGINS", "https://App.example.com:443/, http://b.example:81, capacitor://localhost");
    let outcome = |origin| admit(&[KEY, list], &[("host", "api.example"), ("origin", origin)]);
    for origin in
        ["https://app.example.com", "http://b.example:81", "capacitor://localhost", "https://api.example"]
    {
        assert_eq!(outcome(origin), Ok(()), "{origin}");
    }
    for origin in
        ["http://app.example.com", "http://b.example", "http://localhost:3000", "https://x.app.example.com"]
    {
        assert_eq!(outcome(origin), Err(Refusal::OriginRefused), "{origin}");
    }
    assert_eq!(admit(&[KEY, ("CORS_ORIGINS", "*")], &[("origin", "null")]), Ok(()));
    assert_eq!(admit(&[KEY, list], &[]), Ok(()));
}

#[test]
fn a_clients_address_is_taken_from_trusted_proxies_only() {
    let proxies = ("TRUSTED_PROXIES", "10.0.0.0/8, 192.168.1.7, fd00::/8");
    for (peer, lines, client) in [
        ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", &["6.6.6.6", "198.51.100.1", "192.168.1.7"], "198.51.100.1"),
        ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
        ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
        ("fd00::1", &["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", &["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", &[""], "10.0.0.1"),
        ("192.168.1.8", &["198.51.100.1"], "192.168.1.8"),
    ] {
        let pairs: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let admission = Admission::new(&common(&[KEY, proxies]));
        let found = admission.client_address(peer.parse().unwrap(), &headers(&pairs));
        assert_eq!(found.to_string(), client, "{peer} {lines:?}");
    }
    for wrong in ["10.0.0.0/33", "example.com", "10.0.0.1:80", "10.0.0"] {
        let environment = Environment::from_map([KEY, ("TRUSTED_PROXIES", wrong)]);
        let message = Common::read(&environment, 1).unwrap_err().to_string();
        assert!(message.starts_with(&format!("TRUSTED_PROXIES is {wrong:?}")), "{message}");
    }
}

async fn answer(variables: &[(&str, &str)], method: Method, pairs: &[(&str, &str)]) -> http::Response<Body> {
    let authenticator = Authenticator::new(&common(variables)).unwrap();
    let router = protect(Router::new().route("/", get(async || "served")), &authenticator);
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.headers_mut() = headers(pairs);
    request.extensions_mut().insert(Peer::uncounted(SocketAddr::from((HERE, 4711))));
    router.oneshot(request).await.unwrap()
}

#[tokio::test]
async fn the_gate_turns_away_before_any_route_and_says_why() {
    let refused = answer(&[], Method::GET, &[("host", "evil.example")]).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let body = axum::body::to_bytes(refused.into_body(), 4096).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("\"code\":\"host_refused\""));
    assert_eq!(answer(&[], Method::GET, &[("host", "localhost")]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn browsers_are_told_which_origins_may_read() {
    let list = ("CORS_ORIGINS", "https://app.example.com");
    let origin = ("origin", "https://app.example.com");
    let answered = answer(&[KEY, list], Method::GET, &[origin]).await;
    assert_eq!(answered.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], origin.1);
    assert_eq!(answered.headers()[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    assert!(answered.headers()[header::VARY].to_str().unwrap().contains("origin"));

    let preflight = [
        origin,
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization"),
    ];
    let answered = answer(&[KEY, list], Method::OPTIONS, &preflight).await;
    assert_eq!(answered.status(), StatusCode::OK);
    assert!(
        answered.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().contains("authorization")
    );

    // With all origins allowed, cookies must not be: any page could act as the user.
    let answered = answer(&[KEY, ("CORS_ORIGINS", "*")], Method::GET, &[origin]).await;
    assert_eq!(answered.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert!(!answered.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
}
