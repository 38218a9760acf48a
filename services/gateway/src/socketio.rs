//! What Socket.IO clients may ask for.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use synapse_chassis::identity::Refusal;
use synapse_realtime::{
    driver::Work,
    hub::Room,
    socketio::{
        application::{Answer, Application, Failure},
        engine::Heartbeat,
        packet::{self, Arguments},
        session::Rules,
    },
    websocket::frame,
};
use tokio::time::Instant;

use crate::{
    client::Client,
    gateway::{Gateway, Who, Word},
    handshake::Hello,
    metrics,
    requests::{self, condition_of, id_of, streams_of},
    settings::Settings,
    subscriptions::Subscriptions,
};

/// How sessions are held.
pub(crate) fn rules(settings: &Settings) -> Rules {
    Rules {
        heartbeat: Heartbeat { interval: settings.ping_interval, timeout: settings.ping_timeout },
        max_payload: settings.max_message_bytes,
        connect_timeout: settings.connect_timeout,
    }
}

/// One Socket.IO connection.
pub(crate) struct SocketIoClient {
    gateway: Arc<Gateway>,
    client: Arc<Client>,
    /// What the request gave, until the client has been let in.
    hello: Box<Hello>,
    who: Option<Box<Who>>,
    /// Where its presence is told.
    presence: Option<Room>,
}

impl SocketIoClient {
    pub(crate) fn new(gateway: Arc<Gateway>, client: Arc<Client>, hello: Hello) -> Self {
        Self { gateway, client, hello: Box::new(hello), who: None, presence: None }
    }

    fn who(&self) -> Result<&Who, Failure> {
        self.who.as_deref().ok_or_else(|| Failure::new("not_connected", "not connected yet"))
    }

    fn join_user_room(&mut self, arguments: &[Value]) -> Result<(), Failure> {
        let user = id_of(arguments.first(), "userId")?;
        let mut who = self.who()?.clone();
        if !who.may_act_as(&user) {
            return Err(Failure::new("not_yours", "this room belongs to another user"));
        }
        // By its word the client is now this user; by its token it has been from the start.
        who.user = Some(user);
        self.gateway.assume(&self.client, &who)?;
        self.who = Some(Box::new(who));
        Ok(())
    }

    fn join_adventure_room(&self, arguments: &[Value]) -> Result<(), Failure> {
        let id = id_of(arguments.first(), "id")?;
        let room = Room::named(&format!("adventure_{id}"));
        let room = room.map_err(|error| Failure::new("invalid_room", error.to_string()))?;
        self.gateway.join(&self.client, self.who()?, &room)
    }

    /// Tells the others in the room of the handshake, with the bytes that are in it.
    fn update_presence(&self, arguments: Arguments<'_>) -> Result<(), Failure> {
        self.who()?;
        let room = self.presence.as_ref().ok_or_else(|| {
            Failure::new(
                "no_room",
                "name a room of your own or a public one by the handshake's room parameter",
            )
        })?;
        // Said without a word it is null, as ever.
        let nothing = [Value::Null];
        let values = if arguments.values.is_empty() { &nothing } else { arguments.values };
        self.gateway.relay.tell_presence(room, Arguments { values, ..arguments }, &self.client);
        Ok(())
    }

    fn subscribe(&self, arguments: &[Value]) -> Result<(), Failure> {
        self.who()?;
        let request = arguments.first().unwrap_or(&Value::Null);
        requests::check_fields(request, &["streams", "where"])?;
        let streams = streams_of(request)?;
        let condition = self.gateway.feed.filters.share(condition_of(request)?);
        self.client.change(|subscriptions| subscriptions.subscribe(streams, condition));
        Ok(())
    }

    fn unsubscribe(&self, arguments: &[Value]) -> Result<(), Failure> {
        self.who()?;
        let request = arguments.first().unwrap_or(&Value::Null);
        requests::check_fields(request, &["streams", "where"])?;
        let streams = streams_of(request)?;
        self.client.change(|subscriptions| subscriptions.unsubscribe(streams));
        Ok(())
    }

    fn refresh(&self, arguments: &[Value]) -> Answer<Result<Who, Failure>> {
        let Some(token) = arguments.first().and_then(|request| request["token"].as_str()).map(str::to_owned)
        else {
            return Answer::Now(Err(Failure::new("invalid_request", "refresh takes {token}, a text")));
        };
        let gateway = self.gateway.clone();
        Answer::Later(Box::pin(async move {
            gateway.identify(Some(&token), Word::default()).await.map_err(failure)
        }))
    }
}

impl Application for SocketIoClient {
    type Admission = Who;
    type Outcome = Result<Who, Failure>;

    fn connect(&mut self, auth: Value) -> Work<Result<Who, Failure>> {
        let text = |names: &[&str]| {
            names.iter().find_map(|name| match &auth[*name] {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
        };
        let token = auth["token"].as_str().map(str::to_owned).or_else(|| self.hello.token.clone());
        let word = Word {
            user: text(&["userId", "user_id"]).or_else(|| self.hello.word.user.clone()),
            organisation: text(&["organizationId", "organization_id"])
                .or_else(|| self.hello.word.organisation.clone()),
        };
        let (gateway, client) = (self.gateway.clone(), self.client.clone());
        Box::pin(async move {
            let who = gateway.identify(token.as_deref(), word).await.map_err(|refusal| {
                metrics::refused(refusal.code());
                failure(refusal)
            })?;
            gateway.assume(&client, &who)?;
            Ok(who)
        })
    }

    fn connected(&mut self, sid: &str, who: Who) {
        let presence = self.hello.room.as_deref().and_then(|room| Room::named(room).ok());
        // A room that is not one's own is none; presence:update says so.
        self.presence = presence.filter(|room| self.gateway.join(&self.client, &who, room).is_ok());
        self.who = Some(Box::new(who));
        let confirmed = json!({ "socketId": sid, "timestamp": format!("{:.3}", jiff::Timestamp::now()) });
        self.client.link.send(frame::text(&packet::event("connection_confirmed", &confirmed)));
        self.client.change(|subscriptions| *subscriptions = Subscriptions::everything());
        self.gateway.feed.follow(&self.client);
    }

    fn event(&mut self, name: &str, arguments: Arguments<'_>) -> Answer<Self::Outcome> {
        let values = arguments.values;
        Answer::Now(match name {
            "join_user_room" => self.join_user_room(values),
            "join_adventure_room" => self.join_adventure_room(values),
            "presence:update" => self.update_presence(arguments),
            "subscribe" => self.subscribe(values),
            "unsubscribe" => self.unsubscribe(values),
            "refresh" => return self.refresh(values),
            _ => Err(Failure::new("unknown_event", format!("there is no event {:?}", cut(name)))),
        })
    }

    fn finished(&mut self, outcome: Self::Outcome) -> Result<(), Failure> {
        let who = outcome?;
        if !who.may_succeed(self.who()?) {
            return Err(Failure::new(
                "not_yours",
                "this token is another user's; connect anew to change users",
            ));
        }
        if who.is_by_word() {
            return Ok(());
        }
        self.gateway.assume(&self.client, &who)?;
        self.who = Some(Box::new(who));
        Ok(())
    }

    fn disconnected(&mut self) {
        self.gateway.retire(&self.client);
        self.client.change(|subscriptions| *subscriptions = Subscriptions::default());
        self.who = None;
        self.presence = None;
    }

    fn expires_at(&self) -> Option<Instant> {
        self.who.as_ref().and_then(|who| who.expires_at)
    }

    fn ponged(&mut self, after: Duration) {
        metrics::ponged(after);
    }
}

pub(crate) fn failure(refusal: Refusal) -> Failure {
    Failure::new(refusal.code(), refusal.to_string())
}

fn cut(name: &str) -> String {
    name.chars().take(60).collect()
}
