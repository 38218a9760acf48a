//! Who reads: groups that nobody works for, entries that hang, entries that were lost.

use std::time::Duration;

use super::{
    Expectations, counted,
    facts::{GroupFacts, StreamFacts},
    finding::{Finding, Severity},
    span,
};
use crate::{retention::GATEWAY_GROUP, stream::EntryId};

/// A handler's limit is 5 deliveries by default: what was delivered more often has no limit.
const MANY_DELIVERIES: u64 = 20;
/// So many consumers that hold nothing and are gone are clutter.
const LEFT_BEHIND: usize = 20;

/// Judges the groups of a stream; `now` is the server's time.
pub(super) fn judge(
    stream: &StreamFacts,
    now: Duration,
    expected: &Expectations,
    findings: &mut Vec<Finding>,
) {
    for group in &stream.groups {
        let look = Look { stream, group, now, expected };
        let lost = [look.trimmed_unread(), look.trimmed_pending(), look.lag_unknown()];
        findings.extend(lost.into_iter().flatten());
        findings.extend(look.readers());
        let entries = [look.stuck(), look.many_deliveries(), look.left_behind()];
        findings.extend(entries.into_iter().flatten());
    }
}

/// A group as it is looked at.
#[derive(Clone, Copy, Debug)]
struct Look<'a> {
    stream: &'a StreamFacts,
    group: &'a GroupFacts,
    now: Duration,
    expected: &'a Expectations,
}

impl Look<'_> {
    fn finding(&self, severity: Severity, check: &'static str, problem: String) -> Finding {
        Finding::new(severity, check, problem).stream(&self.stream.name).group(&self.group.info.name)
    }

    fn age(&self, id: EntryId) -> Duration {
        self.now.saturating_sub(Duration::from_millis(id.ms))
    }

    /// How many entries are gone from the stream's beginning that it was never given; `None` if none are.
    fn trimmed_unread(&self) -> Option<Finding> {
        let (info, group) = (&self.stream.info, &self.group.info);
        let next = info.first_id.unwrap_or(info.last_generated_id);
        let is_below = group.last_delivered_id < next && group.last_delivered_id < info.last_generated_id;
        let gone = info.entries_added?.saturating_sub(info.length);
        let lost = gone.saturating_sub(group.entries_read.unwrap_or(0));
        if !is_below || lost == 0 {
            return None;
        }
        // Without its own count it may have begun behind some of them.
        let amount = if group.entries_read.is_some() || group.last_delivered_id == EntryId::MIN {
            counted(lost, "entry")
        } else {
            "entries".to_owned()
        };
        let problem = format!(
            "{amount} trimmed away unread: it was given those to {}, the stream begins at {next}",
            group.last_delivered_id
        );
        Some(
            self.finding(Severity::Error, "trimmed-unread", problem)
                .advice("have its consumers keep up, and publishers trim less: MAXLEN, a Publisher's maxlen, is for emergencies; synapse-hub trims what all groups have read. Its place:")
                .synapse(&["groups", &self.stream.name]),
        )
    }

    fn trimmed_pending(&self) -> Option<Finding> {
        let oldest = self.group.info.oldest_pending_id?;
        let is_gone = self.stream.info.first_id.is_none_or(|first| oldest < first);
        if !is_gone {
            return None;
        }
        let gone = self
            .group
            .pending
            .iter()
            .filter(|entry| self.stream.info.first_id.is_none_or(|first| entry.id < first));
        let problem = format!(
            "{} trimmed away while pending, {oldest} the first: handled or not, they can't be read again",
            counted(gone.count() as u64, "entry")
        );
        Some(
            self.finding(Severity::Error, "trimmed-pending", problem)
                .advice("a consumer of ours counts them as lost and acknowledges them when it takes them over; publishers should trim less (MAXLEN)"),
        )
    }

    fn lag_unknown(&self) -> Option<Finding> {
        if self.group.info.lag.is_some()
            || self.stream.info.entries_added.is_none()
            || self.group.first_unread.is_none()
        {
            return None;
        }
        let problem =
            "redis can't tell its lag: it began in the midst of the stream, or entries that it has still to read were deleted".to_owned();
        Some(
            self.finding(Severity::Note, "lag-unknown", problem)
                .advice("it is known again once the group has read to the end"),
        )
    }

    /// Whether anybody reads, and keeps up; of a group without consumers the rest says nothing more.
    fn readers(&self) -> Vec<Finding> {
        let info = &self.group.info;
        if info.consumers == 0 && info.name != GATEWAY_GROUP {
            return self.group.is_behind().then(|| self.without_consumers()).into_iter().collect();
        }
        let mut found: Vec<_> = self.behind().into_iter().collect();
        found.extend(self.dead_consumers());
        found
    }

    fn without_consumers(&self) -> Finding {
        let (stream, name) = (&self.stream.name, &self.group.info.name);
        let waiting = match (self.group.info.lag, self.group.first_unread) {
            (Some(lag), _) => format!("{} waiting", counted(lag, "entry")),
            (None, Some(first)) => format!("entries waiting, the first for {}", span(self.age(first))),
            (None, None) => "nothing waiting".to_owned(),
        };
        self.finding(Severity::Warning, "no-consumers", format!("no consumers, {waiting}"))
            .advice("start the service that reads in this group; if there is none any more:")
            .redis(&["XGROUP", "DESTROY", stream, name])
    }

    fn behind(&self) -> Option<Finding> {
        let first = self.group.first_unread?;
        let age = self.age(first);
        if age <= self.expected.hangs_after {
            return None;
        }
        let behind = self
            .group
            .info
            .lag
            .map_or_else(|| "behind".to_owned(), |lag| format!("{} behind", counted(lag, "entry")));
        let problem = format!("{behind}: the next one has been waiting for {}", span(age));
        let advice = if self.group.info.name == GATEWAY_GROUP {
            "no gateway moves on: see whether one runs (GET /ready) and what it logs"
        } else {
            "see what its consumers log; if they are busy, run more of them"
        };
        Some(self.finding(Severity::Warning, "behind", problem).advice(advice))
    }

    fn dead_consumers(&self) -> impl Iterator<Item = Finding> {
        self.group.consumers.iter().filter(|consumer| consumer.pending > 0 && self.is_gone(consumer.idle)).map(|consumer| {
            let (stream, group) = (&self.stream.name, &self.group.info.name);
            let problem =
                format!("not heard of for {}, and holds {}", span(consumer.idle), counted(consumer.pending, "entry"));
            let minimum = self.expected.hangs_after.as_millis().to_string();
            self.finding(Severity::Warning, "dead-consumer", problem)
                .consumer(&consumer.name)
                .advice("a running consumer of ours takes them over within a minute: start one. Don't delete this one, which would drop them. What it holds:")
                .redis(&["XPENDING", stream, group, "IDLE", &minimum, "-", "+", "10", &consumer.name])
        })
    }

    fn is_gone(&self, idle: Duration) -> bool {
        idle > self.expected.hangs_after
    }

    /// Entries that a consumer holds and does not work on, though it is there.
    fn stuck(&self) -> Option<Finding> {
        let lives = |name: &str| {
            self.group.consumers.iter().any(|consumer| consumer.name == name && !self.is_gone(consumer.idle))
        };
        let mut stuck =
            self.group.pending.iter().filter(|entry| self.is_gone(entry.idle) && lives(&entry.consumer));
        let first = stuck.next()?;
        let amount = counted(1 + stuck.count() as u64, "entry");
        let problem = format!(
            "{amount} pending that nobody works on: {} was last delivered {} ago, to {}, which is running",
            first.id,
            span(first.idle),
            first.consumer
        );
        let id = first.id.to_string();
        Some(
            self.finding(Severity::Warning, "stuck", problem)
                .advice("an older consumer neither acknowledged nor retried it: restart it, or run one of ours, which takes it over. The entry:")
                .redis(&["XRANGE", &self.stream.name, &id, &id]),
        )
    }

    fn many_deliveries(&self) -> Option<Finding> {
        let most = self.group.pending.iter().max_by_key(|entry| entry.deliveries)?;
        if most.deliveries < MANY_DELIVERIES {
            return None;
        }
        let problem = format!("{} was delivered {} times and still fails", most.id, most.deliveries);
        let id = most.id.to_string();
        Some(
            self.finding(Severity::Warning, "many-deliveries", problem)
                .advice("its consumer has no limit (ours gives up at max_deliveries, 5, and keeps it as a dead letter). The entry:")
                .redis(&["XRANGE", &self.stream.name, &id, &id]),
        )
    }

    fn left_behind(&self) -> Option<Finding> {
        let gone = self
            .group
            .consumers
            .iter()
            .filter(|consumer| consumer.pending == 0 && self.is_gone(consumer.idle));
        let gone = gone.count();
        if gone <= LEFT_BEHIND {
            return None;
        }
        let problem = format!(
            "{} that are gone are still known to it; they hold nothing",
            counted(gone as u64, "consumer")
        );
        Some(
            self.finding(Severity::Note, "left-behind", problem)
                .advice("harmless; ours leave none. To list them:")
                .redis(&["XINFO", "CONSUMERS", &self.stream.name, &self.group.info.name]),
        )
    }
}
