//! What is said when: the handshakes of both protocols, heartbeats, acknowledgements.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    close::CloseReason,
    driver::{Next, Session, Work},
    link::Link,
    socketio::{
        engine::{self, Heartbeat},
        packet::{self, Kind, MAIN_NAMESPACE, Packet},
    },
    websocket::frame,
};

/// What the events of the main namespace mean.
pub trait Application: Send {
    /// What is known of a client once it has been let in.
    type Admission: Send + 'static;
    /// What comes of an event that takes a while.
    type Outcome: Send + 'static;

    /// A client asks to be let in, with what it gave as `auth`.
    fn connect(&mut self, auth: Value) -> Work<Result<Self::Admission, Failure>>;

    /// The client has been let in; it knows itself by `sid`.
    fn connected(&mut self, sid: &str, admission: Self::Admission);

    /// An event has come.
    fn event(&mut self, name: &str, arguments: &[Value]) -> Answer<Self::Outcome>;

    /// An event that took a while has been worked on.
    fn finished(&mut self, outcome: Self::Outcome) -> Result<(), Failure>;

    /// The client has left the namespace, or the connection has ended. May be called more than once.
    fn disconnected(&mut self);

    /// When the client's right to be here ends.
    fn expires_at(&self) -> Option<Instant>;

    /// By when it wants a ping to be sent, if before the next one is due: the answer proves that the client has got what
    /// was sent before. Looked at after each message and each [`Link::nudge`].
    fn ping_by(&self) -> Option<Instant> {
        None
    }

    /// A ping goes out, behind all that was sent so far.
    fn pinged(&mut self) {}

    /// A ping has been answered.
    fn ponged(&mut self, after: Duration);
}

/// What becomes of an event.
pub enum Answer<T> {
    /// It is done, or refused.
    Now(Result<(), Failure>),
    /// This has to be done first.
    Later(Work<T>),
}

/// Why something a client asked for is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Failure {
    /// A failure by its code and message.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// How a session is held.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// When pings are sent and must be answered.
    pub heartbeat: Heartbeat,
    /// The largest message the client may send, in bytes.
    pub max_payload: usize,
    /// How long a client may take to ask to be let in.
    pub connect_timeout: Duration,
}

/// One client that speaks Socket.IO.
pub struct SocketIo<A: Application> {
    link: Arc<Link>,
    /// Engine.IO's id of it, which the client's requests give while it polls.
    sid: Box<str>,
    application: A,
    rules: Rules,
    state: State,
    ping_at: Instant,
    /// When the ping that is not answered yet was sent.
    pinged_at: Option<Instant>,
    /// A packet that waits for its binary arguments, and for how many.
    incomplete: Option<(Box<str>, u32)>,
}

#[derive(Debug)]
enum State {
    /// Not in the namespace; to be there by then.
    Outside {
        until: Instant,
    },
    /// Being let in.
    Entering,
    Inside,
}

/// What comes of a session's work.
pub enum Outcome<A: Application> {
    /// Whether a client is let in.
    Admission(Result<A::Admission, Failure>),
    /// What comes of an event, and the number its answer is known by.
    Event(Option<u64>, A::Outcome),
}

impl<A: Application> SocketIo<A> {
    /// A session about to open, known by [`Intake::sid`](crate::driver::Intake::sid).
    pub fn new(link: Arc<Link>, sid: Box<str>, application: A, rules: Rules) -> Self {
        let now = Instant::now();
        Self {
            link,
            sid,
            application,
            rules,
            state: State::Outside { until: now + rules.connect_timeout },
            ping_at: now + rules.heartbeat.interval,
            pinged_at: None,
            incomplete: None,
        }
    }

    fn say(&self, message: &str) {
        self.link.send(frame::text(message));
    }

    fn packet(&mut self, text: &str) -> Result<Next<Outcome<A>>, CloseReason> {
        let packet = Packet::parse(text).map_err(|error| {
            tracing::debug!(%error, "a Socket.IO client sent what can't be read");
            CloseReason::ProtocolError
        })?;
        if packet.namespace != MAIN_NAMESPACE {
            return self.foreign(&packet);
        }
        match (packet.kind, &self.state) {
            (Kind::Connect, State::Outside { .. }) => {
                self.state = State::Entering;
                let admission = self.application.connect(packet.data);
                Ok(Next::Await(Box::pin(async { Outcome::Admission(admission.await) })))
            }
            (Kind::Event, State::Inside) => Ok(self.event(&packet)),
            (Kind::BinaryEvent | Kind::BinaryAck, State::Inside) => {
                if packet.attachments > 0 {
                    self.incomplete = Some((text.into(), packet.attachments));
                    return Ok(Next::Read);
                }
                Ok(self.event(&packet))
            }
            (Kind::Disconnect, State::Inside) => {
                self.application.disconnected();
                self.state = State::Outside { until: Instant::now() + self.rules.connect_timeout };
                Ok(Next::Read)
            }
            // We never ask for an answer.
            (Kind::Ack, State::Inside) | (Kind::Disconnect, _) => Ok(Next::Read),
            _ => Err(CloseReason::ProtocolError),
        }
    }

    /// There is but one namespace.
    fn foreign(&self, packet: &Packet<'_>) -> Result<Next<Outcome<A>>, CloseReason> {
        match packet.kind {
            Kind::Connect => {
                self.say(&packet::refused(packet.namespace, "Invalid namespace", None));
                Ok(Next::Read)
            }
            Kind::Disconnect => Ok(Next::Read),
            _ => Err(CloseReason::ProtocolError),
        }
    }

    fn event(&mut self, packet: &Packet<'_>) -> Next<Outcome<A>> {
        let Some((name, arguments)) = packet.event() else { return Next::Read };
        if packet.kind == Kind::BinaryAck {
            return Next::Read;
        }
        let ack = packet.ack;
        match self.application.event(name, arguments) {
            Answer::Now(result) => {
                self.answer(ack, result);
                Next::Read
            }
            Answer::Later(work) => Next::Await(Box::pin(async move { Outcome::Event(ack, work.await) })),
        }
    }

    fn answer(&self, ack: Option<u64>, result: Result<(), Failure>) {
        let Some(number) = ack else {
            if let Err(failure) = result {
                tracing::debug!(%failure, "a Socket.IO event is refused");
            }
            return;
        };
        let argument = match result {
            Ok(()) => json!({ "ok": true }),
            Err(Failure { code, message }) => json!({ "error": { "code": code, "message": message } }),
        };
        self.say(&packet::ack(number, &argument));
    }

    fn admit(&mut self, admission: Result<A::Admission, Failure>) {
        match admission {
            Ok(admission) => {
                let sid = new_sid();
                self.state = State::Inside;
                self.say(&packet::connected(&sid));
                self.application.connected(&sid, admission);
            }
            Err(Failure { code, message }) => {
                self.state = State::Outside { until: Instant::now() + self.rules.connect_timeout };
                self.say(&packet::refused(MAIN_NAMESPACE, &message, Some(code)));
            }
        }
    }

    /// When the ping must be answered, or the next be sent.
    fn heartbeat_due(&self) -> Instant {
        match self.pinged_at {
            Some(sent) => sent + self.rules.heartbeat.timeout,
            None => self.application.ping_by().map_or(self.ping_at, |wanted| wanted.min(self.ping_at)),
        }
    }
}

impl<A: Application> Session for SocketIo<A> {
    type Outcome = Outcome<A>;

    fn opened(&mut self) -> Result<Next<Self::Outcome>, CloseReason> {
        let upgrades: &[&str] = if self.link.is_polled() { &["websocket"] } else { &[] };
        self.say(&engine::open(&self.sid, upgrades, self.rules.heartbeat, self.rules.max_payload));
        Ok(Next::Read)
    }

    fn text(&mut self, message: &str) -> Result<Next<Self::Outcome>, CloseReason> {
        if self.incomplete.is_some() {
            return Err(CloseReason::ProtocolError);
        }
        match engine::Packet::parse(message).ok_or(CloseReason::ProtocolError)? {
            engine::Packet::Message(text) => self.packet(text),
            engine::Packet::Pong => {
                if let Some(sent) = self.pinged_at.take() {
                    self.application.ponged(sent.elapsed());
                }
                Ok(Next::Read)
            }
            engine::Packet::Ping(payload) => {
                self.say(&engine::pong(payload));
                Ok(Next::Read)
            }
            engine::Packet::Close => Ok(Next::Leave),
            engine::Packet::Upgrade | engine::Packet::Noop => Ok(Next::Read),
        }
    }

    fn binary(&mut self, _message: &[u8]) -> Result<Next<Self::Outcome>, CloseReason> {
        // No event of ours takes bytes: they are awaited so that the stream stays in step, not kept.
        match self.incomplete.take() {
            None => Err(CloseReason::ProtocolError),
            Some((text, missing)) if missing > 1 => {
                self.incomplete = Some((text, missing - 1));
                Ok(Next::Read)
            }
            Some((text, _)) => {
                let packet = Packet::parse(&text).map_err(|_| CloseReason::ProtocolError)?;
                Ok(self.event(&packet))
            }
        }
    }

    fn finished(&mut self, outcome: Self::Outcome) -> Result<Next<Self::Outcome>, CloseReason> {
        match outcome {
            Outcome::Admission(admission) => self.admit(admission),
            Outcome::Event(ack, outcome) => {
                let result = self.application.finished(outcome);
                self.answer(ack, result);
            }
        }
        Ok(Next::Read)
    }

    fn deadline(&self) -> Instant {
        let due = match self.state {
            State::Outside { until } => self.heartbeat_due().min(until),
            State::Entering | State::Inside => self.heartbeat_due(),
        };
        self.application.expires_at().map_or(due, |expiry| due.min(expiry))
    }

    fn tick(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.application.expires_at().is_some_and(|expiry| expiry <= now) {
            return Err(CloseReason::TokenExpired);
        }
        if matches!(self.state, State::Outside { until } if until <= now) {
            return Err(CloseReason::ConnectTimeout);
        }
        if self.heartbeat_due() <= now {
            if self.pinged_at.is_some() {
                return Err(CloseReason::PingTimeout);
            }
            self.pinged_at = Some(now);
            self.ping_at = now + self.rules.heartbeat.interval;
            self.application.pinged();
            self.say(engine::PING);
        }
        Ok(())
    }

    fn farewell(&mut self, reason: CloseReason) -> Vec<u8> {
        let inside = matches!(self.state, State::Inside);
        self.application.disconnected();
        // A DISCONNECT would stop the stock client from coming back.
        if reason.comes_back() || !inside {
            return Vec::new();
        }
        let closing = packet::event("closing", &json!({ "code": reason.code(), "reason": reason.name() }));
        [frame::text(&closing), frame::text(packet::DISCONNECT)].concat()
    }
}

impl<A: Application> Drop for SocketIo<A> {
    fn drop(&mut self) {
        self.application.disconnected();
    }
}

/// An id that no other connection has and nobody can guess: while a client polls, who has it is the client.
pub(crate) fn new_sid() -> String {
    URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes())
}

#[cfg(test)]
mod tests;
