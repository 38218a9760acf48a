//! What lies on the server: streams that vanish, are full, or are none.

use std::time::Duration;

use super::{
    Expectations, counted,
    facts::{GroupFacts, ServerFacts, StreamFacts},
    finding::{Finding, Severity},
    span,
};
use crate::{
    retention::{GroupState, RetentionPolicy, StreamState, plan},
    stream::{
        self, Connection, DEAD_LETTER_SUFFIX, StreamError, dead_letter::MAX_DEAD_LETTERS, lock::TRIMMER,
    },
};

/// Ids may run ahead of the clock by this much: a clock that was set back a little catches up.
const AHEAD: Duration = Duration::from_secs(5);
/// Of the most that a stream holds.
const FULL_PERCENT: u64 = 90;

/// Judges what lies at the names of the platform's streams.
pub(super) async fn judge_names(
    connection: &Connection,
    server: &mut ServerFacts,
    findings: &mut Vec<Finding>,
) -> Result<(), StreamError> {
    for name in stream::ALL {
        for name in [name.to_owned(), format!("{name}{DEAD_LETTER_SUFFIX}")] {
            let kind = connection.key_type(&name).await;
            let Some(kind) = server.allowed(&name, kind)?.flatten() else { continue };
            if kind != "stream" {
                let problem = format!("is a {kind}, not a stream: events for it are refused (WRONGTYPE)");
                findings.push(
                    Finding::new(Severity::Error, "wrong-type", problem)
                        .stream(&name)
                        .advice("move it out of the way:")
                        .redis(&["RENAME", &name, &format!("{name}-was-{kind}")]),
                );
            }
        }
    }
    judge_lock(connection, server, findings).await
}

/// Judges the key by which one of all hubs is elected to trim: whatever else lies there stops them all.
async fn judge_lock(
    connection: &Connection,
    server: &mut ServerFacts,
    findings: &mut Vec<Finding>,
) -> Result<(), StreamError> {
    let kind = connection.key_type(TRIMMER).await;
    let Some(kind) = server.allowed(TRIMMER, kind)?.flatten() else { return Ok(()) };
    let problem = if kind == "string" {
        let left = connection.expires_in(TRIMMER).await;
        let still_there = connection.key_type(TRIMMER).await;
        let is_for_ever = server.allowed(TRIMMER, left)?.is_some_and(|left| left.is_none());
        // What has just run out has no expiry either.
        if !is_for_ever || server.allowed(TRIMMER, still_there)?.flatten().is_none() {
            return Ok(());
        }
        format!("{TRIMMER}, the lock of the hub that trims, has no expiry: no hub wrote it, and none trims")
    } else {
        format!("{TRIMMER} is a {kind}, not the lock of the hub that trims: no hub trims (WRONGTYPE)")
    };
    findings.push(
        Finding::new(Severity::Error, "trim-lock", problem)
            .advice("see who wrote it, then move it out of the way:")
            .redis(&["RENAME", TRIMMER, "was-synapse-trimmer"]),
    );
    Ok(())
}

/// Judges a stream; `now` is the server's time.
pub(super) fn judge(
    stream: &StreamFacts,
    now: Duration,
    expected: &Expectations,
    findings: &mut Vec<Finding>,
) {
    findings.extend(expiry(stream));
    findings.extend(future_ids(stream, now));
    if stream.is_dead_letters() {
        findings.extend(dead_letters(stream));
    } else {
        findings.extend(fullness(stream, expected));
        findings.extend(untrimmed(stream, now, expected));
    }
}

fn expiry(stream: &StreamFacts) -> Option<Finding> {
    let left = stream.expires_in?;
    let problem = format!("has an expiry: redis deletes it whole, with its groups, in {}", span(left));
    let finding = Finding::new(Severity::Error, "expires", problem);
    Some(finding.stream(&stream.name).redis(&["PERSIST", &stream.name]))
}

/// A fail-over or a clock that was set back: what goes by the time in ids is off until the clock has caught up.
fn future_ids(stream: &StreamFacts, now: Duration) -> Option<Finding> {
    let ahead = Duration::from_millis(stream.info.last_generated_id.ms).checked_sub(now)?;
    if ahead <= AHEAD {
        return None;
    }
    let problem = format!(
        "its last id {} is {} ahead of redis's clock: ids no longer tell when an event came, and nothing of it is trimmed by age until then",
        stream.info.last_generated_id,
        span(ahead)
    );
    let finding = Finding::new(Severity::Warning, "future-ids", problem).stream(&stream.name);
    Some(finding.advice(
        "see whether redis's clock is right; if it is, the ids come right by themselves once it is past them",
    ))
}

fn dead_letters(stream: &StreamFacts) -> Option<Finding> {
    let (name, letters) = (stream.name.strip_suffix(DEAD_LETTER_SUFFIX)?, stream.info.length);
    if letters == 0 {
        return None;
    }
    let waiting = format!("{} waiting", counted(letters, "dead letter"));
    let is_full = letters.saturating_mul(100) >= MAX_DEAD_LETTERS * FULL_PERCENT;
    let (severity, problem) = if is_full {
        (Severity::Error, format!("{waiting}: beyond {MAX_DEAD_LETTERS} the oldest are dropped"))
    } else {
        (Severity::Warning, waiting)
    };
    Some(
        Finding::new(severity, "dead-letters", problem)
            .stream(name)
            .advice("see why; once that is mended, replay them:")
            .synapse(&["dlq", "show", name])
            .synapse(&["dlq", "replay", name, "--all"]),
    )
}

fn fullness(stream: &StreamFacts, expected: &Expectations) -> Option<Finding> {
    let (length, limit) = (stream.info.length, expected.retention.hard_limit);
    if length.saturating_mul(100) < limit.saturating_mul(FULL_PERCENT) {
        return None;
    }
    let (severity, effect) = if length >= limit {
        (Severity::Error, "publishers drop the oldest entries, read or not")
    } else {
        (Severity::Warning, "at the limit publishers drop the oldest, read or not")
    };
    let problem = format!("{length} of at most {limit} entries: {effect}");
    Some(
        Finding::new(severity, "full", problem)
            .stream(&stream.name)
            .advice("see who holds up trimming, then trim:")
            .synapse(&["groups", &stream.name])
            .synapse(&["trim", &stream.name]),
    )
}

/// Nobody trims, although no group is in the way.
fn untrimmed(facts: &StreamFacts, now: Duration, expected: &Expectations) -> Option<Finding> {
    let first = facts.info.first_id?;
    // The hub trims the platform's own streams, unless it is told others.
    if !stream::ALL.contains(&facts.name.as_str()) {
        return None;
    }
    let kept = expected.retention.retention;
    let policy = RetentionPolicy { retention: kept * 2, ..expected.retention.clone() };
    if plan(&state(facts, now), &policy).before <= first {
        return None;
    }
    let age = now.saturating_sub(Duration::from_millis(first.ms));
    let problem =
        format!("its first entry is {} old and no group needs it: nobody trims to {}", span(age), span(kept));
    Some(
        Finding::new(Severity::Warning, "untrimmed", problem)
            .stream(&facts.name)
            .advice("run synapse-hub, which trims; or once:")
            .synapse(&["trim", &facts.name]),
    )
}

/// What the rule of trimming wants to know.
fn state(stream: &StreamFacts, now: Duration) -> StreamState {
    let group = |group: &GroupFacts| GroupState {
        name: group.info.name.clone(),
        last_delivered: group.info.last_delivered_id,
        first_pending: group.info.oldest_pending_id,
        idle: group.idle,
        entries_read: group.info.entries_read,
        lag: group.info.lag,
    };
    StreamState {
        now_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        length: stream.info.length,
        first: stream.info.first_id,
        entries_added: stream.info.entries_added,
        groups: stream.groups.iter().map(group).collect(),
    }
}
