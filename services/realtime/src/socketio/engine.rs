//! Engine.IO 4: its packets, its handshake and its errors.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use crate::close::CloseReason;

/// The version of the protocol, the query parameter `EIO`.
pub const VERSION: &str = "4";

/// A packet from the client, in one text message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The client leaves.
    Close,
    /// A client never pings in version 4 but while it changes transports.
    Ping(&'a str),
    /// The answer to our ping.
    Pong,
    /// A packet of Socket.IO.
    Message(&'a str),
    /// The end of a change of transports.
    Upgrade,
    /// Nothing.
    Noop,
}

impl<'a> Packet<'a> {
    /// Reads a packet; `None` if its type is not one a client sends.
    pub fn parse(message: &'a str) -> Option<Self> {
        let mut characters = message.chars();
        let kind = characters.next()?;
        let rest = characters.as_str();
        match kind {
            '1' => Some(Self::Close),
            '2' => Some(Self::Ping(rest)),
            '3' => Some(Self::Pong),
            '4' => Some(Self::Message(rest)),
            '5' => Some(Self::Upgrade),
            '6' => Some(Self::Noop),
            _ => None,
        }
    }
}

/// A ping, to be answered by a pong.
pub const PING: &str = "2";
/// Nothing, for a request that has waited in vain.
pub const NOOP: &str = "6";
/// The end of the session.
pub const CLOSE: &str = "1";

/// A timer that is later than this was not merely late: the process stood still, and clients with it.
const LATENESS: Duration = Duration::from_millis(20);

/// How often a connection is asked whether it lives, and what it may send.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// Time between two pings.
    pub interval: Duration,
    /// Time for the answer.
    pub timeout: Duration,
}

/// The heartbeat of one session.
#[derive(Clone, Copy, Debug)]
pub struct Heart {
    rules: Heartbeat,
    ping_at: Instant,
    /// When the ping that is not answered yet was sent.
    pinged_at: Option<Instant>,
    /// By when it is to be answered.
    answer_by: Instant,
}

impl Heart {
    /// That of a session that opens now.
    pub fn new(rules: Heartbeat, now: Instant) -> Self {
        Self { rules, ping_at: now + rules.interval, pinged_at: None, answer_by: now }
    }

    /// When the ping must be answered, or the next be sent, which may be wanted earlier.
    pub fn due(&self, wanted: Option<Instant>) -> Instant {
        match self.pinged_at {
            Some(_) => self.answer_by,
            None => wanted.map_or(self.ping_at, |wanted| wanted.min(self.ping_at)),
        }
    }

    /// It is due: a ping is to be sent, or the last one was not answered.
    pub fn beat(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.pinged_at.is_some() {
            return Err(CloseReason::PingTimeout);
        }
        // Counted from when the ping was due: that a timer is late must not add to what the client was promised.
        let is_on_time = (self.ping_at..self.ping_at + LATENESS).contains(&now);
        self.answer_by = if is_on_time { self.ping_at } else { now } + self.rules.timeout;
        self.pinged_at = Some(now);
        self.ping_at = now + self.rules.interval;
        Ok(())
    }

    /// A pong has come; how long it took, if one was awaited.
    pub fn answered(&mut self) -> Option<Duration> {
        self.pinged_at.take().map(|sent| sent.elapsed())
    }
}

/// The answer to a ping.
pub fn pong(payload: &str) -> String {
    format!("3{payload}")
}

/// The packet that opens a session; `upgrades` are the transports it can change to.
pub fn open(sid: &str, upgrades: &[&str], heartbeat: Heartbeat, max_payload: usize) -> String {
    let handshake = json!({
        "sid": sid,
        "upgrades": upgrades,
        "pingInterval": milliseconds(heartbeat.interval),
        "pingTimeout": milliseconds(heartbeat.timeout),
        "maxPayload": max_payload,
    });
    format!("0{handshake}")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Why a request does not open a session, in the words of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A transport that is not served.
    #[error("Transport unknown")]
    UnknownTransport,
    /// A session that is not there.
    #[error("Session ID unknown")]
    UnknownSession,
    /// A handshake by another method than GET.
    #[error("Bad handshake method")]
    BadMethod,
    /// A request that makes no sense.
    #[error("Bad request")]
    BadRequest,
    /// A request that is not allowed, for example from a web page of another site.
    #[error("Forbidden")]
    Forbidden,
    /// Another version of Engine.IO than 4.
    #[error("Unsupported protocol version")]
    UnsupportedVersion,
}

impl HandshakeError {
    /// The protocol's number for it.
    pub const fn code(self) -> u8 {
        match self {
            Self::UnknownTransport => 0,
            Self::UnknownSession => 1,
            Self::BadMethod => 2,
            Self::BadRequest => 3,
            Self::Forbidden => 4,
            Self::UnsupportedVersion => 5,
        }
    }

    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Forbidden => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The body of the answer.
    pub fn body(self) -> String {
        json!({"code": self.code(), "message": self.to_string()}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn packets_are_told_by_their_first_character() {
        assert_eq!(Packet::parse("3"), Some(Packet::Pong));
        assert_eq!(Packet::parse("42[\"ä\"]"), Some(Packet::Message("2[\"ä\"]")));
        assert_eq!(Packet::parse("2probe"), Some(Packet::Ping("probe")));
        for foreign in ["", "0{}", "7", "ä"] {
            assert_eq!(Packet::parse(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn late_timers_do_not_add_up_but_a_process_that_stood_still_gives_the_whole_time() {
        let rules = Heartbeat { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) };
        let opened = Instant::now();
        for (late, counted) in [(0, 0), (2, 0), (500, 500)] {
            let mut heart = Heart::new(rules, opened);
            let due = heart.due(None);
            assert_eq!(due, opened + rules.interval);
            heart.beat(due + Duration::from_millis(late)).unwrap();
            assert_eq!(heart.due(None), due + Duration::from_millis(counted) + rules.timeout, "{late} ms");
            assert_eq!(heart.beat(heart.due(None)), Err(CloseReason::PingTimeout));
        }
        let mut early = Heart::new(rules, opened);
        assert_eq!(early.due(Some(opened)), opened);
        early.beat(opened).unwrap();
        assert_eq!(early.due(None), opened + rules.timeout);
    }

    #[test]
    fn a_session_opens_with_its_heartbeat_in_milliseconds() {
        let heartbeat = Heartbeat { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) };
        let opened = open("abc", &[], heartbeat, 65_536);
        let handshake: serde_json::Value = serde_json::from_str(opened.strip_prefix('0').unwrap()).unwrap();
        assert_eq!(
            handshake,
            json!({"sid": "abc", "upgrades": [], "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 65_536})
        );
    }
}
