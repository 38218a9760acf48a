//! What Socket.IO clients may ask for.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use synapse_chassis::identity::Refusal;
use synapse_realtime::{
    close::CloseReason,
    driver::Work,
    hub::Room,
    outbox::Piece,
    socketio::{
        application::{Answer, Application, Failure, KnownAs},
        engine::Heartbeat,
        packet::{self, Arguments, MAIN_NAMESPACE, Subject},
        session::Rules,
    },
    websocket::frame,
};
use synapse_rs::stream::StreamError;
use tokio::time::Instant;

use crate::{
    client::Client,
    feed::Progress,
    frames::Protocol,
    gateway::Gateway,
    handshake::Hello,
    memory::{Hold, Memories, Memory, Wishes},
    metrics,
    position::Position,
    requests::{self, condition_of, id_of, streams_of},
    settings::Settings,
    subscriptions::Subscriptions,
    who::{Who, Word},
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
    /// What it finds again if it comes back, where it can.
    memory: Option<Box<(Hold, Memory)>>,
}

/// A client that is let in.
pub(crate) struct Admission {
    who: Who,
    /// What it had before, and where it is to be brought on from.
    before: Option<(Memory, Position)>,
    /// What it finds that again by.
    pid: Option<String>,
}

impl SocketIoClient {
    pub(crate) fn new(gateway: Arc<Gateway>, client: Arc<Client>, hello: Box<Hello>) -> Self {
        Self { gateway, client, hello, who: None, presence: None, memory: None }
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
        self.remember(|memory| memory.user.clone_from(&who.user));
        self.who = Some(Box::new(who));
        Ok(())
    }

    fn join_adventure_room(&mut self, arguments: &[Value]) -> Result<(), Failure> {
        let id = id_of(arguments.first(), "id")?;
        let room = Room::named(&format!("adventure_{id}"));
        let room = room.map_err(|error| Failure::new("invalid_room", error.to_string()))?;
        self.gateway.join(&self.client, self.who()?, &room)?;
        let name = room.to_string();
        self.remember(|memory| {
            if !memory.rooms.contains(&name) {
                memory.rooms.push(name);
            }
        });
        Ok(())
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
        let written: usize = values.iter().map(|value| value.to_string().len()).sum();
        let size = written + arguments.attachments.iter().map(Bytes::len).sum::<usize>();
        self.gateway.relay.tell_presence(room, Arguments { values, ..arguments }, size, &self.client)
    }

    fn subscribe(&mut self, arguments: &[Value]) -> Result<(), Failure> {
        self.who()?;
        let request = arguments.first().unwrap_or(&Value::Null);
        requests::check_fields(request, &["streams", "where"])?;
        let streams = streams_of(request)?;
        let condition = self.gateway.feed.filters.share(condition_of(request)?);
        self.client.change(|subscriptions| subscriptions.subscribe(streams, condition));
        self.remember(|memory| memory.wishes.subscribe(streams, request["where"].clone()));
        Ok(())
    }

    fn unsubscribe(&mut self, arguments: &[Value]) -> Result<(), Failure> {
        self.who()?;
        let request = arguments.first().unwrap_or(&Value::Null);
        requests::check_fields(request, &["streams", "where"])?;
        let streams = streams_of(request)?;
        self.client.change(|subscriptions| subscriptions.unsubscribe(streams));
        self.remember(|memory| memory.wishes.unsubscribe(streams));
        Ok(())
    }

    /// Changes what the client finds again, if it can come back.
    fn remember(&mut self, change: impl FnOnce(&mut Memory)) {
        if let Some((hold, memory)) = self.memory.as_deref_mut() {
            change(memory);
            self.gateway.memories.keep(hold, memory);
        }
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
    type Admission = Admission;
    type Outcome = Result<Who, Failure>;

    fn connect(&mut self, auth: Value) -> Work<Result<Admission, Failure>> {
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
            let who = match gateway.identify(token.as_deref(), word).await {
                Err(refusal) => {
                    metrics::refused(refusal.code());
                    if refusal == Refusal::KeysUnavailable {
                        return not_now(&client, CloseReason::Unavailable).await;
                    }
                    return Err(failure(refusal));
                }
                Ok(who) => who,
            };
            match gateway.assume(&client, &who) {
                Err(failure) if failure.code == CloseReason::TooManyConnections.name() => {
                    return not_now(&client, CloseReason::TooManyConnections).await;
                }
                assumed => assumed?,
            }
            if client.protocol != Protocol::SocketIoWithOffsets {
                return Ok(Admission { who, before: None, pid: None });
            }
            match come_back(&gateway, &client, who, &auth).await {
                Ok(admission) => Ok(admission),
                Err(error) => {
                    tracing::debug!(%error, "a client can't be told where it stands");
                    not_now(&client, CloseReason::Unavailable).await
                }
            }
        })
    }

    fn known_as(&self, admission: &Admission) -> KnownAs {
        KnownAs {
            sid: admission.before.as_ref().map(|(memory, _)| memory.sid.clone()),
            pid: admission.pid.clone(),
        }
    }

    fn connected(&mut self, sid: &str, admission: Admission) -> Option<Work<()>> {
        let Admission { who, before, pid } = admission;
        let presence = self.hello.room.as_deref().and_then(|room| Room::named(room).ok());
        // A room that is not one's own is none; presence:update says so.
        self.presence = presence.filter(|room| self.gateway.join(&self.client, &who, room).is_ok());
        let word = who.said();
        let (user, organisation) = (who.user.clone(), who.organisation.clone());
        self.who = Some(Box::new(who));
        let confirmed = json!({ "socketId": sid, "timestamp": format!("{:.3}", jiff::Timestamp::now()) });
        let may_come_back = pid.is_some();
        let confirmation = |position: Position| {
            let mut arguments = vec![confirmed];
            if may_come_back {
                // With this as its offset it can come back even if no event has come before.
                arguments.push(position.token().into());
            }
            let arguments = Arguments { values: &arguments, attachments: &[] };
            Piece::from(packet::frames(MAIN_NAMESPACE, Subject::Event("connection_confirmed"), arguments))
        };
        let resumed = before.as_ref().map(|(_, position)| *position);
        self.memory = pid.map(|pid| {
            let new = || Memory {
                sid: sid.to_owned(),
                user,
                organisation,
                said: word,
                wishes: Wishes::everything(),
                rooms: vec![],
            };
            Box::new((Hold::of(pid), before.map_or_else(new, |(memory, _)| memory)))
        });
        if let Some((hold, memory)) = self.memory.as_deref() {
            self.gateway.memories.take(hold, memory);
        }
        let Some(position) = resumed else {
            self.client.change(|subscriptions| *subscriptions = Subscriptions::everything());
            self.gateway.feed.follow(&self.client, |position| Some(confirmation(position)));
            return None;
        };
        self.client.link.send(confirmation(position));
        let (resume, client) = (self.gateway.resume.clone(), self.client.clone());
        Some(Box::pin(async move {
            if let Err(reason) = resume.catch_up(client.clone(), true).await {
                client.link.close(reason);
            }
        }))
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
        self.remember(|memory| {
            memory.user.clone_from(&who.user);
            memory.organisation.clone_from(&who.organisation);
        });
        self.who = Some(Box::new(who));
        Ok(())
    }

    fn left(&mut self) {
        if let Some((hold, _)) = self.memory.take().as_deref() {
            self.gateway.memories.forget(hold);
        }
    }

    fn disconnected(&mut self) {
        self.gateway.retire(&self.client);
        self.client.change(|subscriptions| *subscriptions = Subscriptions::default());
        self.who = None;
        self.presence = None;
        self.memory = None;
    }

    fn expires_at(&self) -> Option<Instant> {
        self.who.as_ref().and_then(|who| who.expires_at)
    }

    fn pinged(&mut self) {
        if self.memory.is_some() {
            // For as long as it is here, and a while longer.
            self.remember(|_| {});
            let Progress { sequence, position } = *self.gateway.feed.progress().borrow();
            self.client.tell_position(sequence, || {
                frame::text(&packet::event("position", &position.token().into()))
            });
        }
    }

    fn ponged(&mut self, after: Duration) {
        metrics::ponged(after);
    }
}

/// Closes the connection: a refusal would keep the stock client from coming back.
async fn not_now<T>(client: &Client, reason: CloseReason) -> T {
    client.link.close(reason);
    std::future::pending().await
}

/// Gives a client that comes back what it had, if that is there and nothing that it would have got since is gone; or else
/// it is a new one.
async fn come_back(
    gateway: &Gateway,
    client: &Arc<Client>,
    who: Who,
    auth: &Value,
) -> Result<Admission, StreamError> {
    let new = |who| Admission { who, before: None, pid: Some(Memories::new_pid()) };
    let (Some(pid), Some(offset)) = (auth["pid"].as_str(), auth["offset"].as_str()) else {
        return Ok(new(who));
    };
    let (Ok(position), Some(memory)) = (Position::parse(offset), gateway.memories.find(pid).await?) else {
        metrics::recovered(false);
        return Ok(new(who));
    };
    let mut before = who.clone();
    if who.is_by_word() && who.said() == memory.said {
        // By its word it had become this user, and is again.
        before.user.clone_from(&memory.user);
        before.organisation.clone_from(&memory.organisation);
    }
    let is_the_same = before.user == memory.user && before.organisation == memory.organisation;
    let subscriptions = memory.wishes.subscriptions(&gateway.feed.filters);
    let (true, Some(subscriptions)) = (is_the_same, subscriptions) else {
        metrics::recovered(false);
        return Ok(new(who));
    };
    let rooms: Vec<_> = memory.rooms().collect();
    // Before it is looked where it stands, so that what comes for them meanwhile is its own.
    let has_joined = gateway
        .assume(client, &before)
        .and_then(|()| rooms.iter().try_for_each(|room| gateway.join(client, &before, room)));
    if has_joined.is_ok() && gateway.resume.begin_again(client, subscriptions, position).await?.recovered {
        return Ok(Admission { who: before, before: Some((memory, position)), pid: Some(pid.to_owned()) });
    }
    for room in &rooms {
        gateway.part(client, room);
    }
    if gateway.assume(client, &who).is_err() {
        // It was let in as this already; another has taken its place meanwhile.
        client.link.close(CloseReason::TooManyConnections);
    }
    Ok(new(who))
}

pub(crate) fn failure(refusal: Refusal) -> Failure {
    Failure::new(refusal.code(), refusal.to_string())
}

fn cut(name: &str) -> String {
    name.chars().take(60).collect()
}
