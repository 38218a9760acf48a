//! What is wrong, or will be, with a Redis server and the streams on it.
//!
//! Everything is asked once and judged afterwards, so that what is judged is one moment, about, and
//! the judging needs no server.
//!
//! # Layout
//!
//! * [`facts`]: what is asked.
//! * [`server`]: persistence, memory, connections, clock, replication. [`streams`], [`groups`]: what lies there.
//! * [`finding`]: what is wrong, where, and what to do.

mod facts;
mod finding;
mod groups;
mod server;
mod streams;

use std::{borrow::Cow, time::Duration};

use jiff::SignedDuration;

use self::facts::{ServerFacts, StreamFacts};
pub use self::finding::{Finding, Place, Remedy, Severity};
use crate::{
    retention::RetentionPolicy,
    stream::{Connection, StreamError},
};

/// The oldest Redis that has what delivery needs (`XAUTOCLAIM`).
const OLDEST_REDIS: (u32, u32) = (6, 2);

/// What the platform is expected to keep to.
#[derive(Clone, Debug)]
pub struct Expectations {
    /// An entry that waits or is pending for longer hangs, and so does a consumer unheard of for longer.
    pub hangs_after: Duration,
    /// What streams keep; what is twice as old as they keep has not been trimmed.
    pub retention: RetentionPolicy,
    /// How far the server's clock may be from ours.
    pub clock_tolerance: Duration,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            hangs_after: Duration::from_mins(5),
            retention: RetentionPolicy::default(),
            clock_tolerance: Duration::from_secs(2),
        }
    }
}

/// What an examination has found.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The server and its version, for example `Redis 7.0.15`; nothing if it does not say.
    pub server: Option<String>,
    /// How many streams were looked at.
    pub streams: usize,
    /// How many of their consumer groups.
    pub groups: usize,
    /// The worst first.
    pub findings: Vec<Finding>,
}

/// Examines a server and all its streams; `progress` hears how many of how many streams are done.
///
/// What the server forbids to ask is a finding, not an error.
pub async fn examine(
    connection: &Connection,
    expected: &Expectations,
    mut progress: impl FnMut(usize, usize),
) -> Result<Diagnosis, StreamError> {
    let mut facts = ServerFacts::ask(connection).await?;
    let mut findings = Vec::new();
    server::judge(&facts, expected, &mut findings);
    let mut streams = Vec::new();
    if facts.version().is_none_or(|version| version >= OLDEST_REDIS) {
        streams = StreamFacts::ask_all(connection, &mut facts, &mut progress).await?;
        streams::judge_names(connection, &mut facts, &mut findings).await?;
    }
    let now = facts.now();
    for stream in &streams {
        streams::judge(stream, now, expected, &mut findings);
        groups::judge(stream, now, expected, &mut findings);
    }
    facts.report_unchecked(&mut findings);
    findings.sort_by_key(|finding| finding.severity);
    Ok(Diagnosis {
        server: facts.name(),
        groups: streams.iter().map(|stream| stream.groups.len()).sum(),
        streams: streams.len(),
        findings,
    })
}

/// A span in words, to the second where it is longer than one: `3m 20s`.
fn span(span: Duration) -> String {
    let shown = if span >= Duration::from_secs(1) {
        SignedDuration::from_secs(i64::try_from(span.as_secs()).unwrap_or(i64::MAX))
    } else {
        SignedDuration::from_millis(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
    };
    format!("{shown:#}")
}

/// A count of things: `1 entry`, `2 entries`.
fn counted(count: u64, noun: &str) -> String {
    let plural: Cow<'_, str> = match noun.strip_suffix('y') {
        _ if count == 1 => noun.into(),
        Some(stem) => format!("{stem}ies").into(),
        None => format!("{noun}s").into(),
    };
    format!("{count} {plural}")
}
