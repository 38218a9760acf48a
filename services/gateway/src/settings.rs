//! What the gateway reads beside the common settings.

use std::time::Duration;

use synapse_chassis::settings::{About, Environment, SettingError};
use synapse_realtime::connections::Limits;

use crate::history::Capacity;

const MAX_DELIVERY_INTERVAL: Duration = Duration::from_secs(1);

synapse_chassis::variables! {
    /// What the gateway reads.
    pub VARIABLES:
    /// How much may wait for one connection; a client that reads more slowly is closed with code 3001 and comes back.
    OUTBOX_BYTES: Bytes = "4MiB";
    /// The largest message a client may send; beyond it 3502.
    MAX_MESSAGE_BYTES: Bytes = "64KiB";
    /// How many messages a client may send each second; beyond it 3503. 0: any number.
    MAX_MESSAGES_PER_SECOND: Number = "100";
    /// How many connections one address may have; one more is answered with 429. 0: any number. Many users may
    /// share an address; behind a proxy set TRUSTED_PROXIES first.
    MAX_CONNECTIONS_PER_ADDRESS: Number = "0";
    /// How many connections one user may have; one more is refused as too_many_connections (3504, 429). 0: any number.
    MAX_CONNECTIONS_PER_USER: Number = "0";
    /// How many rooms one connection may be in.
    MAX_ROOMS: Number = "32";
    /// How many recent events are kept in memory for clients that come back; older ones are read from Redis.
    HISTORY_EVENTS: Number = "20000";
    /// How much memory they may take.
    HISTORY_BYTES: Bytes = "32MiB";
    /// How long after a delivery the next one is made at the earliest. What comes meanwhile goes out together, later but in
    /// fewer writes, which are nearly all that a delivery costs; docs/gateway.md has figures. 0s: each event at once.
    DELIVERY_INTERVAL: Duration = "0s";
    /// How often each connection is asked whether it lives.
    PING_INTERVAL: Duration = "25s";
    /// How long it may take to answer; beyond it 3002.
    PING_TIMEOUT: Duration = "20s";
    /// How long a client may take to finish the protocol's handshake; beyond it 3006.
    CONNECT_TIMEOUT: Duration = "45s";
    /// How often a quiet connection is told its position.
    POSITION_INTERVAL: Duration = "25s";
    /// How often something is sent over server-sent events, if only a comment, to keep proxies from closing them.
    SSE_COMMENT_INTERVAL: Duration = "15s";
    /// How long a client of server-sent events waits, more or less, before it comes back.
    SSE_RETRY: Duration = "2s";
    /// The cookie that may hold the token of /events. It counts with pages of the gateway's own origin and those that
    /// CORS_ORIGINS names. Unset: none.
    AUTH_COOKIE: Text;
}

/// The service in the words of `--help`.
pub const ABOUT: About = About {
    name: "synapse-gateway",
    version: env!("CARGO_PKG_VERSION"),
    summary: "forwards every stream to Socket.IO, WebSocket and EventSource clients",
    default_port: 5008,
    variables: VARIABLES,
    shared: &[],
    commands: &[],
};

/// What the gateway is configured by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes that may wait for one connection.
    pub outbox_bytes: usize,
    /// Bytes of a client's message.
    pub max_message_bytes: usize,
    /// Messages of a client each second; 0 for any number.
    pub max_messages_per_second: u32,
    /// Connections of one address; 0 for any number.
    pub max_connections_per_address: usize,
    /// Connections of one user; 0 for any number.
    pub max_connections_per_user: usize,
    /// Rooms of one connection.
    pub max_rooms: usize,
    /// What is kept in memory of the past.
    pub history: Capacity,
    /// Time between two deliveries, at least.
    pub delivery_interval: Duration,
    /// Time between two pings.
    pub ping_interval: Duration,
    /// Time for the answer.
    pub ping_timeout: Duration,
    /// Time for the protocol's handshake.
    pub connect_timeout: Duration,
    /// Time between two positions.
    pub position_interval: Duration,
    /// Time between two comments of server-sent events.
    pub comment_interval: Duration,
    /// Time before an `EventSource` comes back.
    pub retry: Duration,
    /// The name of the cookie with the token.
    pub auth_cookie: Option<Box<str>>,
}

impl Settings {
    /// Reads and checks all of it.
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        let duration = |variable| match environment.duration(variable)? {
            Duration::ZERO => Err(environment.refused(variable, "a duration longer than 0")),
            duration => Ok(duration),
        };
        Ok(Self {
            outbox_bytes: environment.bytes(&OUTBOX_BYTES, 64 << 10..=1 << 30)?,
            max_message_bytes: environment.bytes(&MAX_MESSAGE_BYTES, 1 << 10..=16 << 20)?,
            max_messages_per_second: environment.number(&MAX_MESSAGES_PER_SECOND, 0..=1_000_000)?,
            max_connections_per_address: environment.number(&MAX_CONNECTIONS_PER_ADDRESS, 0..=1_000_000)?,
            max_connections_per_user: environment.number(&MAX_CONNECTIONS_PER_USER, 0..=1_000_000)?,
            max_rooms: environment.number(&MAX_ROOMS, 3..=10_000)?,
            history: Capacity {
                events: environment.number(&HISTORY_EVENTS, 0..=10_000_000)?,
                bytes: environment.bytes(&HISTORY_BYTES, 0..=64 << 30)?,
            },
            delivery_interval: match environment.duration(&DELIVERY_INTERVAL)? {
                interval if interval <= MAX_DELIVERY_INTERVAL => interval,
                _ => return Err(environment.refused(&DELIVERY_INTERVAL, "a duration of 1s at most")),
            },
            ping_interval: duration(&PING_INTERVAL)?,
            ping_timeout: duration(&PING_TIMEOUT)?,
            connect_timeout: duration(&CONNECT_TIMEOUT)?,
            position_interval: duration(&POSITION_INTERVAL)?,
            comment_interval: duration(&SSE_COMMENT_INTERVAL)?,
            retry: duration(&SSE_RETRY)?,
            auth_cookie: environment.read(&AUTH_COOKIE, "the name of a cookie", cookie_name)?,
        })
    }
}

/// The name of a cookie is a token, by RFC 6265.
fn cookie_name(text: &str) -> Option<Box<str>> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    text.bytes().all(is_token).then(|| text.into())
}

impl Settings {
    /// What one connection may take.
    pub(crate) fn connections(&self) -> Limits {
        Limits {
            outbox_bytes: self.outbox_bytes,
            max_message_bytes: self.max_message_bytes,
            max_messages_per_second: self.max_messages_per_second,
            max_connections_per_address: self.max_connections_per_address,
            connect_timeout: self.connect_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> String {
        Settings::read(&Environment::from_map([(name, value)])).expect_err("refused").to_string()
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let settings = Settings::read(&Environment::default()).unwrap();
        assert_eq!(settings.outbox_bytes, 4 << 20);
        assert_eq!(settings.max_message_bytes, 64 << 10);
        assert_eq!(settings.ping_interval, Duration::from_secs(25));
        assert_eq!(settings.ping_timeout, Duration::from_secs(20));
        assert_eq!(settings.history.events, 20_000);
        assert_eq!(settings.delivery_interval, Duration::ZERO);
    }

    #[test]
    fn every_variable_is_documented_as_it_is() {
        synapse_chassis::settings::assert_documented(VARIABLES);
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_allowed() {
        for (name, value) in [
            ("OUTBOX_BYTES", "1"),
            ("MAX_ROOMS", "none"),
            ("PING_INTERVAL", "0"),
            ("HISTORY_EVENTS", "-1"),
            ("DELIVERY_INTERVAL", "2s"),
            ("AUTH_COOKIE", "a b"),
            ("AUTH_COOKIE", "a=b"),
        ] {
            let message = refused(name, value);
            assert!(message.contains(name) && message.contains(value), "{message}");
        }
    }
}
