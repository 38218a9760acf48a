//! Events on Redis Streams.
//!
//! A publisher puts an event on a Redis stream; a consumer runtime hands it, at least once, to a
//! handler. This crate is the core of Synapse: the Python module `synapse_rs` and every Synapse
//! service are built on it. It has no web framework and no database.
//!
//! # Layout
//!
//! In reading order, along the path of an event:
//!
//! * [`event`]: an event, its fields and their types; how it is written to a stream entry and read
//!   back from the three dialects that share the streams.
//! * [`publisher`]: takes events without waiting, sends them to Redis in batches that form by
//!   themselves, finds out what arrived when the connection is lost, and keeps on disk what Redis
//!   can't take.
//! * [`stream`]: names, ids and entries, and one file per thing that is said to Redis. Nothing
//!   else in the workspace speaks to Redis.
//! * [`consumer`]: reads entries as a member of a consumer group, decodes them, hands them to a
//!   handler, acknowledges what was handled and moves what can't be to the dead letters.
//! * [`tail`]: reads streams without a group.
//! * [`retention`]: what may be trimmed from a stream; [`dead_letters`]: what could not be handled; [`replay`]: a part of
//!   a stream once more.
//! * [`filter`]: the `where` condition that every reader of events takes.
//! * [`doctor`]: what is wrong with a server and the streams on it, and what to do.
//! * [`config`]: where Redis is and how to reach it.
//! * [`backoff`], [`shutdown`]: waiting between attempts, and ending in order.
//! * [`fork`]: noticing that the process is a child with its parent's memory.
//! * `python` (feature `python`): the module `synapse_rs._core`.

pub mod backoff;
pub mod config;
pub mod consumer;
pub mod dead_letters;
pub mod doctor;
pub mod event;
pub mod filter;
pub mod fork;
pub mod publisher;
pub mod replay;
pub mod retention;
pub mod shutdown;
pub mod stream;
mod sync;
pub mod tail;

#[cfg(feature = "python")]
mod python;

pub use config::RedisSettings;
pub use event::Event;
pub use filter::Filter;
pub use publisher::Publisher;
pub use stream::EntryId;
