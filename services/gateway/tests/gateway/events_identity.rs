//! Server-sent events: who gets them, and what is said to who does not.

use serde_json::json;
use synapse_gateway::position::Position;
use synapse_test_support::RedisServer;

use crate::{
    event_source::{EventSource, refused},
    events::last_id,
    support::{Publisher, SECRET, TestGateway, token, token_for},
};

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_for_the_moment_comes_back_if_it_was_here_before() {
    let mut redis = RedisServer::new();
    redis.kill();
    let gateway = TestGateway::begin(&redis, &[("MAX_CONNECTIONS_PER_ADDRESS", "1")]).await;
    let back = last_id(&Position::default().token());
    assert_eq!(refused(gateway.port, "", "").await, (503, "not_ready".to_owned()));
    // An EventSource stays away for good after any status but 200.
    let mut source = EventSource::ask(gateway.port, "GET", "", &back).await;
    assert_eq!(source.status, 200);
    assert_eq!(source.event().await.1["reason"], "not_ready");
    assert!(source.retry.is_some() && source.last_event_id.is_empty());
    redis.start();
    gateway.ready().await;
    let (_first, _) = EventSource::connect(gateway.port, "", "").await;
    assert_eq!(refused(gateway.port, "", "").await, (429, "too_many_connections".to_owned()));
    let mut source = EventSource::ask(gateway.port, "GET", "", &back).await;
    assert_eq!(source.event().await.1["reason"], "too_many_connections");
}

// === who is who ===

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_told_at_first_and_later_by_204() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    let expired = token_for(&json!({"sub": "42"}), -3_600);
    for (token, code) in [("nonsense", "token_invalid"), (expired.as_str(), "token_expired")] {
        let source = EventSource::ask(gateway.port, "GET", &format!("?token={token}"), "").await;
        assert!(source.head.contains("www-authenticate: bearer"), "{}", source.head);
        let (status, told, message) = source.error().await;
        assert_eq!((status, told.as_str()), (401, code));
        assert!(!message.contains(token), "a token is told back");
        let back = format!("{}{}", bearer(token), last_id(&Position::default().token()));
        assert_eq!(EventSource::ask(gateway.port, "GET", "", &back).await.status, 204);
    }
    let denying = TestGateway::start(&redis, &[("JWT_SECRET", SECRET), ("ANONYMOUS", "deny")]).await;
    assert_eq!(refused(denying.port, "", "").await, (401, "token_missing".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_may_be_in_a_header_or_the_address_and_the_header_counts() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    let (ours, theirs) = (token(&json!({"sub": "42"})), token(&json!({"sub": "7"})));
    let (mut by_header, _) =
        EventSource::connect(gateway.port, &format!("?token={theirs}"), &bearer(&ours)).await;
    let (mut by_address, _) = EventSource::connect(gateway.port, &format!("?token={theirs}"), "").await;
    // Its word counts for nothing where a key is set.
    let (mut nobody, _) = EventSource::connect(gateway.port, "?userId=42&organizationId=acme", "").await;
    let publisher = Publisher::new(&redis).await;
    publisher.inference("of 42", &[("user_id", "42")]).await;
    publisher.inference("of 7", &[("user_id", "7")]).await;
    publisher.inference("of acme", &[("organization_id", "acme")]).await;
    publisher.entry("error-events", &[("event", "error"), ("error_type", "x"), ("error_message", "e")]).await;
    publisher.end().await;
    assert_eq!(by_header.models_until("end").await, ["of 42"]);
    assert_eq!(by_address.models_until("end").await, ["of 7"]);
    assert_eq!(nobody.models_until("end").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_ends_with_its_token() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    // The leeway is 30 s: this one has two seconds left.
    let short = bearer(&token_for(&json!({"sub": "42"}), -28));
    let (mut source, _) = EventSource::connect(gateway.port, "", &short).await;
    let closing = source.closing().await;
    assert_eq!((&closing["code"], &closing["reason"]), (&json!(3003), &json!("token_expired")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_counts_if_it_is_asked_for_and_the_page_may_use_it() {
    let redis = RedisServer::new();
    let ours = token(&json!({"sub": "42"}));
    let cookie = format!("Cookie: theme=dark; session=\"{ours}\"; other=x\r\n");
    let welcome = async |gateway: &TestGateway, query: &str, headers: &str| {
        let mut source = EventSource::ask(gateway.port, "GET", query, headers).await;
        (source.status == 200).then_some(source.event().await.1["user"].clone())
    };
    let without = TestGateway::with_key(&redis).await;
    assert_eq!(welcome(&without, "", &cookie).await, Some(json!(null)), "no cookie was named");

    let page = "https://app.example";
    let named = [("JWT_SECRET", SECRET), ("AUTH_COOKIE", "session"), ("CORS_ORIGINS", page)];
    let gateway = TestGateway::start(&redis, &named).await;
    assert_eq!(welcome(&gateway, "", &cookie).await, Some(json!("42")));
    let theirs = token(&json!({"sub": "7"}));
    assert_eq!(
        welcome(&gateway, &format!("?token={theirs}"), &cookie).await,
        Some(json!("7")),
        "the last resort"
    );
    let from = |origin: &str| format!("{cookie}Origin: {origin}\r\n");
    assert_eq!(welcome(&gateway, "", &from(page)).await, Some(json!("42")));
    let own = format!("http://localhost:{}", gateway.port);
    assert_eq!(welcome(&gateway, "", &from(&own)).await, Some(json!("42")));
    let evil = EventSource::ask(gateway.port, "GET", "", &from("https://evil.example")).await;
    assert_eq!(evil.status, 403);
    assert!(!evil.head.contains("access-control-allow-origin"), "{}", evil.head);
    let image = format!("{cookie}Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(welcome(&gateway, "", &image).await, Some(json!(null)), "of another site, without an Origin");
    assert_eq!(
        refused(gateway.port, "", "Cookie: session=nonsense\r\n").await,
        (401, "token_invalid".to_owned())
    );
    assert_eq!(welcome(&gateway, "", "Cookie: xsession=a; session=\r\n").await, Some(json!(null)));
    let page_head = EventSource::ask(gateway.port, "GET", "", &from(page)).await.head;
    assert!(page_head.contains("access-control-allow-origin: https://app.example"), "{page_head}");
    assert!(page_head.contains("access-control-allow-credentials: true"), "{page_head}");

    let any = [("JWT_SECRET", SECRET), ("AUTH_COOKIE", "session"), ("CORS_ORIGINS", "*")];
    let gateway = TestGateway::start(&redis, &any).await;
    assert_eq!(welcome(&gateway, "", &from("https://evil.example")).await, Some(json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_of_other_sites_get_no_events() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    for header in ["Origin: https://evil.example\r\n", "X-Forwarded-For: 192.0.2.1\r\n"] {
        assert_eq!(refused(gateway.port, "", header).await.0, 403, "{header}");
    }
}
