//! What may be trimmed from a stream, and trimming it.
//!
//! A stream keeps [`retention`](RetentionPolicy::retention) and at most [`retention_bytes`](RetentionPolicy::retention_bytes),
//! but never loses what a group has not read or not acknowledged, until it has reached
//! [`hard_limit`](RetentionPolicy::hard_limit) entries. [`plan()`] is that rule, without Redis; [`trim`] looks, plans and
//! trims. Where groups are in the way is looked up by the server in the very moment of trimming, so that a group that
//! goes back or comes into being meanwhile loses nothing.
//!
//! Two kinds of groups are not in the way: [`GATEWAY_GROUP`], which shows lag and reads nothing, and one in which
//! something waits and that nobody has used for [`group_expiry`](RetentionPolicy::group_expiry): it stood where it stands
//! at each look, and no consumer has asked for anything.

mod gather;
mod plan;
mod rehearse;

use std::time::Duration;

use serde::Serialize;

pub(crate) use gather::idle;
pub use plan::{Cut, GroupState, KeptBy, Plan, StreamState, plan};
pub use rehearse::rehearse;

use crate::{
    EntryId,
    stream::{
        Connection, DEAD_LETTER_SUFFIX, StreamError,
        trim::{self, Amount},
    },
};

/// The group by which operators see the gateway's lag.
pub const GATEWAY_GROUP: &str = "realtime-gateway";

/// Steps in which a stream is brought under its bytes at most.
const MAX_STEPS: usize = 256;
/// Entries that one of them removes at least: a node of a stream has about as many.
const MIN_STEP: u64 = 128;

/// What a stream keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Entries younger than this are kept. Default 24 h.
    pub retention: Duration,
    /// If a stream takes more of the server's memory, its oldest entries go even if they are younger.
    pub retention_bytes: Option<u64>,
    /// Entries a stream has at most, whoever needs them. Default 1,000,000.
    pub hard_limit: u64,
    /// How long a group that nobody uses is waited for. Default 7 d.
    pub group_expiry: Duration,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self {
            retention: Duration::from_hours(24),
            retention_bytes: None,
            hard_limit: 1_000_000,
            group_expiry: Duration::from_hours(7 * 24),
        }
    }
}

/// What the server can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `XTRIM … ACKED`, which came together with `XACKDEL`.
    pub acked: bool,
}

impl Features {
    /// Asks the server; to be done after each connect, for another server may answer.
    pub async fn probe(connection: &Connection) -> Result<Self, StreamError> {
        let known = connection.has_commands(&["XACKDEL"]).await?;
        Ok(Self { acked: known == [true] })
    }
}

/// Entries removed, by why they went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Older than the retention.
    pub age: u64,
    /// The stream took too many bytes.
    pub bytes: u64,
    /// The stream had too many entries.
    pub hard_limit: u64,
}

impl Removed {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.age + self.bytes + self.hard_limit
    }
}

/// What trimming a stream has done and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Entries removed.
    pub removed: Removed,
    /// Entries left.
    pub length: u64,
    /// Bytes of the server's memory it takes now, if it was asked.
    pub bytes: Option<u64>,
    /// What keeps the entries that are left.
    pub kept_by: KeptBy,
    /// Groups that nobody has used for so long that they are no longer waited for.
    pub expired: Vec<String>,
    /// Groups that have lost entries they had not read or not acknowledged: by the hard limit, ours or a publisher's.
    pub cut: Vec<Cut>,
}

/// Whether the streams of this name are trimmed by the rule: the dead letters have a limit of their own.
pub fn is_trimmed(stream: &str) -> bool {
    !stream.ends_with(DEAD_LETTER_SUFFIX)
}

/// What [`trim`] would do; `None` if there is no such stream.
///
/// Changes nothing: since when groups stand still is known from the times when somebody trimmed.
pub async fn look(
    connection: &Connection,
    stream: &str,
    policy: &RetentionPolicy,
) -> Result<Option<(StreamState, Plan)>, StreamError> {
    let Some(found) = gather::state(connection, stream).await? else { return Ok(None) };
    let plan = plan(&found.state, policy);
    Ok(Some((found.state, plan)))
}

/// Trims a stream by the rule; `None` if there is no such stream.
///
/// Notes where its groups stand ([`crate::stream::idle_groups`]).
pub async fn trim(
    connection: &Connection,
    stream: &str,
    policy: &RetentionPolicy,
    features: Features,
) -> Result<Option<Report>, StreamError> {
    let Some(found) = gather::state(connection, stream).await? else { return Ok(None) };
    found.note(connection, stream, policy).await?;
    let (before, plan) = (&found.state, plan(&found.state, policy));
    let mut report =
        Report { kept_by: plan.kept_by.clone(), expired: plan.expired.clone(), ..Report::default() };
    report.removed.age = trim_by_age(connection, stream, &plan, features).await?;
    if let Some(limit) = policy.retention_bytes {
        let (removed, bytes) = trim_by_bytes(connection, stream, &plan, limit).await?;
        report.removed.bytes = removed;
        report.bytes = Some(bytes);
    }
    let length = before.length.saturating_sub(report.removed.age + report.removed.bytes);
    if length > policy.hard_limit {
        report.removed.hard_limit = connection.trim_to_length(stream, policy.hard_limit).await?;
    }
    let Some(after) = gather::state(connection, stream).await? else { return Ok(Some(report)) };
    report.length = after.state.length;
    report.cut = plan::cuts(before, &after.state, report.removed.hard_limit, &plan.expired);
    Ok(Some(report))
}

/// Large amounts in pieces that hold nobody up, then the rest exactly.
async fn trim_by_age(
    connection: &Connection,
    stream: &str,
    plan: &Plan,
    features: Features,
) -> Result<u64, StreamError> {
    let free: Vec<_> = plan.free.iter().map(String::as_str).collect();
    let mut by_server = features.acked && plan.acked_is_right;
    let (mut total, mut amount) = (0, Amount::Nodes(trim::STEP));
    loop {
        let removed = if by_server {
            match connection.trim_acknowledged(stream, plan.too_old, amount).await {
                // A server that knows the command but not the word: our own rule will do.
                Err(StreamError::Refused { reason, .. }) if reason.starts_with("ERR") => {
                    by_server = false;
                    continue;
                }
                other => other?,
            }
        } else if plan.before > EntryId::MIN {
            connection.trim_before(stream, plan.before, amount, &free).await?
        } else {
            0
        };
        total += removed;
        match amount {
            Amount::Exact => return Ok(total),
            Amount::Nodes(_) if removed == 0 => amount = Amount::Exact,
            Amount::Nodes(_) => {}
        }
    }
}

/// Gives how many entries were removed, and the bytes the stream takes then.
///
/// Entries differ in size, so that the average says little of the oldest: each step goes half of the way that is left,
/// by the size of those the last one has removed.
async fn trim_by_bytes(
    connection: &Connection,
    stream: &str,
    plan: &Plan,
    limit: u64,
) -> Result<(u64, u64), StreamError> {
    let free: Vec<_> = plan.free.iter().map(String::as_str).collect();
    let (mut total, mut step) = (0, MIN_STEP);
    let mut bytes = connection.bytes(stream).await?;
    for _ in 0..MAX_STEPS {
        if bytes <= limit {
            break;
        }
        match connection.trim_before(stream, plan.floor, Amount::Nodes(step), &free).await? {
            // A group is in the way, or the first node has more entries than that.
            0 if step > connection.length(stream).await? => break,
            0 => step *= 4,
            removed => {
                total += removed;
                let left = connection.bytes(stream).await?;
                let freed_each = (bytes.saturating_sub(left) / removed).max(1);
                step = (left.saturating_sub(limit) / freed_each / 2).clamp(MIN_STEP, 4 * step.max(MIN_STEP));
                bytes = left;
            }
        }
    }
    Ok((total, bytes))
}
