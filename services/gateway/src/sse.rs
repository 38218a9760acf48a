//! What clients of `/events` get: server-sent events, until one side leaves.
//!
//! All that such a client asks for is in its request ([`request`]); what it sends afterwards is dropped.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use synapse_chassis::serve::{HandedOver, Seized};
use synapse_realtime::{
    close::CloseReason,
    driver::{Ending, Intake, Next, Session, drive},
    link::{Link, Pushed},
    sse,
};
use synapse_rs::stream::StreamError;
use tokio::time::Instant;

use crate::{
    client::Client,
    feed::Progress,
    frames::Protocol,
    gateway::{Gateway, Place, Present, ended},
    requests::names,
    resume::{Begun, Request},
    who::Who,
};

pub(crate) mod request;

/// One `/events` connection.
struct EventStream {
    gateway: Arc<Gateway>,
    client: Arc<Client>,
    /// The head of the answer, until it has been sent.
    head: Option<Bytes>,
    who: Box<Who>,
    /// What it asks for, until it gets it.
    request: Option<Box<Request>>,
    comment_at: Instant,
    position_at: Instant,
}

/// What comes of work for a client.
enum Outcome {
    /// Where it stands.
    Begun(Result<Begun, StreamError>),
    /// It stands where everyone does, or can't.
    CaughtUp(Result<(), CloseReason>),
}

impl Gateway {
    /// Serves an answer that does not end, once its connection is there.
    fn serve_events(self: &Arc<Self>, who: Who, request: Request, place: Place, handed_over: HandedOver) {
        // On the heap: what a task is moved with, it has room for several times.
        let (gateway, who, request) = (self.clone(), Box::new(who), Box::new(request));
        let opening = async { handed_over.await.map(|Seized { socket, head }| (socket, head)) };
        let converse =
            async move |link, intake, head| gateway.send_events(link, intake, head, who, request).await;
        let ended = |ending| ended(Protocol::ServerSentEvents, ending);
        self.connections.serve_listener(opening, place, converse, ended);
    }

    async fn send_events(
        self: &Arc<Self>,
        link: Arc<Link>,
        mut intake: Box<Intake>,
        head: Bytes,
        who: Box<Who>,
        request: Box<Request>,
    ) -> Ending {
        // Nobody pings such a client; one that takes nothing for as long as a ping may take is as good as gone.
        link.expect_taken_within(self.settings.ping_interval + self.settings.ping_timeout);
        let present = Present::new(self, Client::new(link, Protocol::ServerSentEvents));
        let client = &present.client;
        if self.shutdown().is_cancelled() {
            client.link.close(CloseReason::Draining);
        }
        let now = Instant::now();
        let mut session = EventStream {
            gateway: self.clone(),
            client: client.clone(),
            head: Some(head),
            who,
            request: Some(request),
            comment_at: now + self.settings.comment_interval,
            position_at: now + self.settings.position_interval,
        };
        drive(&client.link, &mut session, &mut intake).await
    }

    /// How long an `EventSource` is to wait: those that lose their gateway together come back one after the other.
    fn retry(&self) -> Duration {
        self.settings.retry.mul_f64(0.5 + fastrand::f64())
    }

    /// The same if the gateway leaves: its clients come back over as long as it may take to leave.
    fn retry_after_drain(&self) -> Duration {
        self.retry() + self.service.common.shutdown_grace.mul_f64(fastrand::f64())
    }
}

impl EventStream {
    fn say(&self, name: &str, position: Option<&str>, data: &Value) {
        self.client.link.send(event(name, position, data));
    }

    /// Sends the head, unless the connection is closing already.
    fn open(&mut self) {
        let Some(head) = &self.head else { return };
        match self.client.link.push(head.clone().into()) {
            Pushed::Refused => return,
            Pushed::FlushIt => self.client.link.flush(),
            Pushed::Waits => {}
        }
        self.head = None;
        let mut first = Vec::new();
        sse::push_retry(&mut first, self.gateway.retry());
        let welcome = json!({ "user": self.who.user, "anonymous": self.who.is_anonymous() });
        sse::push_event(&mut first, "welcome", None, welcome.to_string().as_bytes());
        self.client.link.send(first);
    }

    fn begin(&mut self) -> Next<Outcome> {
        let Some(request) = self.request.clone() else { return Next::Read };
        let (resume, client) = (self.gateway.resume.clone(), self.client.clone());
        Next::Await(Box::pin(async move { Outcome::Begun(resume.begin(&client, *request).await) }))
    }

    fn tell_position(&self) {
        let Progress { sequence, position } = *self.gateway.feed.progress().borrow();
        self.client.tell_position(sequence, || {
            let token = position.token();
            event("position", Some(&token), &json!({ "position": token }))
        });
    }
}

impl Session for EventStream {
    type Outcome = Outcome;

    fn opened(&mut self) -> Result<Next<Outcome>, CloseReason> {
        // In a room it may be told something at once: not before the head.
        self.open();
        self.gateway.assume(&self.client, &self.who).map_err(|failure| {
            tracing::debug!(%failure, "a client that was let in finds no place");
            CloseReason::TooManyConnections
        })?;
        Ok(self.begin())
    }

    fn text(&mut self, _message: &str) -> Result<Next<Outcome>, CloseReason> {
        Err(CloseReason::ProtocolError)
    }

    fn binary(&mut self, _message: &[u8]) -> Result<Next<Outcome>, CloseReason> {
        Err(CloseReason::ProtocolError)
    }

    fn finished(&mut self, outcome: Outcome) -> Result<Next<Outcome>, CloseReason> {
        match outcome {
            Outcome::Begun(Err(error)) => {
                tracing::debug!(%error, "a client can't be told where it stands");
                Err(CloseReason::Unavailable)
            }
            Outcome::Begun(Ok(Begun { position, recovered })) => {
                let streams = self.request.take().map(|request| names(request.streams));
                let token = position.token();
                let told = json!({ "streams": streams, "position": token, "recovered": recovered });
                self.say("subscribed", Some(&token), &told);
                let catch_up = self.gateway.resume.clone().catch_up(self.client.clone(), recovered);
                Ok(Next::Meanwhile(Box::pin(async { Outcome::CaughtUp(catch_up.await) })))
            }
            Outcome::CaughtUp(caught_up) => caught_up.map(|()| Next::Read),
        }
    }

    fn deadline(&self) -> Instant {
        let due = self.comment_at.min(self.position_at);
        self.who.expires_at.map_or(due, |expiry| due.min(expiry))
    }

    fn tick(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.who.expires_at.is_some_and(|expiry| expiry <= now) {
            return Err(CloseReason::TokenExpired);
        }
        if self.position_at <= now {
            self.position_at = now + self.gateway.settings.position_interval;
            self.tell_position();
        }
        if self.comment_at <= now {
            self.comment_at = now + self.gateway.settings.comment_interval;
            self.client.link.send(Bytes::from_static(sse::COMMENT));
        }
        Ok(())
    }

    fn farewell(&mut self, reason: CloseReason) -> Vec<u8> {
        let mut last = self.head.take().map(Vec::from).unwrap_or_default();
        if reason == CloseReason::Draining {
            sse::push_retry(&mut last, self.gateway.retry_after_drain());
        }
        last.extend(closing(reason.name(), reason.message(), Some(reason.code())));
        last
    }

    /// The end of the connection is the end.
    fn close_frame(&self, _reason: CloseReason) -> Vec<u8> {
        Vec::new()
    }
}

fn event(name: &str, position: Option<&str>, data: &Value) -> Vec<u8> {
    let mut event = Vec::new();
    sse::push_event(&mut event, name, position, data.to_string().as_bytes());
    event
}

/// Why no more will come over a connection.
fn closing(reason: &str, message: &str, code: Option<u16>) -> Vec<u8> {
    event("closing", None, &json!({ "code": code, "reason": reason, "message": message }))
}
