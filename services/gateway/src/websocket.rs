//! What clients of `/ws` may ask for: JSON text messages with a `type`.

use std::sync::Arc;

use serde_json::{Value, json};
use synapse_chassis::identity::Refusal;
use synapse_realtime::{
    close::CloseReason,
    driver::{Next, Session},
    socketio::application::Failure,
    websocket::frame::{self, OpCode},
};
use synapse_rs::stream::StreamError;
use tokio::time::Instant;

use crate::{
    client::Client,
    feed::Progress,
    gateway::Gateway,
    handshake::Hello,
    metrics,
    requests::{check_fields, condition_of, id_of, invalid, invalid_last, names, request_for, streams_of},
    resume::Begun,
    socketio::failure,
    streams::StreamSet,
    who::{Who, Word},
};

/// One `/ws` connection.
pub(crate) struct WebSocketClient {
    gateway: Arc<Gateway>,
    client: Arc<Client>,
    /// What the request gave, until it has been looked at.
    hello: Option<Box<Hello>>,
    who: Option<Box<Who>>,
    /// When it must have said who it is.
    known_by: Instant,
    ping_at: Instant,
    pinged_at: Option<Instant>,
    position_at: Instant,
}

/// What comes of work for a client.
pub(crate) enum Outcome {
    /// Who it is, from the request or a message.
    Identified(Cause, Result<Box<Who>, Refusal>),
    /// Where it stands, and of which streams it asked.
    Begun(StreamSet, Result<Begun, StreamError>),
    /// It stands where everyone does, or can't.
    CaughtUp(Result<(), CloseReason>),
}

/// Why a client's identity was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It has connected.
    Hello,
    /// `auth` or `refresh`.
    Message,
}

impl WebSocketClient {
    pub(crate) fn new(gateway: Arc<Gateway>, client: Arc<Client>, hello: Box<Hello>) -> Self {
        let now = Instant::now();
        Self {
            known_by: now + gateway.settings.connect_timeout,
            ping_at: now + gateway.settings.ping_interval,
            position_at: now + gateway.settings.position_interval,
            gateway,
            client,
            hello: Some(hello),
            who: None,
            pinged_at: None,
        }
    }

    fn say(&self, message: &Value) {
        self.client.link.send(frame::text(&message.to_string()));
    }

    fn refuse(&self, failure: &Failure) {
        self.say(&json!({ "type": "error", "code": failure.code, "message": failure.message }));
    }

    fn identify(&self, cause: Cause, token: Option<String>, word: Word) -> Next<Outcome> {
        let gateway = self.gateway.clone();
        Next::Await(Box::pin(async move {
            let who = gateway.identify(token.as_deref(), word).await;
            Outcome::Identified(cause, who.map(Box::new))
        }))
    }

    fn message(&mut self, message: &str) -> Result<Next<Outcome>, Failure> {
        let request: Value =
            serde_json::from_str(message).map_err(|error| invalid(format!("not JSON: {error}")))?;
        match request["type"].as_str() {
            Some("auth") => {
                check_fields(&request, &["type", "token", "userId", "organizationId"])?;
                self.auth(&request)
            }
            Some("refresh") => {
                check_fields(&request, &["type", "token"])?;
                let token =
                    text(&request, "token")?.ok_or_else(|| invalid("refresh takes a token".to_owned()))?;
                if let Some(who) = self.who.as_ref().filter(|who| who.is_by_word()) {
                    // A word does not expire.
                    self.welcome(who);
                    return Ok(Next::Read);
                }
                Ok(self.identify(Cause::Message, Some(token), Word::default()))
            }
            Some("ping") => {
                check_fields(&request, &["type"])?;
                self.say(&json!({ "type": "pong" }));
                Ok(Next::Read)
            }
            Some("subscribe") => {
                check_fields(&request, &["type", "streams", "where", "after", "last"])?;
                self.subscribe(&request)
            }
            Some("unsubscribe") => {
                check_fields(&request, &["type", "streams"])?;
                let streams = streams_of(&request)?;
                self.client.change(|subscriptions| subscriptions.unsubscribe(streams));
                self.say(&json!({ "type": "unsubscribed", "streams": names(streams) }));
                Ok(Next::Read)
            }
            _ => Err(invalid("type is one of auth, refresh, subscribe, unsubscribe, ping".to_owned())),
        }
    }

    fn auth(&self, request: &Value) -> Result<Next<Outcome>, Failure> {
        let id = |name| match &request[name] {
            Value::Null => Ok(None),
            value => id_of(Some(value), name).map(Some),
        };
        let word = Word { user: id("userId")?, organisation: id("organizationId")? };
        Ok(self.identify(Cause::Message, text(request, "token")?, word))
    }

    fn subscribe(&self, request: &Value) -> Result<Next<Outcome>, Failure> {
        if self.who.is_none() {
            return Err(failure(Refusal::TokenMissing));
        }
        let streams = streams_of(request)?;
        let last = match &request["last"] {
            Value::Null => None,
            last => Some(last.as_u64().ok_or_else(invalid_last)?),
        };
        let after = text(request, "after")?;
        let request = request_for(streams, condition_of(request)?, after.as_deref(), last)?;
        let (resume, client) = (self.gateway.resume.clone(), self.client.clone());
        Ok(Next::Instead(Box::pin(async move {
            let begun = resume.begin(&client, request).await;
            Outcome::Begun(streams, begun)
        })))
    }

    /// Somebody has said, or proven, who it is.
    fn identified(&mut self, cause: Cause, who: Result<Box<Who>, Refusal>) -> Result<(), CloseReason> {
        let who = match who {
            Ok(who) => who,
            // It has not said yet; it may by `auth`.
            Err(Refusal::TokenMissing) if cause == Cause::Hello => return Ok(()),
            Err(refusal) => {
                metrics::refused(refusal.code());
                self.refuse(&failure(refusal));
                // A token that does not renew the one that is still good changes nothing.
                return if cause == Cause::Message && self.who.is_some() {
                    Ok(())
                } else {
                    Err(reason(refusal))
                };
            }
        };
        if self.who.as_ref().is_some_and(|before| !who.may_succeed(before)) {
            self.refuse(&Failure::new(
                "not_yours",
                "this token is another user's; connect anew to change users",
            ));
            return Ok(());
        }
        if let Err(failure) = self.gateway.assume(&self.client, &who) {
            self.refuse(&failure);
            let has_too_many = failure.code == CloseReason::TooManyConnections.name();
            return if has_too_many && self.who.is_none() {
                Err(CloseReason::TooManyConnections)
            } else {
                Ok(())
            };
        }
        self.welcome(&who);
        self.who = Some(who);
        Ok(())
    }

    fn welcome(&self, who: &Who) {
        self.say(&json!({ "type": "welcome", "user": who.user, "anonymous": who.is_anonymous() }));
    }

    fn tell_position(&self) {
        let Progress { sequence, position } = *self.gateway.feed.progress().borrow();
        self.client.tell_position(sequence, || {
            frame::text(&json!({ "type": "position", "position": position.token() }).to_string())
        });
    }
}

impl Session for WebSocketClient {
    type Outcome = Outcome;

    fn opened(&mut self) -> Result<Next<Outcome>, CloseReason> {
        let Hello { token, word, .. } = *self.hello.take().unwrap_or_default();
        Ok(self.identify(Cause::Hello, token, word))
    }

    fn text(&mut self, message: &str) -> Result<Next<Outcome>, CloseReason> {
        Ok(self.message(message).unwrap_or_else(|failure| {
            self.refuse(&failure);
            Next::Read
        }))
    }

    fn binary(&mut self, _message: &[u8]) -> Result<Next<Outcome>, CloseReason> {
        Err(CloseReason::ProtocolError)
    }

    fn pong(&mut self) {
        if let Some(sent) = self.pinged_at.take() {
            metrics::ponged(sent.elapsed());
        }
    }

    fn finished(&mut self, outcome: Outcome) -> Result<Next<Outcome>, CloseReason> {
        match outcome {
            Outcome::Identified(cause, who) => self.identified(cause, who).map(|()| Next::Read),
            Outcome::Begun(_, Err(error)) => {
                tracing::debug!(%error, "a client can't be told where it stands");
                Err(CloseReason::Unavailable)
            }
            Outcome::Begun(streams, Ok(Begun { position, recovered })) => {
                self.say(&json!({
                    "type": "subscribed",
                    "streams": names(streams),
                    "position": position.token(),
                    "recovered": recovered,
                }));
                let catch_up = self.gateway.resume.clone().catch_up(self.client.clone(), recovered);
                Ok(Next::Meanwhile(Box::pin(async { Outcome::CaughtUp(catch_up.await) })))
            }
            Outcome::CaughtUp(caught_up) => caught_up.map(|()| Next::Read),
        }
    }

    fn deadline(&self) -> Instant {
        let heartbeat = self.pinged_at.map_or(self.ping_at, |sent| sent + self.gateway.settings.ping_timeout);
        let due = heartbeat.min(self.position_at);
        match &self.who {
            None => due.min(self.known_by),
            Some(who) => who.expires_at.map_or(due, |expiry| due.min(expiry)),
        }
    }

    fn tick(&mut self, now: Instant) -> Result<(), CloseReason> {
        let settings = &self.gateway.settings;
        match &self.who {
            None if self.known_by <= now => return Err(CloseReason::ConnectTimeout),
            Some(who) if who.expires_at.is_some_and(|expiry| expiry <= now) => {
                return Err(CloseReason::TokenExpired);
            }
            _ => {}
        }
        if self.position_at <= now {
            self.position_at = now + settings.position_interval;
            self.tell_position();
        }
        match self.pinged_at {
            Some(sent) if sent + settings.ping_timeout <= now => return Err(CloseReason::PingTimeout),
            None if self.ping_at <= now => {
                self.pinged_at = Some(now);
                self.ping_at = now + settings.ping_interval;
                let mut ping = Vec::new();
                frame::push_frame(&mut ping, OpCode::Ping, &[]);
                self.client.link.send(ping);
            }
            _ => {}
        }
        Ok(())
    }

    fn farewell(&mut self, reason: CloseReason) -> Vec<u8> {
        let message = json!({ "type": "error", "code": reason.name(), "message": reason.message() });
        frame::text(&message.to_string())
    }
}

/// Whether a client that is turned away for this should come back.
fn reason(refusal: Refusal) -> CloseReason {
    match refusal {
        Refusal::KeysUnavailable => CloseReason::Unavailable,
        Refusal::TokenExpired => CloseReason::TokenExpired,
        _ => CloseReason::Unauthorized,
    }
}

fn text(request: &Value, name: &str) -> Result<Option<String>, Failure> {
    match &request[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(invalid(format!("{name} is a text"))),
    }
}
