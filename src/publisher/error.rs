//! What can go wrong between a call and the stream.

use std::time::Duration;

use crate::event::InvalidEvent;

/// How full a queue was when an event found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Events accepted and not acknowledged.
    pub events: u64,
    /// Bytes of their requests.
    pub bytes: u64,
    /// Bytes that the refused event's request has.
    pub needed: u64,
}

/// Why an event was not accepted. Nothing of it was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// The event is not of the shape its stream asks for.
    #[error(transparent)]
    InvalidEvent(#[from] InvalidEvent),
    /// No stream can have this name.
    #[error("{stream:?} can't be written to: {reason}")]
    InvalidStream {
        /// The name given.
        stream: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Redis takes events more slowly than they come, or not at all.
    #[error(
        "the queue is full: {} events ({} bytes) wait for redis; publish more slowly, wait for room, or raise queue_events or queue_bytes",
        .0.events, .0.bytes
    )]
    QueueFull(Full),
    /// The publisher was closed.
    #[error("the publisher is closed; make a new one")]
    Closed,
}

/// Why an accepted event is not on its stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The server refuses this event for good.
    #[error("redis refused the event for {stream}: {reason}")]
    Refused {
        /// The stream it was meant for.
        stream: String,
        /// The server's words, starting with its code, for example `WRONGTYPE`.
        reason: String,
    },
    /// Redis has had the event, but a limit of the stream's length has removed it before its entry's id was known.
    #[error(
        "redis had the event for {stream} and has trimmed it already, so that its entry's id is not known; raise maxlen"
    )]
    Trimmed {
        /// The stream it was on.
        stream: String,
    },
    /// It was on disk, and can't be read from there any more.
    #[error("the event in the spool {spool} can't be read any more; the log names the file")]
    Unreadable {
        /// The spool's directory.
        spool: String,
    },
    /// The publisher ended before redis had it; it is on disk, and the next publisher with this spool sends it.
    #[error(
        "the publisher ended before redis had the event; it is in the spool {spool}, from where the next publisher sends it"
    )]
    Spooled {
        /// The spool's directory.
        spool: String,
    },
    /// The publisher ended before redis had it.
    #[error("the publisher ended before redis had the event for {stream}; the last error was: {last_error}")]
    Abandoned {
        /// The stream it was meant for.
        stream: String,
        /// Why it could not be sent.
        last_error: String,
    },
}

/// What a flush could not say of all events: that redis has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// Some are still on their way.
    #[error("{outstanding} events are not acknowledged after {waited:?}; the last error was: {last_error}")]
    Timeout {
        /// Events accepted and not acknowledged.
        outstanding: u64,
        /// How long the flush waited.
        waited: Duration,
        /// Why they could not be sent, or `none`.
        last_error: String,
    },
    /// Some were given up since the last flush.
    #[error("{count} events were given up, the last because: {reason}")]
    GivenUp {
        /// How many.
        count: u64,
        /// Why the last one was.
        reason: String,
    },
}
