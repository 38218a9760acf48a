//! How much one client or address may do, and what is not served.

use serde_json::json;
use synapse_test_support::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{connect_async, tungstenite};

use crate::support::{Client, SocketIoClient, TestGateway};

/// The status and body of a request.
async fn get(port: u16, path: &str, headers: &str) -> (u16, String) {
    exchange(port, &format!("GET {path}"), headers, "").await
}

/// A request by HTTP: the status and body of its answer.
pub(crate) async fn exchange(port: u16, what: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request =
        format!("{what} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n{headers}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_talks_too_much_is_sent_away_for_good() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("MAX_MESSAGES_PER_SECOND", "10")]).await;
    let mut client = Client::connect(gateway.port, "").await;
    let mut other = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    for _ in 0..11 {
        client.say(json!({"type": "ping"})).await;
        other.socket.say(r#"42["subscribe",{}]"#).await;
    }
    assert_eq!(client.socket.close_code().await, 3503);
    assert_eq!(
        other.event().await,
        ("closing".to_owned(), json!({"code": 3503, "reason": "too_many_messages"}))
    );
    assert_eq!(other.socket.text().await, "41");
    assert_eq!(other.socket.close_code().await, 3503);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_no_more() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("MAX_CONNECTIONS_PER_ADDRESS", "2")]).await;
    let first = Client::connect(gateway.port, "").await;
    let _second = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    let refused = connect_async(format!("ws://127.0.0.1:{}/ws", gateway.port)).await.map(drop);
    match refused {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 429),
        other => panic!("a third connection: {other:?}"),
    }
    drop(first);
    synapse_test_support::eventually("the place is free again", async || {
        connect_async(format!("ws://127.0.0.1:{}/ws", gateway.port)).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_in_so_many_rooms_and_no_more() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("MAX_ROOMS", "3")]).await;
    let mut client = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    for id in 0..3 {
        assert_eq!(client.ask("join_adventure_room", &json!(id)).await, json!({"ok": true}));
    }
    assert_eq!(
        client.ask("join_adventure_room", &json!(0)).await,
        json!({"ok": true}),
        "it is there already"
    );
    assert_eq!(client.ask("join_adventure_room", &json!(3)).await["error"]["code"], "too_many_rooms");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_the_handshake_is_sent_away() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("CONNECT_TIMEOUT", "100ms")]).await;
    let mut client = SocketIoClient::open(gateway.port, "").await;
    assert_eq!(client.socket.close_code().await, 3006);
}

#[tokio::test(flavor = "multi_thread")]
async fn transports_and_versions_that_are_not_served_are_refused_in_the_words_of_engine_io() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    for (query, body) in [
        ("?EIO=4&transport=webtransport", r#"{"code":0,"message":"Transport unknown"}"#),
        ("?EIO=3&transport=websocket", r#"{"code":5,"message":"Unsupported protocol version"}"#),
        ("?EIO=4&transport=websocket&sid=x", r#"{"code":1,"message":"Session ID unknown"}"#),
    ] {
        assert_eq!(
            get(gateway.port, &format!("/socket.io/{query}"), "").await,
            (400, body.to_owned()),
            "{query}"
        );
    }
    assert_eq!(get(gateway.port, "/ws", "").await.0, 426);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_before_the_streams_have_been_read() {
    let mut redis = RedisServer::new();
    redis.kill();
    let gateway = TestGateway::begin(&redis, &[]).await;
    let upgrade = "Upgrade: websocket\r\n";
    let (status, body) = get(gateway.port, "/ws", upgrade).await;
    assert_eq!(status, 503);
    assert!(body.contains("not_ready"), "{body}");
    redis.start();
    gateway.ready().await;
    Client::connect(gateway.port, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_of_other_sites_are_refused() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    for path in ["/ws", "/socket.io/?EIO=4&transport=websocket"] {
        assert_eq!(get(gateway.port, path, "Origin: https://evil.example\r\n").await.0, 403, "{path}");
        assert_eq!(get(gateway.port, path, "X-Forwarded-For: 192.0.2.1\r\n").await.0, 403, "{path}");
    }
}
