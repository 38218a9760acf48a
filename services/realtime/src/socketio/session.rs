//! What is said when: the handshakes of both protocols, heartbeats, acknowledgements.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    close::CloseReason,
    driver::{Next, Session},
    link::Link,
    socketio::{
        application::{Answer, Application, Failure, KnownAs},
        engine::{self, Heart, Heartbeat},
        packet::{self, Arguments, Kind, MAIN_NAMESPACE, Packet, Subject},
    },
    websocket::frame,
};

mod incomplete;

use incomplete::Incomplete;

/// How a session is held.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// When pings are sent and must be answered.
    pub heartbeat: Heartbeat,
    /// The largest message the client may send, in bytes, its attachments included.
    pub max_payload: usize,
    /// How long a client may take to ask to be let in.
    pub connect_timeout: Duration,
}

/// One client that speaks Socket.IO.
pub struct SocketIo<A: Application> {
    link: Arc<Link>,
    /// Engine.IO's id of it, which the client's requests give while it polls.
    sid: Box<str>,
    rules: Rules,
    heart: Heart,
    main: Seat<A>,
    /// In the namespaces beside the main one.
    others: Vec<(Box<str>, Seat<A>)>,
    /// While the client is in no namespace: by when it is to be in one.
    enter_by: Instant,
    incomplete: Option<Box<Incomplete>>,
}

/// A client in a namespace.
struct Seat<A> {
    application: A,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Outside,
    /// Being let in.
    Entering,
    Inside,
}

/// What comes of a session's work.
pub enum Outcome<A: Application> {
    /// Whether a client is let in.
    Admission(Place, Result<A::Admission, Failure>),
    /// What comes of an event, and the number its answer is known by.
    Event(Place, Option<u64>, A::Outcome),
    /// What went on besides is done.
    Nothing,
}

/// Which namespace: `None` for the main one, or the place among the others. It stays the same while work is done, for
/// nothing is read meanwhile.
type Place = Option<usize>;

impl<A: Application> SocketIo<A> {
    /// A session about to open, known by [`Intake::sid`](crate::driver::Intake::sid).
    pub fn new(link: Arc<Link>, sid: Box<str>, application: A, rules: Rules) -> Self {
        let now = Instant::now();
        Self {
            link,
            sid,
            rules,
            heart: Heart::new(rules.heartbeat, now),
            main: Seat { application, state: State::Outside },
            others: Vec::new(),
            enter_by: now + rules.connect_timeout,
            incomplete: None,
        }
    }

    fn say(&self, message: &str) {
        self.link.send(frame::text(message));
    }

    fn place_of(&self, namespace: &str) -> Option<Place> {
        match namespace {
            MAIN_NAMESPACE => Some(None),
            other => self.others.iter().position(|(name, _)| **name == *other).map(Some),
        }
    }

    fn seat(&mut self, place: Place) -> (&str, &mut Seat<A>) {
        match place {
            None => (MAIN_NAMESPACE, &mut self.main),
            Some(place) => {
                let (name, seat) = &mut self.others[place];
                (name, seat)
            }
        }
    }

    fn applications(&self) -> impl Iterator<Item = &A> {
        std::iter::once(&self.main.application).chain(self.others.iter().map(|(_, seat)| &seat.application))
    }

    fn applications_mut(&mut self) -> impl Iterator<Item = &mut A> {
        std::iter::once(&mut self.main.application)
            .chain(self.others.iter_mut().map(|(_, seat)| &mut seat.application))
    }

    fn packet(&mut self, text: &str) -> Result<Next<Outcome<A>>, CloseReason> {
        let packet = parse(text)?;
        let Some(place) = self.place_of(packet.namespace) else { return self.elsewhere(packet) };
        match (packet.kind, self.seat(place).1.state) {
            (Kind::Connect, State::Outside) => Ok(self.enter(place, packet)),
            (Kind::Event, State::Inside) => Ok(self.event(place, &packet, &[])),
            (Kind::BinaryEvent | Kind::BinaryAck, State::Inside) => {
                if packet.attachments == 0 {
                    return self.complete(&packet, &[]);
                }
                self.incomplete = Some(Box::new(Incomplete::of(&packet, text)));
                Ok(Next::Read)
            }
            (Kind::Disconnect, State::Inside) => {
                self.seat(place).1.application.left();
                self.leave(place);
                Ok(match place {
                    // What goes on besides is on behalf of who was there.
                    None => Next::Instead(Box::pin(async { Outcome::Nothing })),
                    Some(_) => Next::Read,
                })
            }
            // We never ask for an answer.
            (Kind::Ack, State::Inside) | (Kind::Disconnect, _) => Ok(Next::Read),
            _ => Err(CloseReason::ProtocolError),
        }
    }

    /// In a namespace where the client is not.
    fn elsewhere(&mut self, packet: Packet<'_>) -> Result<Next<Outcome<A>>, CloseReason> {
        match packet.kind {
            Kind::Connect => {
                let Some(application) = self.main.application.beside(packet.namespace) else {
                    self.say(&packet::refused(packet.namespace, "Invalid namespace", None));
                    return Ok(Next::Read);
                };
                self.others.push((packet.namespace.into(), Seat { application, state: State::Outside }));
                Ok(self.enter(Some(self.others.len() - 1), packet))
            }
            Kind::Disconnect => Ok(Next::Read),
            _ => Err(CloseReason::ProtocolError),
        }
    }

    fn enter(&mut self, place: Place, packet: Packet<'_>) -> Next<Outcome<A>> {
        let (_, seat) = self.seat(place);
        seat.state = State::Entering;
        let admission = seat.application.connect(packet.data);
        Next::Await(Box::pin(async move { Outcome::Admission(place, admission.await) }))
    }

    fn admit(&mut self, place: Place, admission: Result<A::Admission, Failure>) -> Next<Outcome<A>> {
        match admission {
            Ok(admission) => {
                let link = self.link.clone();
                let (namespace, seat) = self.seat(place);
                seat.state = State::Inside;
                let KnownAs { sid, pid } = seat.application.known_as(&admission);
                let sid = sid.unwrap_or_else(new_sid);
                link.send(frame::text(&packet::connected(namespace, &sid, pid.as_deref())));
                match seat.application.connected(&sid, admission) {
                    Some(work) => Next::Meanwhile(Box::pin(async {
                        work.await;
                        Outcome::Nothing
                    })),
                    None => Next::Read,
                }
            }
            Err(Failure { code, message }) => {
                let refused = packet::refused(self.seat(place).0, &message, Some(code));
                self.leave(place);
                self.say(&refused);
                Next::Read
            }
        }
    }

    /// The client is in this namespace no longer; if in none, it has the time again to enter one.
    fn leave(&mut self, place: Place) {
        match place {
            None => {
                if self.main.state == State::Inside {
                    self.main.application.disconnected();
                }
                self.main.state = State::Outside;
            }
            Some(place) => self.others.remove(place).1.application.disconnected(),
        }
        self.enter_by = Instant::now() + self.rules.connect_timeout;
    }

    fn is_outside(&self) -> bool {
        self.main.state == State::Outside && self.others.is_empty()
    }

    /// A packet with all its attachments.
    fn complete(
        &mut self,
        packet: &Packet<'_>,
        attachments: &[Bytes],
    ) -> Result<Next<Outcome<A>>, CloseReason> {
        if !packet.has_its_attachments() {
            return Err(CloseReason::ProtocolError);
        }
        match self.place_of(packet.namespace) {
            Some(place) if packet.kind == Kind::BinaryEvent => Ok(self.event(place, packet, attachments)),
            // We never ask for an answer.
            _ => Ok(Next::Read),
        }
    }

    fn event(&mut self, place: Place, packet: &Packet<'_>, attachments: &[Bytes]) -> Next<Outcome<A>> {
        let Some((name, values)) = packet.event() else { return Next::Read };
        let ack = packet.ack;
        match self.seat(place).1.application.event(name, Arguments { values, attachments }) {
            Answer::Now(result) => self.answer(place, ack, result),
            Answer::With(values, attachments) => {
                let arguments = Arguments { values: &values, attachments: &attachments };
                self.answer_with(place, ack, arguments);
            }
            Answer::Later(work) => {
                return Next::Await(Box::pin(async move { Outcome::Event(place, ack, work.await) }));
            }
        }
        Next::Read
    }

    fn answer(&mut self, place: Place, ack: Option<u64>, result: Result<(), Failure>) {
        if let (None, Err(failure)) = (ack, &result) {
            tracing::debug!(%failure, "a Socket.IO event is refused");
        }
        let value = match result {
            Ok(()) => json!({ "ok": true }),
            Err(Failure { code, message }) => json!({ "error": { "code": code, "message": message } }),
        };
        self.answer_with(place, ack, Arguments { values: &[value], attachments: &[] });
    }

    fn answer_with(&mut self, place: Place, ack: Option<u64>, arguments: Arguments<'_>) {
        if let Some(number) = ack {
            let frames = packet::frames(self.seat(place).0, Subject::Ack(number), arguments);
            self.link.send(frames);
        }
    }

    fn heartbeat_due(&self) -> Instant {
        self.heart.due(self.applications().filter_map(Application::ping_by).min())
    }

    fn expires_at(&self) -> Option<Instant> {
        self.applications().filter_map(Application::expires_at).min()
    }
}

fn parse(text: &str) -> Result<Packet<'_>, CloseReason> {
    Packet::parse(text).map_err(|error| {
        tracing::debug!(%error, "a Socket.IO client sent what can't be read");
        CloseReason::ProtocolError
    })
}

impl<A: Application> Session for SocketIo<A> {
    type Outcome = Outcome<A>;

    fn opened(&mut self) -> Result<Next<Self::Outcome>, CloseReason> {
        let upgrades: &[&str] = if self.link.is_polled() { &["websocket"] } else { &[] };
        self.say(&engine::open(&self.sid, upgrades, self.rules.heartbeat, self.rules.max_payload));
        Ok(Next::Read)
    }

    fn text(&mut self, message: &str) -> Result<Next<Self::Outcome>, CloseReason> {
        match engine::Packet::parse(message).ok_or(CloseReason::ProtocolError)? {
            // Its attachments come before any other packet; those of Engine.IO may come between.
            engine::Packet::Message(_) if self.incomplete.is_some() => Err(CloseReason::ProtocolError),
            engine::Packet::Message(text) => self.packet(text),
            engine::Packet::Pong => {
                if let Some(after) = self.heart.answered() {
                    self.applications_mut().for_each(|application| application.ponged(after));
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

    fn binary(&mut self, message: &[u8]) -> Result<Next<Self::Outcome>, CloseReason> {
        let mut incomplete = self.incomplete.take().ok_or(CloseReason::ProtocolError)?;
        if !incomplete.take(message, self.rules.max_payload)? {
            self.incomplete = Some(incomplete);
            return Ok(Next::Read);
        }
        self.complete(&parse(incomplete.text())?, incomplete.attachments())
    }

    fn finished(&mut self, outcome: Self::Outcome) -> Result<Next<Self::Outcome>, CloseReason> {
        match outcome {
            Outcome::Admission(place, admission) => return Ok(self.admit(place, admission)),
            Outcome::Nothing => {}
            Outcome::Event(place, ack, outcome) => {
                let result = self.seat(place).1.application.finished(outcome);
                self.answer(place, ack, result);
            }
        }
        Ok(Next::Read)
    }

    fn deadline(&self) -> Instant {
        let due = self.heartbeat_due();
        let due = if self.is_outside() { due.min(self.enter_by) } else { due };
        self.expires_at().map_or(due, |expiry| due.min(expiry))
    }

    fn tick(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.expires_at().is_some_and(|expiry| expiry <= now) {
            return Err(CloseReason::TokenExpired);
        }
        if self.is_outside() && self.enter_by <= now {
            return Err(CloseReason::ConnectTimeout);
        }
        if self.heartbeat_due() <= now {
            self.heart.beat(now)?;
            self.applications_mut().for_each(Application::pinged);
            self.say(engine::PING);
        }
        Ok(())
    }

    fn farewell(&mut self, reason: CloseReason) -> Vec<u8> {
        self.applications_mut().for_each(Application::disconnected);
        let mut last = Vec::new();
        // A DISCONNECT would stop the stock client from coming back.
        if reason.comes_back() {
            return last;
        }
        let closing = [json!({ "code": reason.code(), "reason": reason.name() })];
        let closing = Arguments { values: &closing, attachments: &[] };
        let main = (MAIN_NAMESPACE, &self.main);
        let others = self.others.iter().map(|(name, seat)| (&**name, seat));
        for (namespace, _) in
            std::iter::once(main).chain(others).filter(|(_, seat)| seat.state == State::Inside)
        {
            last.extend(packet::frames(namespace, Subject::Event("closing"), closing));
            last.extend(frame::text(&packet::disconnect(namespace)));
        }
        last
    }
}

impl<A: Application> Drop for SocketIo<A> {
    fn drop(&mut self) {
        self.applications_mut().for_each(Application::disconnected);
    }
}

/// An id that no other connection has and nobody can guess: while a client polls, who has it is the client.
pub(crate) fn new_sid() -> String {
    URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes())
}

#[cfg(test)]
mod tests;
