//! How much one client, user or address may do, how often is delivered, and what is not served.

use std::time::{Duration, Instant};

use serde_json::json;
use synapse_chassis::service::Ended;
use synapse_test_support::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{connect_async, tungstenite};

use crate::support::{Client, Publisher, SECRET, Socket, SocketIoClient, TestGateway, token};

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
async fn a_user_has_so_many_connections_and_no_more_whatever_they_speak() {
    let redis = RedisServer::new();
    let settings = [("JWT_SECRET", SECRET), ("MAX_CONNECTIONS_PER_USER", "2")];
    let gateway = TestGateway::start(&redis, &settings).await;
    let (port, claims) = (gateway.port, json!({"sub": "u1"}));
    let token = token(&claims);
    let mut first = Client::with_token(port, &claims).await;
    let second = SocketIoClient::connect(port, "", &json!({"token": token})).await;

    let mut refused = Client { socket: Socket::open(port, &format!("/ws?token={token}")).await };
    assert_eq!(refused.error().await.0, "too_many_connections");
    assert_eq!(refused.socket.close_code().await, 3007);
    let mut refused = SocketIoClient::open(port, "").await;
    refused.socket.say(format!("40{}", json!({"token": token}))).await;
    assert_eq!(
        refused.socket.close_code().await,
        3007,
        "a refusal would keep the stock client from coming back"
    );
    let events = format!("/events?token={token}");
    let (status, body) = get(port, &events, "").await;
    assert_eq!((status, body.contains("too_many_connections")), (429, true), "{body}");
    let position = first.subscribe(json!({})).await["position"].clone();
    let (status, body) =
        get(port, &events, &format!("Last-Event-ID: {}\r\n", position.as_str().unwrap())).await;
    assert_eq!(
        (status, body.contains("too_many_connections")),
        (200, true),
        "an EventSource comes back: {body}"
    );

    // A new token for a connection that is there takes no other place; another user has places of its own.
    first.say(json!({"type": "refresh", "token": token})).await;
    assert_eq!(first.hear().await["type"], "welcome");
    Client::with_token(port, &json!({"sub": "u2"})).await;
    drop(second);
    synapse_test_support::eventually("the place is free again", async || {
        let mut client = Client { socket: Socket::open(port, &format!("/ws?token={token}")).await };
        (client.hear().await["type"] == "welcome").then_some(())
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

#[tokio::test(flavor = "multi_thread")]
async fn with_an_interval_what_comes_meanwhile_waits_for_the_next_delivery() {
    const INTERVAL: Duration = Duration::from_millis(700);
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("DELIVERY_INTERVAL", "700ms")]).await;
    let publisher = Publisher::new(&redis).await;
    let mut client = Client::connect(gateway.port, "").await;
    client.subscribe(json!({})).await;
    let begin = Instant::now();
    publisher.model("at once").await;
    assert_eq!(client.event().await["event"]["model_name"], "at once");
    publisher.model("later").await;
    publisher.model("and").await;
    publisher.end().await;
    assert_eq!(client.models_until("end").await, ["later", "and"]);
    assert!(begin.elapsed() >= INTERVAL, "after {:?}", begin.elapsed());
    // Waiting for the next delivery holds nobody up.
    assert_eq!(gateway.stop().await, Ended::InOrder);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_poll_are_limited_though_they_hold_no_connection() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("MAX_CONNECTIONS", "2")]).await;
    let open = async || get(gateway.port, "/socket.io/?EIO=4&transport=polling", "").await;
    assert_eq!(open().await.0, 200);
    assert_eq!(open().await.0, 200);
    let (status, body) = open().await;
    assert_eq!((status, body.contains("too_many_connections")), (503, true), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_always_has_more_to_say_neither_stops_others_nor_outlasts_its_time() {
    let redis = RedisServer::new();
    let settings = [
        ("JWT_SECRET", SECRET),
        ("ANONYMOUS", "deny"),
        ("CONNECT_TIMEOUT", "1s"),
        ("MAX_MESSAGES_PER_SECOND", "0"),
    ];
    let gateway = TestGateway::start(&redis, &settings).await;
    let port = gateway.port;
    let floods: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let handshake = format!(
                    "GET /ws HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                );
                stream.write_all(handshake.as_bytes()).await.unwrap();
                // Pongs that nobody asked for.
                let pongs = [0x8A, 0x80, 0, 0, 0, 0].repeat(10_000);
                while stream.write_all(&pongs).await.is_ok() {}
            })
        })
        .collect();
    let mut answered = 0;
    while !floods.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_eq!(get(port, "/health", "").await.0, 200);
        answered += 1;
    }
    assert!(answered > 10, "only {answered} requests were answered meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_misses_presence_and_is_not_sent_away_for_it() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("OUTBOX_BYTES", "256KiB")]).await;
    let port = gateway.port;
    let polls = "/socket.io/?EIO=4&transport=polling&room=lobby";
    let opened = get(port, polls, "").await.1;
    let handshake: serde_json::Value = serde_json::from_str(opened.strip_prefix('0').unwrap()).unwrap();
    let session = format!("{polls}&sid={}", handshake["sid"].as_str().unwrap());
    let enter = exchange(port, &format!("POST {session}"), "Content-Length: 2\r\n", "40").await;
    assert_eq!(enter, (200, "ok".to_owned()));

    let mut other = SocketIoClient::connect(port, "&room=lobby", &json!({})).await;
    let said = json!("x".repeat(60_000));
    for _ in 0..10 {
        assert_eq!(other.ask("presence:update", &said).await, json!({"ok": true}));
    }
    let publisher = Publisher::new(&redis).await;
    publisher.model("after").await;
    assert_eq!(other.event().await.1["model_name"], "after");
    let (status, heard) = get(port, &session, "").await;
    assert_eq!((status, heard.contains("connection_confirmed")), (200, true));
    let presences = heard.matches("presence:update").count();
    assert!((1..=3).contains(&presences), "{presences} of 10 in a quarter of an outbox");
    assert!(heard.contains("after"), "an event is no presence");
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_told_as_much_of_as_rooms_can_take() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut client = SocketIoClient::connect(gateway.port, "&room=lobby", &json!({})).await;
    let said = json!("x".repeat(60_000));
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(client.ask("presence:update", &said).await);
    }
    assert_eq!(answers[0], json!({"ok": true}));
    assert!(answers.iter().any(|answer| answer["error"]["code"] == "too_much"), "{answers:?}");
}
