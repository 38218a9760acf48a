//! Connection state recovery, as the stock client of Socket.IO does it.

use serde_json::{Value, json};
use synapse_gateway::{position::Position, streams::Stream};
use synapse_rs::EntryId;
use synapse_test_support::{RedisServer, eventually};

use crate::support::{Publisher, SocketIoClient, TestGateway, label, token};

/// A client that keeps what the stock client keeps.
struct Returning {
    client: SocketIoClient,
    sid: String,
    pid: String,
    offset: String,
}

impl Returning {
    async fn connect(port: u16, auth: Value) -> Self {
        let mut client = SocketIoClient::open(port, "&resume=1").await;
        client.socket.say(format!("40{auth}")).await;
        let connected = client.socket.text().await;
        let known_as: Value =
            serde_json::from_str(connected.strip_prefix("40").expect("it is let in")).unwrap();
        let text = |name: &str| known_as[name].as_str().unwrap_or_default().to_owned();
        let mut new = Self { client, sid: text("sid"), pid: text("pid"), offset: String::new() };
        assert_eq!(new.event().await.0, "connection_confirmed");
        assert!(!new.offset.is_empty(), "it can come back though no event has come");
        new
    }

    /// What the stock client adds to its `auth`.
    fn auth(&self, auth: Value) -> Value {
        let mut auth = auth;
        auth["pid"] = self.pid.as_str().into();
        auth["offset"] = self.offset.as_str().into();
        auth
    }

    /// The next event's name and first argument; a text at the end is the offset.
    async fn event(&mut self) -> (String, Value) {
        let text = self.client.socket.text().await;
        let event: Vec<Value> =
            serde_json::from_str(text.strip_prefix("42").unwrap_or_else(|| panic!("{text}"))).unwrap();
        if let Some(offset) = event.last().and_then(Value::as_str) {
            offset.clone_into(&mut self.offset);
        }
        (event[0].as_str().unwrap().to_owned(), event[1].clone())
    }

    async fn labels_until(&mut self, end: &str) -> Vec<String> {
        let mut labels = Vec::new();
        loop {
            let label = label(&self.event().await.1);
            if label == end {
                return labels;
            }
            labels.push(label);
        }
    }
}

/// Waits until what the client has is kept with this in it.
async fn kept(redis: &RedisServer, client: &Returning, what: &str) {
    eventually("it to be kept", async || {
        let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
        let text: Option<String> = redis::cmd("GET")
            .arg(format!("synapse:gateway:pid:{}", client.pid))
            .query(&mut connection)
            .unwrap();
        text.filter(|text| text.contains(what)).map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_has_missed_nothing_and_is_where_it_was() {
    let redis = RedisServer::new();
    let replicas = [TestGateway::start(&redis, &[]).await, TestGateway::start(&redis, &[]).await];
    let publisher = Publisher::new(&redis).await;
    let auth = json!({"userId": "42"});
    let mut client = Returning::connect(replicas[0].port, auth.clone()).await;
    assert_eq!(client.client.ask("join_adventure_room", &json!("9")).await, json!({"ok": true}));
    let wish = json!({"streams": ["model-events"], "where": {"model_name": ["a", "c", "e"]}});
    assert_eq!(client.client.ask("subscribe", &wish).await, json!({"ok": true}));
    publisher.model("a").await;
    assert_eq!(label(&client.event().await.1), "a");
    kept(&redis, &client, "\"e\"").await;
    let (sid, pid, auth) = (client.sid.clone(), client.pid.clone(), client.auth(auth));
    drop(client);
    for name in ["b", "c", "d"] {
        publisher.model(name).await;
    }
    publisher.inference("of 42", &[("user_id", "42")]).await;
    publisher.inference("of 7", &[("user_id", "7")]).await;
    let mut client = Returning::connect(replicas[1].port, auth.clone()).await;
    assert_eq!((&client.sid, &client.pid), (&sid, &pid), "it is who it was");
    assert_eq!([label(&client.event().await.1), label(&client.event().await.1)], ["c", "of 42"]);
    for name in ["d", "e"] {
        publisher.model(name).await;
    }
    assert_eq!(label(&client.event().await.1), "e", "what it asked for still counts");
    let mut other = SocketIoClient::connect(replicas[0].port, "&room=adventure_9", &json!({})).await;
    assert_eq!(other.ask("presence:update", &json!("here")).await, json!({"ok": true}));
    let before = client.offset.clone();
    assert_eq!(client.event().await, ("presence:update".to_owned(), json!("here")));
    assert_eq!(client.offset, before, "a text that was said is no offset");
    // The same once more, from the same place.
    let mut again = Returning::connect(replicas[0].port, auth).await;
    assert_eq!(again.pid, pid);
    publisher.model("end").await;
    publisher.inference("end", &[("user_id", "42")]).await;
    assert_eq!(again.labels_until("end").await, ["c", "of 42", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_client_is_told_its_position_with_each_ping() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[("PING_INTERVAL", "50ms")]).await;
    let publisher = Publisher::new(&redis).await;
    let mut client = Returning::connect(gateway.port, json!({"userId": "42"})).await;
    publisher.inference("of 7", &[("user_id", "7")]).await;
    loop {
        let text = client.client.socket.text().await;
        if text == "2" {
            client.client.socket.say("3").await;
            continue;
        }
        let event: Vec<Value> = serde_json::from_str(text.strip_prefix("42").unwrap()).unwrap();
        assert_eq!((event[0].as_str(), event.len()), (Some("position"), 2));
        assert_ne!(event[1].as_str().unwrap(), client.offset);
        break;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_not_be_brought_on_is_somebody_new() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    let publisher = Publisher::new(&redis).await;
    let auth_of = |user: &str| json!({"token": token(&json!({ "sub": user }))});
    let client = Returning::connect(gateway.port, auth_of("42")).await;
    kept(&redis, &client, "42").await;
    publisher.inference("of 42", &[("user_id", "42")]).await;
    let refused = [
        client.auth(auth_of("7")),
        client.auth(json!({})),
        json!({"token": auth_of("42")["token"], "pid": client.pid, "offset": "1-1"}),
        json!({"token": auth_of("42")["token"], "pid": client.pid, "offset": "here"}),
        json!({"token": auth_of("42")["token"], "pid": "x", "offset": client.offset}),
        json!({"token": auth_of("42")["token"], "pid": "7f000001-0000-4000-8000-000000000000", "offset": client.offset}),
    ];
    for auth in refused {
        let mut other = Returning::connect(gateway.port, auth.clone()).await;
        assert_ne!(other.pid, client.pid, "{auth}");
        publisher.model("end").await;
        assert_eq!(other.labels_until("end").await, Vec::<String>::new(), "{auth}");
    }
    let mut same = Returning::connect(gateway.port, client.auth(auth_of("42"))).await;
    assert_eq!(same.pid, client.pid);
    assert_eq!(label(&same.event().await.1), "of 42");
    // After a loss of what came since.
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    gateway.stop().await;
    let _: usize =
        redis::cmd("XTRIM").arg("inference-events").arg("MAXLEN").arg(0).query(&mut connection).unwrap();
    let gateway = TestGateway::with_key(&redis).await;
    let late = Returning::connect(gateway.port, client.auth(auth_of("42"))).await;
    assert_ne!(late.pid, client.pid, "something is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_its_word_one_is_again_who_it_had_become_but_not_if_something_is_gone() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    let word = json!({"userId": "7"});
    let mut client = Returning::connect(gateway.port, word.clone()).await;
    assert_eq!(client.client.ask("join_user_room", &json!("42")).await, json!({"ok": true}));
    kept(&redis, &client, "42").await;
    let mut again = Returning::connect(gateway.port, client.auth(word.clone())).await;
    assert_eq!(again.pid, client.pid);
    publisher.inference("of 7", &[("user_id", "7")]).await;
    publisher.inference("of 42", &[("user_id", "42")]).await;
    assert_eq!(label(&again.event().await.1), "of 42");
    // Of a time that this Redis has not seen.
    let mut position = Position::parse(&again.offset).unwrap();
    position[Stream::of_key("model-events").unwrap()] = EntryId::new(u64::MAX, 0);
    let mut lost = word;
    lost["pid"] = client.pid.as_str().into();
    lost["offset"] = position.token().into();
    let mut new = Returning::connect(gateway.port, lost).await;
    assert_ne!(new.pid, client.pid);
    publisher.inference("of 42 again", &[("user_id", "42")]).await;
    publisher.inference("of 7 again", &[("user_id", "7")]).await;
    assert_eq!(label(&new.event().await.1), "of 7 again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_that_it_comes_back_gets_events_as_ever() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let publisher = Publisher::new(&redis).await;
    let mut client = SocketIoClient::open(gateway.port, "").await;
    client.socket.say("40").await;
    assert!(!client.socket.text().await.contains("pid"));
    assert_eq!(client.event().await.0, "connection_confirmed");
    publisher.model("a").await;
    let text = client.socket.text().await;
    let event: Vec<Value> = serde_json::from_str(text.strip_prefix("42").unwrap()).unwrap();
    assert_eq!(event.len(), 2);
}

/// What is kept of what the client has.
fn memory_of(redis: &RedisServer, pid: &str) -> Option<String> {
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    redis::cmd("GET").arg(format!("synapse:gateway:pid:{pid}")).query(&mut connection).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_broke_unnoticed_writes_nothing_over_its_successor() {
    let redis = RedisServer::new();
    let settings = [("PING_INTERVAL", "50ms")];
    let replicas = [TestGateway::start(&redis, &settings).await, TestGateway::start(&redis, &settings).await];
    let auth = json!({"userId": "42"});
    let mut broken = Returning::connect(replicas[0].port, auth.clone()).await;
    kept(&redis, &broken, "42").await;
    let mut client = Returning::connect(replicas[1].port, broken.auth(auth.clone())).await;
    assert_eq!(client.pid, broken.pid);
    assert_eq!(client.client.ask("join_adventure_room", &json!("9")).await, json!({"ok": true}));
    kept(&redis, &client, "adventure_9").await;
    // What the other writes with its pings comes after that.
    for _ in 0..4 {
        while broken.client.socket.text().await != "2" {}
        broken.client.socket.say("3").await;
    }
    let kept = memory_of(&redis, &client.pid).unwrap();
    assert!(kept.contains("adventure_9"), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_or_says_to_be_another_is_somebody_new() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let word = json!({"userId": "42"});
    let mut client = Returning::connect(gateway.port, word.clone()).await;
    kept(&redis, &client, "42").await;
    let other = Returning::connect(gateway.port, client.auth(json!({"userId": "43"}))).await;
    assert_ne!(other.pid, client.pid, "it says to be another now");
    client.client.socket.say("41").await;
    eventually("it to be forgotten", async || memory_of(&redis, &client.pid).is_none().then_some(())).await;
    let again = Returning::connect(gateway.port, client.auth(word)).await;
    assert_ne!(again.pid, client.pid, "it had left");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_become_a_user_by_a_new_token_is_found_by_it() {
    let redis = RedisServer::new();
    let gateway = TestGateway::with_key(&redis).await;
    let auth = json!({"token": token(&json!({"sub": "42"}))});
    let mut client = Returning::connect(gateway.port, json!({})).await;
    assert_eq!(client.client.ask("refresh", &auth).await, json!({"ok": true}));
    kept(&redis, &client, "42").await;
    let again = Returning::connect(gateway.port, client.auth(auth)).await;
    assert_eq!(again.pid, client.pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_more_than_is_kept_is_not_brought_back_with_less() {
    let redis = RedisServer::new();
    let gateway = TestGateway::start(&redis, &[]).await;
    let word = json!({"userId": "42"});
    let mut client = Returning::connect(gateway.port, word.clone()).await;
    let names: Vec<_> = (0..90).map(|number| format!("{number:0100}")).collect();
    for stream in ["model-events", "training-events"] {
        let wish = json!({"streams": [stream], "where": {"model_name": names}});
        assert_eq!(client.client.ask("subscribe", &wish).await, json!({"ok": true}));
    }
    eventually("it to be forgotten", async || memory_of(&redis, &client.pid).is_none().then_some(())).await;
    let again = Returning::connect(gateway.port, client.auth(word)).await;
    assert_ne!(again.pid, client.pid);
}
