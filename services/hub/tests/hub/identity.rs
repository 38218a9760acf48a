//! Who may ask for what.

use http::{Method, header};
use serde_json::json;
use synapse_test_support::RedisServer;

use crate::support::{SECRET, TestHub, append_old, token};

const ROUTES: [(&str, &str, &str); 11] = [
    ("GET", "/streams", "streams:read"),
    ("GET", "/streams/s/info", "streams:read"),
    ("GET", "/streams/s/messages", "streams:read"),
    ("POST", "/events/s", "events:publish"),
    ("GET", "/dlq", "dlq:manage"),
    ("GET", "/dlq/s/g", "dlq:manage"),
    ("POST", "/dlq/s/g/replay", "dlq:manage"),
    ("POST", "/replay", "dlq:manage events:publish"),
    ("GET", "/replay/01a20eee-b869-73e7-9c5b-de13534cb2c1", "dlq:manage"),
    ("DELETE", "/replay/01a20eee-b869-73e7-9c5b-de13534cb2c1", "dlq:manage"),
    ("GET", "/schemas", ""),
];
const ALL: &str = "streams:read events:publish dlq:manage";

#[tokio::test(flavor = "multi_thread")]
async fn each_route_needs_a_token_with_its_scopes() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[("JWT_SECRET", SECRET)]).await;
    append_old(&redis, "s", 1, 1).await;
    for (method, path, scopes) in ROUTES {
        let ask = async |token: Option<String>| {
            let mut request = hub.request(method.parse::<Method>().unwrap(), path);
            request = request.header(header::CONTENT_TYPE, "application/json");
            if let Some(token) = token {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let answer = hub.send(request, json!({"event": "x"}).to_string()).await;
            let error = &answer.body["error"];
            let code = if path.starts_with("/streams") { &answer.body["code"] } else { &error["code"] };
            (answer.status.as_u16(), code.as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(ask(None).await, (401, "token_missing".to_owned()), "{path}");
        assert_eq!(ask(Some("x".to_owned())).await, (401, "token_invalid".to_owned()), "{path}");
        for scope in scopes.split_whitespace() {
            let others: Vec<_> = ALL.split(' ').filter(|other| *other != scope).collect();
            let refused = ask(Some(token(&others.join(" ")))).await;
            assert_eq!(refused, (403, "scope_missing".to_owned()), "{path} without {scope}");
        }
        let (status, code) = ask(Some(token(scopes))).await;
        assert!(![401, 403, 500].contains(&status), "{path}: {status} {code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_no_stream_for_everybody() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[("JWT_SECRET", SECRET)]).await;
    append_old(&redis, "s:dlq", 1, 1).await;
    for path in ["/streams/s:dlq/info", "/streams/s%3Adl%71/messages"] {
        let ask = async |scopes: &str| {
            let request = hub
                .request(Method::GET, path)
                .header(header::AUTHORIZATION, format!("Bearer {}", token(scopes)));
            hub.send(request, "").await
        };
        assert_eq!(ask("streams:read").await.flat_error(), (403, "scope_missing"), "{path}");
        assert_eq!(ask("dlq:manage").await.flat_error(), (403, "scope_missing"), "{path}");
        ask("streams:read dlq:manage").await.with(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_the_description_need_no_token() {
    let redis = RedisServer::new();
    let hub = TestHub::start(&redis, &[("JWT_SECRET", SECRET)]).await;
    assert_eq!(hub.get("/health").await.with(200)["service"], "synapse-hub");
    assert_eq!(hub.get("/ready").await.status, 200);
    assert_eq!(hub.get("/openapi.json").await.status, 200);
}
