//! Socket.IO: `message` comes back as `message-back`, `message-with-ack` in its acknowledgement.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use synapse_realtime::{
    driver::Work,
    link::Link,
    socketio::{
        application::{Answer, Application, Failure},
        engine::Heartbeat,
        packet::{self, Arguments, MAIN_NAMESPACE, Subject},
    },
};
use tokio::time::{Instant, sleep};

use crate::serve::next_ping;

/// The namespace beside the main one.
const CUSTOM: &str = "/custom";

/// The suite's client hears one message in a turn of its loop: what comes together with the answer to CONNECT is lost
/// on it.
const APART: Duration = Duration::from_millis(20);

/// A client in one of the two namespaces.
pub(crate) struct Echoes {
    link: Arc<Link>,
    namespace: &'static str,
    heartbeat: Heartbeat,
    ping_by: Instant,
}

impl Echoes {
    pub(crate) fn new(link: Arc<Link>, heartbeat: Heartbeat) -> Self {
        Self { link, namespace: MAIN_NAMESPACE, heartbeat, ping_by: next_ping(heartbeat) }
    }

    fn frames(&self, name: &str, arguments: Arguments<'_>) -> Vec<u8> {
        packet::frames(self.namespace, Subject::Event(name), arguments)
    }
}

impl Application for Echoes {
    /// What it gave as `auth`.
    type Admission = Value;
    type Outcome = ();

    fn beside(&self, namespace: &str) -> Option<Self> {
        (namespace == CUSTOM)
            .then(|| Self { namespace: CUSTOM, ..Self::new(self.link.clone(), self.heartbeat) })
    }

    fn connect(&mut self, auth: Value) -> Work<Result<Value, Failure>> {
        Box::pin(async { Ok(auth) })
    }

    fn connected(&mut self, _sid: &str, auth: Value) -> Option<Work<()>> {
        let auth = if auth.is_null() { json!({}) } else { auth };
        let frames = self.frames("auth", Arguments { values: &[auth], attachments: &[] });
        let link = self.link.clone();
        tokio::spawn(async move {
            sleep(APART).await;
            link.send(frames);
        });
        None
    }

    fn event(&mut self, name: &str, arguments: Arguments<'_>) -> Answer<()> {
        match name {
            "message" => {
                self.link.send(self.frames("message-back", arguments));
                Answer::Now(Ok(()))
            }
            "message-with-ack" => Answer::With(arguments.values.to_vec(), arguments.attachments.to_vec()),
            _ => Answer::Now(Err(Failure::new("unknown_event", "there is no such event"))),
        }
    }

    fn finished(&mut self, (): ()) -> Result<(), Failure> {
        Ok(())
    }

    fn disconnected(&mut self) {}

    fn expires_at(&self) -> Option<Instant> {
        None
    }

    fn ping_by(&self) -> Option<Instant> {
        Some(self.ping_by)
    }

    fn pinged(&mut self) {
        self.ping_by = next_ping(self.heartbeat);
    }

    fn ponged(&mut self, _after: Duration) {}
}
