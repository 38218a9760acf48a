//! Why a connection ends, and whether the client should come back.
//!
//! The codes are those of a WebSocket close frame. With 3000 to 3499 the client should come back, at
//! once or with backoff; with 3500 to 3999 it should not, for the same would happen again.
//! `docs/close-codes.md` lists them for people, checked against [`CloseReason::ALL`] by a test.

/// The code of a close frame after which nothing is left to say.
pub(crate) const NORMAL_CLOSURE: u16 = 1000;

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// This server is leaving; another one, or its successor, is there.
    Draining,
    /// The client read more slowly than events came, and its outbox is full.
    SlowClient,
    /// A ping was not answered in time.
    PingTimeout,
    /// The token has expired; come back with a new one.
    TokenExpired,
    /// Events were lost between Redis and this server, so what follows would have a gap.
    EventsLost,
    /// Something the server needs for this client is away: Redis to resume from, the keys to check a token.
    Unavailable,
    /// The client did not say who it is in time.
    ConnectTimeout,
    /// The token is refused.
    Unauthorized,
    /// What came is not of the protocol.
    ProtocolError,
    /// A message was larger than is allowed.
    MessageTooLarge,
    /// Messages came faster than is allowed.
    TooManyMessages,
    /// The user has as many connections as one may.
    TooManyConnections,
}

impl CloseReason {
    /// Every reason, by code.
    pub const ALL: [Self; 12] = [
        Self::Draining,
        Self::SlowClient,
        Self::PingTimeout,
        Self::TokenExpired,
        Self::EventsLost,
        Self::Unavailable,
        Self::ConnectTimeout,
        Self::Unauthorized,
        Self::ProtocolError,
        Self::MessageTooLarge,
        Self::TooManyMessages,
        Self::TooManyConnections,
    ];

    /// The code of the close frame.
    pub const fn code(self) -> u16 {
        match self {
            Self::Draining => 3000,
            Self::SlowClient => 3001,
            Self::PingTimeout => 3002,
            Self::TokenExpired => 3003,
            Self::EventsLost => 3004,
            Self::Unavailable => 3005,
            Self::ConnectTimeout => 3006,
            Self::Unauthorized => 3500,
            Self::ProtocolError => 3501,
            Self::MessageTooLarge => 3502,
            Self::TooManyMessages => 3503,
            Self::TooManyConnections => 3504,
        }
    }

    /// The name by which programs know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::SlowClient => "slow_client",
            Self::PingTimeout => "ping_timeout",
            Self::TokenExpired => "token_expired",
            Self::EventsLost => "events_lost",
            Self::Unavailable => "unavailable",
            Self::ConnectTimeout => "connect_timeout",
            Self::Unauthorized => "unauthorized",
            Self::ProtocolError => "protocol_error",
            Self::MessageTooLarge => "message_too_large",
            Self::TooManyMessages => "too_many_messages",
            Self::TooManyConnections => "too_many_connections",
        }
    }

    /// The same for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Draining => "this server is leaving; come back",
            Self::SlowClient => "events came faster than you read them; come back and resume",
            Self::PingTimeout => "a ping was not answered in time; come back and resume",
            Self::TokenExpired => "the token has expired; come back with a new one",
            Self::EventsLost => {
                "events were trimmed before they were read; come back to learn where you stand"
            }
            Self::Unavailable => {
                "something needed for this is away, Redis or the keys of tokens; come back later"
            }
            Self::ConnectTimeout => "the handshake took too long; come back",
            Self::Unauthorized => "the token is refused",
            Self::ProtocolError => "this is not of the protocol",
            Self::MessageTooLarge => "a message was larger than MAX_MESSAGE_BYTES",
            Self::TooManyMessages => "messages came faster than MAX_MESSAGES_PER_SECOND",
            Self::TooManyConnections => {
                "this user has MAX_CONNECTIONS_PER_USER connections already; close one"
            }
        }
    }

    /// Whether the client should connect again.
    pub const fn comes_back(self) -> bool {
        self.code() < 3500
    }

    /// Whether what still waits in the outbox is worth sending first.
    pub const fn sends_the_rest(self) -> bool {
        !matches!(self, Self::SlowClient | Self::PingTimeout)
    }
}

#[cfg(test)]
mod tests {
    use super::CloseReason;

    #[test]
    fn codes_are_distinct_and_in_the_two_ranges() {
        let mut codes: Vec<_> = CloseReason::ALL.iter().map(|reason| reason.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), CloseReason::ALL.len());
        assert!(codes.is_sorted());
        assert!(codes.iter().all(|code| (3000..4000).contains(code)));
    }

    #[test]
    fn the_documentation_lists_every_reason() {
        let documentation = include_str!("../../../docs/close-codes.md");
        for reason in CloseReason::ALL {
            let advice = if reason.comes_back() { "yes" } else { "no" };
            let row = format!("| {} | `{}` | {advice} |", reason.code(), reason.name());
            assert!(documentation.contains(&row), "docs/close-codes.md lacks the row {row}");
        }
    }
}
