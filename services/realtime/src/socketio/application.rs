//! What events mean: the part of a session that is a service's own.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::{driver::Work, socketio::packet::Arguments};

/// What the events of a namespace mean.
pub trait Application: Send {
    /// What is known of a client once it has been let in.
    type Admission: Send + 'static;
    /// What comes of an event that takes a while.
    type Outcome: Send + 'static;

    /// The application of another namespace of the same connection, if there is one. The names that are known bound how
    /// many a connection has.
    fn beside(&self, _namespace: &str) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// A client asks to be let in, with what it gave as `auth`.
    fn connect(&mut self, auth: Value) -> Work<Result<Self::Admission, Failure>>;

    /// What the client is to know itself by.
    fn known_as(&self, _admission: &Self::Admission) -> KnownAs {
        KnownAs::default()
    }

    /// The client has been let in; it knows itself by `sid`. What comes back goes on beside what the client asks for.
    fn connected(&mut self, sid: &str, admission: Self::Admission) -> Option<Work<()>>;

    /// An event has come, with all its bytes.
    fn event(&mut self, name: &str, arguments: Arguments<'_>) -> Answer<Self::Outcome>;

    /// An event that took a while has been worked on.
    fn finished(&mut self, outcome: Self::Outcome) -> Result<(), Failure>;

    /// The client has said that it leaves the namespace; [`Application::disconnected`] follows.
    fn left(&mut self) {}

    /// The client has left the namespace, or the connection has ended. May be called more than once.
    fn disconnected(&mut self);

    /// When the client's right to be here ends.
    fn expires_at(&self) -> Option<Instant>;

    /// By when it wants a ping to be sent, if before the next one is due: the answer proves that the client has got what
    /// was sent before. Looked at after each message and each [`Link::nudge`](crate::link::Link::nudge).
    fn ping_by(&self) -> Option<Instant> {
        None
    }

    /// A ping goes out, behind all that was sent so far.
    fn pinged(&mut self) {}

    /// A ping has been answered.
    fn ponged(&mut self, after: Duration);
}

/// What a client knows itself by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownAs {
    /// The id of its connection to the namespace; a new one if there is none.
    pub sid: Option<String>,
    /// Under what it may find again what it had, if it comes back: the same as before tells it that it has.
    pub pid: Option<String>,
}

/// What becomes of an event.
pub enum Answer<T> {
    /// It is done, or refused.
    Now(Result<(), Failure>),
    /// It is done, and answered in the application's own words.
    With(Vec<Value>, Vec<Bytes>),
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
