use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::driver::Work;

const RULES: Rules = Rules {
    heartbeat: Heartbeat { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) },
    max_payload: 65_536,
    connect_timeout: Duration::from_secs(45),
};

/// Lets in who says "please", and notes what it is told.
#[derive(Default)]
struct Notes {
    events: Vec<(String, Vec<Value>)>,
    attachments: Vec<Bytes>,
    left: usize,
    /// There is a room beside it, `/room`.
    has_room: bool,
}

impl Application for Notes {
    type Admission = ();
    type Outcome = ();

    fn beside(&self, namespace: &str) -> Option<Self> {
        (self.has_room && namespace == "/room").then(Self::default)
    }

    fn connect(&mut self, auth: Value) -> Work<Result<(), Failure>> {
        let polite = auth["word"] == "please";
        Box::pin(async move { if polite { Ok(()) } else { Err(Failure::new("impolite", "say please")) } })
    }

    fn connected(&mut self, _sid: &str, (): ()) -> Option<Work<()>> {
        None
    }

    fn event(&mut self, name: &str, arguments: Arguments<'_>) -> Answer<()> {
        self.events.push((name.to_owned(), arguments.values.to_vec()));
        self.attachments.extend_from_slice(arguments.attachments);
        match name {
            "echo" => Answer::With(arguments.values.to_vec(), arguments.attachments.to_vec()),
            "refuse" => Answer::Now(Err(Failure::new("refused", "not this"))),
            "later" => Answer::Later(Box::pin(async {})),
            _ => Answer::Now(Ok(())),
        }
    }

    fn finished(&mut self, (): ()) -> Result<(), Failure> {
        Ok(())
    }

    fn disconnected(&mut self) {
        self.left += 1;
    }

    fn expires_at(&self) -> Option<Instant> {
        None
    }

    fn ponged(&mut self, _after: Duration) {}
}

struct Client {
    socket: TcpStream,
    session: SocketIo<Notes>,
}

impl Client {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        server.writable().await.unwrap();
        Self {
            socket,
            session: SocketIo::new(Link::new(server, 1 << 20), new_sid().into(), Notes::default(), RULES),
        }
    }

    /// One that has been let in.
    async fn inside() -> Self {
        let mut client = Self::new().await;
        assert!(client.session.opened().is_ok());
        assert!(client.heard().await.starts_with("0{"));
        client.say(r#"40{"word":"please"}"#).await.unwrap();
        assert!(client.heard().await.starts_with("40{\"sid\":"));
        client
    }

    async fn say(&mut self, message: &str) -> Result<(), CloseReason> {
        let mut next = self.session.text(message)?;
        while let Next::Await(work) = next {
            next = self.session.finished(work.await)?;
        }
        Ok(())
    }

    async fn heard(&mut self) -> String {
        String::from_utf8(self.heard_bytes().await).unwrap()
    }

    async fn heard_bytes(&mut self) -> Vec<u8> {
        let mut header = [0; 2];
        self.socket.read_exact(&mut header).await.unwrap();
        assert!(header[1] < 126, "these tests have short messages");
        let mut payload = vec![0; usize::from(header[1])];
        self.socket.read_exact(&mut payload).await.unwrap();
        payload
    }
}

#[tokio::test]
async fn a_refused_client_may_ask_again() {
    let mut client = Client::new().await;
    client.say("40").await.unwrap();
    assert_eq!(
        client.heard().await,
        r#"44{"message":"say please","data":{"code":"impolite","message":"say please"}}"#
    );
    client.say(r#"40{"word":"please"}"#).await.unwrap();
    assert!(client.heard().await.starts_with("40{"));
}

#[tokio::test]
async fn other_namespaces_are_invalid() {
    let mut client = Client::inside().await;
    client.say("40/admin,").await.unwrap();
    assert_eq!(client.heard().await, r#"44/admin,{"message":"Invalid namespace"}"#);
    assert_eq!(client.say(r#"42/admin,["x"]"#).await, Err(CloseReason::ProtocolError));
}

#[tokio::test]
async fn events_are_answered_if_an_answer_is_asked_for() {
    let mut client = Client::inside().await;
    client.say(r#"42["quiet",1]"#).await.unwrap();
    client.say(r#"421["ok"]"#).await.unwrap();
    assert_eq!(client.heard().await, r#"431[{"ok":true}]"#);
    client.say(r#"422["refuse"]"#).await.unwrap();
    assert_eq!(client.heard().await, r#"432[{"error":{"code":"refused","message":"not this"}}]"#);
    client.say(r#"423["later"]"#).await.unwrap();
    assert_eq!(client.heard().await, r#"433[{"ok":true}]"#);
    assert_eq!(client.session.main.application.events[0], ("quiet".to_owned(), vec![json!(1)]));
}

#[tokio::test]
async fn events_before_the_namespace_is_entered_end_the_connection() {
    let mut client = Client::new().await;
    assert_eq!(client.say(r#"42["x"]"#).await, Err(CloseReason::ProtocolError));
}

#[tokio::test]
async fn an_event_waits_for_its_binary_arguments() {
    let mut client = Client::inside().await;
    client.say(r#"452-7["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#).await.unwrap();
    assert!(client.session.binary(&[1]).is_ok());
    assert!(client.session.main.application.events.is_empty());
    assert!(client.session.binary(&[2]).is_ok());
    assert_eq!(client.session.main.application.events[0].0, "x");
    assert_eq!(client.session.main.application.attachments, [&[1][..], &[2]]);
    assert_eq!(client.heard().await, r#"437[{"ok":true}]"#);
    assert!(matches!(client.session.binary(&[3]), Err(CloseReason::ProtocolError)));
}

#[tokio::test]
async fn bytes_are_answered_with() {
    let mut client = Client::inside().await;
    client.say(r#"452-7["echo",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#).await.unwrap();
    assert!(client.session.binary(b"first").is_ok());
    assert!(client.session.binary(b"second").is_ok());
    let answer = r#"462-7[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;
    assert_eq!(client.heard().await, answer);
    assert_eq!(client.heard_bytes().await, b"first");
    assert_eq!(client.heard_bytes().await, b"second");
}

#[tokio::test]
async fn between_the_parts_of_an_event_only_the_heartbeat_comes() {
    let mut client = Client::inside().await;
    client.say(r#"451-["x",{"_placeholder":true,"num":0}]"#).await.unwrap();
    // A client on several threads may send it there.
    client.say("3").await.unwrap();
    assert_eq!(client.say(r#"42["y"]"#).await, Err(CloseReason::ProtocolError));
    assert!(client.session.binary(&[1]).is_ok());
    assert_eq!(client.session.main.application.attachments, [&[1][..]]);
}

#[tokio::test]
async fn placeholders_without_bytes_end_the_connection() {
    for text in [
        r#"451-["x",{"_placeholder":true,"num":1}]"#,
        r#"451-["x",[{"a":{"_placeholder":true,"num":-1}}]]"#,
        r#"451-["x",{"_placeholder":true}]"#,
    ] {
        let mut client = Client::inside().await;
        client.say(text).await.unwrap();
        assert!(matches!(client.session.binary(&[1]), Err(CloseReason::ProtocolError)), "{text}");
        assert!(client.session.main.application.events.is_empty());
    }
    let mut client = Client::inside().await;
    let no_attachments = r#"450-["x",{"_placeholder":true,"num":0}]"#;
    assert_eq!(client.say(no_attachments).await, Err(CloseReason::ProtocolError));
}

#[tokio::test]
async fn attachments_together_are_bounded() {
    let mut client = Client::inside().await;
    client.say(r#"452-["x",{"_placeholder":true,"num":0}]"#).await.unwrap();
    let half = vec![0; RULES.max_payload / 2];
    assert!(client.session.binary(&half).is_ok());
    assert!(matches!(client.session.binary(&half), Err(CloseReason::MessageTooLarge)));
}

#[tokio::test]
async fn an_application_may_have_namespaces_beside_the_main_one() {
    let mut client = Client::new().await;
    client.session.main.application.has_room = true;
    client.say(r#"40/room,{"word":"please"}"#).await.unwrap();
    assert!(client.heard().await.starts_with(r#"40/room,{"sid":"#));
    // Who is in one of them is not sent away for being in no other.
    assert!(client.session.deadline() <= Instant::now() + RULES.heartbeat.interval);
    assert!(!client.session.is_outside());
    client.say(r#"42/room,1["echo","there"]"#).await.unwrap();
    assert_eq!(client.heard().await, r#"43/room,1["there"]"#);
    assert_eq!(client.say(r#"42["x"]"#).await, Err(CloseReason::ProtocolError));
    let last = client.session.farewell(CloseReason::ProtocolError);
    let closing = r#"42/room,["closing",{"code":3501,"reason":"protocol_error"}]"#;
    assert_eq!(last, [frame::text(closing), frame::text("41/room,")].concat());
    client.say("41/room,").await.unwrap();
    assert!(client.session.is_outside());
    client.say("40/room,").await.unwrap();
    assert!(client.heard().await.starts_with(r#"44/room,{"message":"say please""#));
    assert!(client.session.others.is_empty());
}

#[tokio::test]
async fn a_ping_that_is_not_answered_ends_the_connection() {
    let mut client = Client::inside().await;
    let due = client.session.deadline();
    client.session.tick(due).unwrap();
    assert_eq!(client.heard().await, "2");
    assert_eq!(client.session.deadline(), due + RULES.heartbeat.timeout);
    client.say("3").await.unwrap();
    let due = client.session.deadline();
    client.session.tick(due).unwrap();
    let late = client.session.deadline();
    assert_eq!(client.session.tick(late), Err(CloseReason::PingTimeout));
}

#[tokio::test]
async fn who_does_not_ask_to_be_let_in_is_sent_away() {
    let mut client = Client::new().await;
    let ping = client.session.deadline();
    client.session.tick(ping).unwrap();
    client.say("3").await.unwrap();
    let until = client.session.deadline();
    assert_eq!(client.session.tick(until), Err(CloseReason::ConnectTimeout));
}

#[tokio::test]
async fn who_leaves_the_namespace_hears_no_more_but_may_return() {
    let mut client = Client::inside().await;
    client.say("41").await.unwrap();
    assert_eq!(client.session.main.application.left, 1);
    client.say(r#"40{"word":"please"}"#).await.unwrap();
    assert!(client.heard().await.starts_with("40{"));
}

#[tokio::test]
async fn only_who_should_stay_away_is_sent_a_disconnect() {
    let mut client = Client::inside().await;
    assert!(client.session.farewell(CloseReason::Draining).is_empty());
    let last = client.session.farewell(CloseReason::TooManyMessages);
    let expected =
        [frame::text(r#"42["closing",{"code":3503,"reason":"too_many_messages"}]"#), frame::text("41")];
    assert_eq!(last, expected.concat());
}
