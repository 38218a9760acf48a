//! Who may be in which room, and what tokens do while a connection lasts.

use serde_json::json;
use synapse_test_support::RedisServer;

use crate::{
    limits::exchange,
    support::{Client, Publisher, SECRET, SocketIoClient, TestGateway, token, token_for},
};

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_nobody_joins_another_users_room() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    let auth = json!({"token": token(&json!({"sub": "42", "scope": "events:all"}))});
    let mut client = SocketIoClient::connect(gateway.port, "&userId=7&room=user_7", &auth).await;
    assert_eq!(client.ask("join_user_room", &json!("7")).await["error"]["code"], "not_yours");
    assert_eq!(client.ask("join_user_room", &json!(42)).await, json!({"ok": true}));
    assert_eq!(client.ask("presence:update", &json!({})).await["error"]["code"], "no_room");
    let publisher = Publisher::new(&redis).await;
    publisher.inference("of 7", &[("user_id", "7")]).await;
    publisher.inference("of 42", &[("user_id", "42")]).await;
    assert_eq!(client.event().await.1["model_name"], "of 42");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_client_is_in_no_users_room() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    let mut client = SocketIoClient::connect(gateway.port, "&userId=42", &json!({"userId": "42"})).await;
    assert_eq!(client.ask("join_user_room", &json!("42")).await["error"]["code"], "not_yours");
    let publisher = Publisher::new(&redis).await;
    publisher.inference("of 42", &[("user_id", "42")]).await;
    publisher.end().await;
    assert_eq!(client.models_until("end").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_a_client_is_whom_it_says_to_be() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    let mut by_auth = SocketIoClient::connect(gateway.port, "", &json!({"userId": 1})).await;
    let mut by_room = SocketIoClient::connect(gateway.port, "&userId=2", &json!({})).await;
    assert_eq!(by_room.ask("join_user_room", &json!("3")).await, json!({"ok": true}));
    for user in ["1", "2", "3"] {
        publisher.inference(user, &[("user_id", user)]).await;
    }
    publisher.end().await;
    assert_eq!(by_auth.models_until("end").await, ["1"]);
    assert_eq!(by_room.models_until("end").await, ["3"], "it is that user now, and no other");
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_told_to_the_others_in_the_room_of_the_handshake() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut one = SocketIoClient::connect(gateway.port, "&room=adventure_9", &json!({})).await;
    let mut two = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    let mut elsewhere = SocketIoClient::connect(gateway.port, "&room=adventure_8", &json!({})).await;
    assert_eq!(two.ask("join_adventure_room", &json!("9")).await, json!({"ok": true}));
    assert_eq!(one.ask("presence:update", &json!({"here": true})).await, json!({"ok": true}));
    assert_eq!(two.event().await, ("presence:update".to_owned(), json!({"here": true})));
    assert_eq!(two.ask("presence:update", &json!({})).await["error"]["code"], "no_room");
    // Its next message would be the presence, had it come.
    assert_eq!(elsewhere.ask("join_adventure_room", &json!({})).await["error"]["code"], "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_told_by_its_code() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    let expired = token_for(&json!({"sub": "42"}), -3_600);
    for (token, code) in [("nonsense", "token_invalid"), (expired.as_str(), "token_expired")] {
        let mut client = SocketIoClient::open(gateway.port, "").await;
        client.socket.say(format!("40{}", json!({ "token": token }))).await;
        let refused = client.socket.text().await;
        let error: serde_json::Value = serde_json::from_str(refused.strip_prefix("44").unwrap()).unwrap();
        assert_eq!(error["data"]["code"], code, "{error}");
        assert!(!refused.contains(token), "a token is told back");
    }
    let mut client = crate::support::Socket::open(gateway.port, "/ws?token=nonsense").await;
    assert!(client.text().await.contains("token_invalid"));
    assert_eq!(client.close_code().await, 3500);
    let mut client = crate::support::Socket::open(gateway.port, &format!("/ws?token={expired}")).await;
    assert_eq!(client.close_code().await, 3003);
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_clients_can_be_denied_until_they_say_who_they_are() {
    let redis = RedisServer::new();
    let settings = [("JWT_SECRET", SECRET), ("ANONYMOUS", "deny")];
    let gateway = TestGateway::start(&redis, &settings).await;
    let mut client = SocketIoClient::open(gateway.port, "").await;
    client.socket.say("40").await;
    assert!(client.socket.text().await.contains("\"code\":\"token_missing\""));
    let mut client = Client { socket: crate::support::Socket::open(gateway.port, "/ws").await };
    client.say(json!({"type": "subscribe"})).await;
    assert_eq!(client.error().await.0, "token_missing");
    client.say(json!({"type": "auth", "token": token(&json!({"sub": "42"}))})).await;
    let welcome = client.hear().await;
    assert_eq!((&welcome["type"], &welcome["user"]), (&json!("welcome"), &json!("42")));
    client.subscribe(json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_token_unless_it_is_renewed() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    // The leeway is 30 s: this one has five seconds left.
    let claims = json!({"sub": "42"});
    let short = || token_for(&claims, -25);
    let mut ends = SocketIoClient::connect(gateway.port, "", &json!({"token": short()})).await;
    let mut goes_on = SocketIoClient::connect(gateway.port, "", &json!({"token": short()})).await;
    let mut other = Client::connect(gateway.port, &format!("?token={}", short())).await;
    let stranger = token(&json!({"sub": "7"}));
    assert_eq!(goes_on.ask("refresh", &json!({"token": stranger})).await["error"]["code"], "not_yours");
    assert_eq!(goes_on.ask("refresh", &json!({"token": token(&claims)})).await, json!({"ok": true}));
    other.say(json!({"type": "refresh", "token": token(&claims)})).await;
    assert_eq!(other.hear().await["type"], "welcome");
    assert_eq!(ends.socket.close_code().await, 3003);
    let publisher = Publisher::new(&redis).await;
    publisher.inference("still", &[("user_id", "42")]).await;
    assert_eq!(goes_on.event().await.1["model_name"], "still");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_a_refresh_changes_nothing() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut client = Client::connect(gateway.port, "?userId=42").await;
    client.say(json!({"type": "refresh", "token": "x"})).await;
    assert_eq!(client.hear().await, json!({"type": "welcome", "user": "42", "anonymous": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_keys_are_away_a_client_of_socketio_is_told_to_come_back() {
    let redis = RedisServer::new();
    let keys = format!("http://127.0.0.1:{}/jwks.json", synapse_test_support::free_port());
    let gateway = TestGateway::begin(&redis, &[("JWKS_URL", &keys)]).await;
    synapse_test_support::eventually("the streams to be read", async || {
        (exchange(gateway.port, "GET /ws", "", "").await.0 != 503).then_some(())
    })
    .await;
    let mut client = SocketIoClient::open(gateway.port, "").await;
    let auth = json!({"token": token(&json!({"sub": "42"}))});
    client.socket.say(format!("40{auth}")).await;
    assert_eq!(
        client.socket.close_code().await,
        3005,
        "a refusal would keep the stock client from coming back"
    );
}
