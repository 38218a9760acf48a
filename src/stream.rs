//! Redis Streams: names, ids, entries, and what is said to Redis about them.
//!
//! One file per action; nothing outside this module speaks to Redis. [`Connection`] carries
//! short commands of many callers; [`BlockingConnection`] carries one blocking read at a time and
//! nothing else, because a blocking command holds up every command behind it on its connection;
//! [`wire`] is the byte stream below both and below the publisher.

mod ack;
pub(crate) mod append;
pub(crate) mod append_connection;
mod blocking;
pub mod claim;
mod connection;
mod consumers;
pub mod dead_letter;
mod entry;
mod groups;
pub mod idle_groups;
mod info;
mod keys;
pub mod letters;
pub mod lock;
mod names;
pub mod onlookers;
pub mod pages;
mod pending;
mod pending_entries;
mod position;
mod range;
pub mod read;
mod records;
pub mod reply;
pub(crate) mod resp;
mod server;
mod shared;
pub mod tally;
mod tape;
pub mod trim;
pub mod watch;
pub mod wire;

use std::{fmt, str::FromStr};

pub use blocking::BlockingConnection;
pub use connection::Connection;
pub use consumers::ConsumerInfo;
pub use entry::Entry;
pub use groups::GroupInfo;
pub use info::StreamInfo;
pub use names::{MAX_NAME_BYTES, NameError, OWN_PREFIX, check_name, check_writable};
pub use pending::Pending;
pub use pending_entries::PendingEntry;
pub use server::ServerInfo;
pub use shared::SharedConnection;

/// Model events: Helox writes, Cyrex reads.
pub const MODEL_EVENTS: &str = "model-events";
/// Inference events: Cyrex writes, analytics and notifications read.
pub const INFERENCE_EVENTS: &str = "inference-events";
/// Platform events: the task orchestrator and other services write, notifications read.
pub const PLATFORM_EVENTS: &str = "platform-events";
/// Training events: Helox writes, analytics reads.
pub const TRAINING_EVENTS: &str = "training-events";
/// Decisions of agents.
pub const AGI_DECISIONS: &str = "agi-decisions";
/// Where older writers put [`AGI_DECISIONS`].
pub const AGI_EVENTS: &str = "agi-events";
/// Errors, from anywhere.
pub const ERROR_EVENTS: &str = "error-events";

/// Every stream of the platform, the older name of one included.
pub const ALL: [&str; 7] = [
    MODEL_EVENTS,
    INFERENCE_EVENTS,
    PLATFORM_EVENTS,
    TRAINING_EVENTS,
    AGI_DECISIONS,
    AGI_EVENTS,
    ERROR_EVENTS,
];

/// The suffix of a stream's dead letters.
pub const DEAD_LETTER_SUFFIX: &str = ":dlq";

/// The id of an entry: milliseconds since 1970 and a sequence number, for example `1795424694440-0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds since 1970-01-01 UTC, by the server's clock.
    pub ms: u64,
    /// Counts the entries of one millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// After every entry.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// An id of its two parts.
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The least id greater than this one; itself for [`EntryId::MAX`].
    pub const fn next(self) -> Self {
        match self.seq.checked_add(1) {
            Some(seq) => Self { ms: self.ms, seq },
            None => match self.ms.checked_add(1) {
                Some(ms) => Self { ms, seq: 0 },
                None => self,
            },
        }
    }
}

impl EntryId {
    /// The id that this text of the server's is, if it is one.
    pub(crate) fn from_bytes(text: &[u8]) -> Option<Self> {
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    /// The greatest id less than this one; itself for [`EntryId::MIN`].
    pub const fn previous(self) -> Self {
        match self.seq.checked_sub(1) {
            Some(seq) => Self { ms: self.ms, seq },
            None => match self.ms.checked_sub(1) {
                Some(ms) => Self { ms, seq: u64::MAX },
                None => self,
            },
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// As text, for JSON.
impl serde::Serialize for EntryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What an entry id that can't be read looked like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an entry id: expected milliseconds, or milliseconds-sequence, for example 1795424694440-0"
)]
pub struct MalformedEntryId(pub String);

impl FromStr for EntryId {
    type Err = MalformedEntryId;

    /// Reads `ms-seq`, or `ms` alone for sequence 0.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let id = match text.split_once('-') {
            Some((ms, seq)) => number(ms).zip(number(seq)).map(|(ms, seq)| Self { ms, seq }),
            None => number(text).map(|ms| Self { ms, seq: 0 }),
        };
        id.ok_or_else(|| MalformedEntryId(text.to_owned()))
    }
}

/// Why something said to Redis did not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StreamError {
    /// Nobody answers at the address, or the connection broke.
    #[error("redis at {address}: {reason}; is it running, and is the address right?")]
    Unreachable {
        /// Where we looked.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The server wants other credentials.
    #[error(
        "redis at {address} refused the credentials: {reason}; set the username and password (redis://user:password@host:port or REDIS_PASSWORD)"
    )]
    Unauthorized {
        /// Where we looked.
        address: String,
        /// What the server said.
        reason: String,
    },
    /// The server answered a command with an error.
    #[error("redis refused {command}: {reason}")]
    Refused {
        /// The command and what it was about, for example `XADD inference-events`.
        command: String,
        /// The server's words, starting with its code, for example `WRONGTYPE`.
        reason: String,
    },
    /// The server answered something that the command can't answer.
    #[error("redis answered {command} with {answer}, which is not of the expected form")]
    Unexpected {
        /// The command and what it was about.
        command: String,
        /// What came.
        answer: String,
    },
}

impl StreamError {
    /// Whether the same command may work later without anyone changing anything: the connection
    /// broke, or the server is loading, out of memory, failing over or unable to persist.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Unauthorized { .. } | Self::Unexpected { .. } => false,
            Self::Refused { reason, .. } => reply::is_waited_out(reason),
        }
    }

    /// The server's error code, for example `NOGROUP`, if it answered with one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } => reason.split(' ').next(),
            _ => None,
        }
    }

    /// Of an error that the server answered a command with.
    fn answered(error: &str, address: &str, what: &str) -> Self {
        let (reason, address) = (error.to_owned(), address.to_owned());
        if error.starts_with("WRONGPASS") {
            return Self::Unauthorized { address, reason };
        }
        Self::Refused { command: what.to_owned(), reason }
    }
}
