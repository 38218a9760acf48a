//! What goes to whom, of the present and of the past.

use serde_json::{Value, json};
use synapse_gateway::position::Position;
use synapse_test_support::RedisServer;

use crate::support::{Client, Publisher, SocketIoClient, TestGateway, token};

/// One of each row of the table, then the end.
async fn publish_one_of_each(publisher: &Publisher) {
    publisher.inference("of 42", &[("user_id", "42")]).await;
    publisher.inference("of 42 in acme", &[("user_id", "42"), ("organization_id", "acme")]).await;
    publisher.inference("of acme", &[("organization_id", "acme")]).await;
    publisher.inference("of nobody", &[("user_id", "anonymous")]).await;
    let platform =
        [("event", "task-created"), ("service", "tasks"), ("action", "platform of 7"), ("user_id", "7")];
    publisher.entry("platform-events", &platform).await;
    let training = [("event", "training-started"), ("model_name", "training"), ("user_id", "42")];
    publisher.entry("training-events", &training).await;
    publisher.entry("agi-events", &[("event", "agi-decision"), ("reasoning", "decision")]).await;
    let error = [("event", "error"), ("error_type", "x"), ("error_message", "failure"), ("user_id", "42")];
    publisher.entry("error-events", &error).await;
    publisher.end().await;
}

const TO_ALL: [&str; 2] = ["of nobody", "training"];

fn expected(own: &[&str]) -> Vec<String> {
    let order = [
        "decision",
        "failure",
        "of 42",
        "of 42 in acme",
        "of acme",
        "of nobody",
        "platform of 7",
        "training",
    ];
    let gets = |name: &&&str| TO_ALL.contains(name) || own.contains(name);
    order.iter().filter(gets).map(|name| (*name).to_owned()).collect()
}

/// The order between streams is not promised within a millisecond.
fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn cases() -> [(&'static str, Option<Value>, Vec<String>); 5] {
    [
        ("a user", Some(json!({"sub": "42"})), expected(&["of 42", "of 42 in acme"])),
        (
            "a user of an organisation",
            Some(json!({"sub": "7", "org": "acme"})),
            expected(&["of acme", "platform of 7"]),
        ),
        ("another organisation", Some(json!({"sub": "acme", "org": "42"})), expected(&[])),
        (
            "a service",
            Some(json!({"sub": "ops", "scope": "streams:read events:all"})),
            expected(&["decision", "failure"]),
        ),
        ("nobody", None, expected(&[])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_clients_get_what_they_may_see_and_nothing_else() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    let mut clients = Vec::new();
    for (who, claims, expected) in cases() {
        let mut client = match claims {
            Some(claims) => Client::with_token(gateway.port, &claims).await,
            None => Client::connect(gateway.port, "").await,
        };
        client.subscribe(json!({})).await;
        clients.push((who, client, expected));
    }
    publish_one_of_each(&Publisher::new(&redis).await).await;
    for (who, mut client, expected) in clients {
        assert_eq!(sorted(client.models_until("end").await), expected, "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn socketio_clients_get_what_they_may_see_and_nothing_else() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    let mut clients = Vec::new();
    for (who, claims, expected) in cases() {
        let auth = claims.map_or(json!({}), |claims| json!({ "token": token(&claims) }));
        clients.push((who, SocketIoClient::connect(gateway.port, "", &auth).await, expected));
    }
    publish_one_of_each(&Publisher::new(&redis).await).await;
    for (who, mut client, expected) in clients {
        assert_eq!(sorted(client.models_until("end").await), expected, "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_goes_to_whom_the_present_goes_from_memory_and_from_redis() {
    let redis = RedisServer::new();
    publish_one_of_each(&Publisher::new(&redis).await).await;
    for history in ["1000", "0"] {
        let settings = [("JWT_SECRET", crate::support::SECRET), ("HISTORY_EVENTS", history)];
        let gateway = TestGateway::start(&redis, &settings).await;
        for (who, claims, expected) in cases() {
            let mut client = match claims {
                Some(claims) => Client::with_token(gateway.port, &claims).await,
                None => Client::connect(gateway.port, "").await,
            };
            let from_the_start = json!({ "after": Position::default().token() });
            let answer = client.subscribe(from_the_start).await;
            assert_eq!(answer["recovered"], true);
            assert_eq!(sorted(client.models_until("end").await), expected, "{who}, history of {history}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_everyone_sees_every_stream_but_not_other_users_events() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let mut known = Client::connect(gateway.port, "?userId=42").await;
    let mut stranger = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    known.subscribe(json!({})).await;
    publish_one_of_each(&Publisher::new(&redis).await).await;
    let all = expected(&["of 42", "of 42 in acme", "decision", "failure"]);
    assert_eq!(sorted(known.models_until("end").await), all);
    assert_eq!(sorted(stranger.models_until("end").await), expected(&["decision", "failure"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_where_it_is_from_and_who_it_is() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    let mut client = Client::connect(gateway.port, "").await;
    let mut other = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    client.subscribe(json!({})).await;
    let fields = [("event", "agi-decision"), ("reasoning", "why"), ("event_id", "given")];
    let given = publisher.entry("agi-events", &fields).await;
    let bare = publisher.model("bare").await;

    let first = client.event().await;
    assert_eq!((&first["stream"], &first["id"]), (&json!("agi-decisions"), &json!(given)));
    assert_eq!(first["event"]["event_id"], "given");
    assert_eq!((&first["event"]["stream"], &first["event"]["id"]), (&first["stream"], &first["id"]));
    let second = client.event().await;
    assert_eq!(second["event"]["event_id"], format!("model-events/{bare}"));
    assert_eq!(second["event"]["version"], "1", "a known text stays a text");

    let (name, event) = other.event().await;
    assert_eq!((name.as_str(), &event), ("agi-decision-event", &first["event"]));
    let (name, event) = other.event().await;
    assert_eq!((name.as_str(), &event), ("model-event", &second["event"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_flows_before_a_subscription_nor_after_its_end() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    let mut client = Client::connect(gateway.port, "").await;
    let mut witness = Client::connect(gateway.port, "").await;
    witness.subscribe(json!({})).await;
    publisher.model("before").await;
    witness.event().await;
    client.subscribe(json!({"streams": ["model-events", "training-events"]})).await;
    publisher.model("between").await;
    assert_eq!(client.event().await["event"]["model_name"], "between");
    client.say(json!({"type": "unsubscribe", "streams": ["model-events"]})).await;
    assert_eq!(client.hear().await["type"], "unsubscribed");
    publisher.model("after").await;
    publisher.entry("training-events", &[("event", "training-started"), ("model_name", "still")]).await;
    assert_eq!(client.event().await["event"]["model_name"], "still");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_holds_for_the_present_and_the_past_alike() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    let mut client = Client::connect(gateway.port, "").await;
    let condition = json!({"model_name": ["a", "end"]});
    let begin = client.subscribe(json!({"where": condition})).await;
    for name in ["a", "b", "a", "c", "end"] {
        publisher.model(name).await;
    }
    assert_eq!(client.models_until("end").await, ["a", "a"]);
    let mut late = Client::connect(gateway.port, "").await;
    late.subscribe(json!({"where": condition, "after": begin["position"]})).await;
    assert_eq!(late.models_until("end").await, ["a", "a"]);
    let mut last = Client::connect(gateway.port, "").await;
    last.subscribe(json!({"where": condition, "last": 2})).await;
    assert_eq!(last.models_until("end").await, ["a"]);
    let mut narrowed = SocketIoClient::connect(gateway.port, "", &json!({})).await;
    let answer = narrowed.ask("subscribe", &json!({"streams": ["model-events"], "where": condition})).await;
    assert_eq!(answer, json!({"ok": true}));
    publisher.model("b").await;
    publisher.inference("x", &[]).await;
    publisher.end().await;
    assert_eq!(narrowed.models_until("end").await, ["x"]);
}
