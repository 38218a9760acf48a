//! Engine.IO alone: every message comes back.

use std::sync::Arc;

use synapse_realtime::{
    close::CloseReason,
    driver::{Next, Session},
    link::Link,
    socketio::engine::{self, Heart, Heartbeat, Packet},
    websocket::frame::{self, OpCode},
};
use tokio::time::Instant;

use crate::serve::{MAX_PAYLOAD, next_ping};

pub(crate) struct Echo {
    link: Arc<Link>,
    sid: Box<str>,
    heartbeat: Heartbeat,
    heart: Heart,
    ping_by: Instant,
}

impl Echo {
    pub(crate) fn new(link: Arc<Link>, sid: Box<str>, heartbeat: Heartbeat) -> Self {
        let heart = Heart::new(heartbeat, Instant::now());
        Self { link, sid, heartbeat, heart, ping_by: next_ping(heartbeat) }
    }

    fn say(&self, message: &str) {
        self.link.send(frame::text(message));
    }
}

impl Session for Echo {
    type Outcome = ();

    fn opened(&mut self) -> Result<Next<()>, CloseReason> {
        let upgrades: &[&str] = if self.link.is_polled() { &["websocket"] } else { &[] };
        self.say(&engine::open(&self.sid, upgrades, self.heartbeat, MAX_PAYLOAD));
        Ok(Next::Read)
    }

    fn text(&mut self, message: &str) -> Result<Next<()>, CloseReason> {
        match Packet::parse(message).ok_or(CloseReason::ProtocolError)? {
            Packet::Message(_) => self.say(message),
            Packet::Ping(payload) => self.say(&engine::pong(payload)),
            Packet::Pong => {
                self.heart.answered();
            }
            Packet::Close => return Ok(Next::Leave),
            Packet::Upgrade | Packet::Noop => {}
        }
        Ok(Next::Read)
    }

    fn binary(&mut self, message: &[u8]) -> Result<Next<()>, CloseReason> {
        let mut frame = Vec::new();
        frame::push_frame(&mut frame, OpCode::Binary, message);
        self.link.send(frame);
        Ok(Next::Read)
    }

    fn finished(&mut self, (): ()) -> Result<Next<()>, CloseReason> {
        Ok(Next::Read)
    }

    fn deadline(&self) -> Instant {
        self.heart.due(Some(self.ping_by))
    }

    fn tick(&mut self, now: Instant) -> Result<(), CloseReason> {
        self.heart.beat(now)?;
        self.ping_by = next_ping(self.heartbeat);
        self.say(engine::PING);
        Ok(())
    }

    fn farewell(&mut self, _reason: CloseReason) -> Vec<u8> {
        Vec::new()
    }
}
