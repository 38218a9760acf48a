//! What happens when something breaks.

use std::time::Duration;

use serde_json::json;
use synapse_chassis::service::Ended;
use synapse_test_support::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::support::{Client, Publisher, SocketIoClient, TestGateway, assert_whole};

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_and_returns_costs_clients_nothing() {
    let mut redis = RedisServer::durable();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut client = Client::connect(gateway.port, "").await;
    let mut other = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    client.subscribe(json!({})).await;
    let publisher = Publisher::new(&redis).await;
    publisher.model("before").await;
    assert_eq!(client.event().await["event"]["model_name"], "before");
    redis.kill();
    redis.start();
    let publisher = Publisher::new(&redis).await;
    for name in ["one", "two", "end"] {
        publisher.model(name).await;
    }
    assert_eq!(client.models_until("end").await, ["one", "two"]);
    assert_eq!(other.models_until("end").await, ["before", "one", "two"]);
    assert!(gateway.service.readiness.is_ready(), "an outage is no unreadiness");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_everything_is_followed_again() {
    let mut redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut client = Client::connect(gateway.port, "").await;
    client.subscribe(json!({})).await;
    let publisher = Publisher::new(&redis).await;
    // An id of the future, as after a clock that was set back.
    let mut connection = redis.connection();
    let fields = ["event", "model-ready", "model_name", "future", "version", "1"];
    redis::cmd("XADD")
        .arg("model-events")
        .arg("99999999999999-0")
        .arg(&fields)
        .exec(&mut connection)
        .unwrap();
    let event = client.event().await;
    drop(publisher);
    redis.kill();
    redis.start();
    let publisher = Publisher::new(&redis).await;
    let mut late = Client::connect(gateway.port, "").await;
    // What is written before the gateway is back is before the place it reads on from.
    let next = loop {
        publisher.model("present").await;
        if let Ok(next) = timeout(Duration::from_millis(50), client.event()).await {
            break next;
        }
    };
    assert_eq!(next["event"]["model_name"], "present");
    let answer = late.subscribe(json!({ "after": event["position"] })).await;
    assert_eq!(answer["recovered"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_stream_does_not_stop_the_others() {
    let redis = RedisServer::new();
    redis::cmd("SET").arg("error-events").arg("text").exec(&mut redis.connection()).unwrap();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut client = Client::connect(gateway.port, "").await;
    client.subscribe(json!({})).await;
    Publisher::new(&redis).await.model("here").await;
    assert_eq!(client.event().await["event"]["model_name"], "here");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_no_events_are_passed_over() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut client = Client::connect(gateway.port, "").await;
    client.subscribe(json!({})).await;
    let publisher = Publisher::new(&redis).await;
    publisher.entry("model-events", &[("created", "2026-01-01")]).await;
    publisher.entry("model-events", &[("event", "model-ready")]).await;
    publisher
        .entry("model-events", &[("event", "model-ready"), ("model_name", "x"), ("metrics", "not json")])
        .await;
    publisher.model("valid").await;
    assert_eq!(client.event().await["event"]["model_name"], "valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_closed_and_the_others_get_everything() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("OUTBOX_BYTES", "64KiB")]).await;
    let publisher = Publisher::new(&redis).await;
    let mut slow = Client::connect(gateway.port, "").await;
    let mut quick = Client::connect(gateway.port, "").await;
    let begin = slow.subscribe(json!({})).await;
    quick.subscribe(json!({})).await;

    let filler = "x".repeat(8_000);
    let mut ids = Vec::new();
    let mut got = Vec::new();
    // More than the socket's buffers on both sides and the outbox together.
    for number in 0..2_000 {
        ids.push(publisher.inference(&number.to_string(), &[("filler", &filler)]).await);
        let event = quick.event().await;
        got.push(("inference-events".to_owned(), event["id"].as_str().unwrap().to_owned()));
    }
    let whole = [("inference-events".to_owned(), ids)].into();
    assert_whole(&got, &whole);

    let mut slowly = Vec::new();
    let mut position = begin["position"].as_str().unwrap().to_owned();
    let code = loop {
        match slow.socket.hear().await {
            crate::support::Heard::Text(text) => {
                let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                if message["type"] == "event" {
                    slowly.push(("inference-events".to_owned(), message["id"].as_str().unwrap().to_owned()));
                    position = message["position"].as_str().unwrap().to_owned();
                }
            }
            crate::support::Heard::Closed(frame) => break u16::from(frame.expect("a close frame").code),
        }
    };
    assert_eq!(code, 3001);
    assert!(slowly.len() < 2_000, "the socket alone held everything; the test proves nothing");
    let mut again = Client::connect(gateway.port, "").await;
    assert_eq!(again.subscribe(json!({ "after": position })).await["recovered"], true);
    while slowly.len() < 2_000 {
        slowly.push(("inference-events".to_owned(), again.event().await["id"].as_str().unwrap().to_owned()));
    }
    assert_whole(&slowly, &whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_leaves_sends_everyone_away_to_come_back() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut subscribed = Client::connect(gateway.port, "").await;
    subscribed.subscribe(json!({})).await;
    let mut idle = Client::connect(gateway.port, "").await;
    let mut socketio = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    let mut half_open = SocketIoClient::open(gateway.port, "").await;
    let leaving = tokio::spawn(gateway.stop());
    for socket in [&mut subscribed.socket, &mut idle.socket, &mut half_open.socket] {
        assert_eq!(socket.close_code().await, 3000);
    }
    match socketio.socket.hear().await {
        crate::support::Heard::Closed(Some(frame)) => assert_eq!(u16::from(frame.code), 3000),
        other => panic!("a DISCONNECT would stop the stock client from coming back: {other:?}"),
    }
    assert_eq!(leaving.await.unwrap(), Ended::InOrder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_does_not_keep_the_gateway_from_leaving() {
    let redis = RedisServer::new();
    let settings = [("OUTBOX_BYTES", "64KiB"), ("SHUTDOWN_GRACE", "5s")];
    let gateway = TestGateway::start(&redis, &settings).await;
    let mut silent = Client::connect(gateway.port, "").await;
    let mut quick = Client::connect(gateway.port, "").await;
    silent.subscribe(json!({})).await;
    quick.subscribe(json!({})).await;
    let publisher = Publisher::new(&redis).await;
    let filler = "x".repeat(64_000);
    for number in 0..250 {
        publisher.inference(&number.to_string(), &[("filler", &filler)]).await;
        quick.event().await;
    }
    assert_eq!(gateway.stop().await, Ended::InOrder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_found_out_by_a_ping() {
    let redis = RedisServer::new();
    let settings = [("PING_INTERVAL", "100ms"), ("PING_TIMEOUT", "100ms")];
    let gateway = TestGateway::start(&redis, &settings).await;
    // It hears the ping of Engine.IO, but never answers.
    let mut silent = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    assert_eq!(silent.socket.text().await, "2");
    assert_eq!(silent.socket.close_code().await, 3002);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_pings_is_pinged_again() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("PING_INTERVAL", "20ms")]).await;
    let mut client = Client::connect(gateway.port, "").await;
    // The second ping comes only after the first was answered; tungstenite answers while it reads.
    for _ in 0..3 {
        client.socket.ping().await;
    }
}

/// A connection after its handshake, without a library that would mend what is sent.
async fn raw(port: u16, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    stream
}

/// The code of the close frame, after whatever else.
async fn close_code(stream: &mut TcpStream) -> u16 {
    let mut read = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut read)).await.expect("the end").unwrap();
    let mut rest = &read[..];
    loop {
        let length = synapse_realtime::websocket::frame::length_of(rest);
        let (frame, after) = rest.split_at(length);
        if frame[0] == 0x88 {
            assert!(after.is_empty(), "something came after the close frame");
            return u16::from_be_bytes([frame[2], frame[3]]);
        }
        rest = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_of_the_protocol_ends_the_connection_by_its_code() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("MAX_MESSAGE_BYTES", "1KiB")]).await;
    let cases: [(&str, &[u8], u16); 6] = [
        ("not masked", &[0x81, 0x01, b'x'], 3501),
        ("reserved bits", &[0xF1, 0x80, 0, 0, 0, 0], 3501),
        ("not UTF-8", &[0x81, 0x81, 0, 0, 0, 0, 0xFF], 3501),
        ("a continuation of nothing", &[0x80, 0x80, 0, 0, 0, 0], 3501),
        ("too large", &[0x81, 0xFE, 0x04, 0x01, 0, 0, 0, 0], 3502),
        ("bytes where text is spoken", &[0x82, 0x81, 0, 0, 0, 0, 1], 3501),
    ];
    for (what, bytes, code) in cases {
        for path in ["/ws", "/socket.io/?EIO=4&transport=websocket"] {
            let mut stream = raw(gateway.port, path).await;
            stream.write_all(bytes).await.unwrap();
            assert_eq!(close_code(&mut stream).await, code, "{what} on {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_is_answered_and_forgotten() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut stream = raw(gateway.port, "/ws").await;
    stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8]).await.unwrap();
    assert_eq!(close_code(&mut stream).await, 1000);
    let mut socketio = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    socketio.socket.say("1").await;
    assert_eq!(socketio.socket.close_code().await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_parts_with_a_ping_between_is_one_message() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut stream = raw(gateway.port, "/ws").await;
    let mut bytes = vec![0x01, 0x88, 0, 0, 0, 0];
    bytes.extend(b"{\"type\":");
    bytes.extend([0x89, 0x81, 0, 0, 0, 0, b'?', 0x80, 0x87, 0, 0, 0, 0]);
    bytes.extend(b"\"ping\"}");
    bytes.extend([0x88, 0x80, 0, 0, 0, 0]);
    stream.write_all(&bytes).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    let read = String::from_utf8_lossy(&read);
    assert!(read.contains("\u{1}?") && read.contains("{\"type\":\"pong\"}"), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_arguments_are_tolerated() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut client = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    client.socket.say(r#"451-5["unknown",{"_placeholder":true,"num":0}]"#).await;
    client.socket.send(Message::Binary(Bytes::from_static(&[1, 2, 3]))).await;
    assert!(client.socket.text().await.starts_with(r#"435[{"error":{"code":"unknown_event""#));
}
