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
        let lost = [look.expired(), look.trimmed_unread(), look.trimmed_pending(), look.lag_unknown()];
        findings.extend(lost.into_iter().flatten());
        findings.extend(look.readers());
        let entries = [look.stuck(), look.many_deliveries(), look.left_behind()];
        findings.extend(entries.into_iter().flatten());
    }
}

/// What a group was never given and is gone.
#[derive(Clone, Copy, Debug)]
enum Gone {
    /// So many entries.
    Entries(u64),
    /// It has no count of its own: it may have begun behind them.
    Maybe,
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

    /// Whether trimming no longer waits for it.
    fn is_expired(&self) -> bool {
        self.group.info.name != GATEWAY_GROUP && self.group.idle >= self.expected.retention.group_expiry
    }

    fn expired(&self) -> Option<Finding> {
        if !self.is_expired() {
            return None;
        }
        let lost = match self.unread_gone() {
            Some(Gone::Entries(gone)) => format!("has taken {}", counted(gone, "entry")),
            Some(Gone::Maybe) => "may have taken some".to_owned(),
            None => "will take the oldest".to_owned(),
        };
        let idle = span(self.group.idle);
        let problem = format!(
            "nobody has used it for {idle}: trimming does not wait for it, and {lost} of what it has not read"
        );
        Some(
            self.finding(Severity::Warning, "expired", problem)
                .advice("start the service that reads in this group; if there is none any more:")
                .redis(&["XGROUP", "DESTROY", &self.stream.name, &self.group.info.name]),
        )
    }

    /// What is gone from the stream's beginning that it was never given; `None` if nothing is.
    fn unread_gone(&self) -> Option<Gone> {
        let (info, group) = (&self.stream.info, &self.group.info);
        let is_below =
            group.last_delivered_id < self.begins_at() && group.last_delivered_id < info.last_generated_id;
        let gone = info.entries_added?.saturating_sub(info.length);
        if !is_below || gone == 0 {
            return None;
        }
        match group.entries_read.map(|read| gone.saturating_sub(read)) {
            None => Some(Gone::Maybe),
            Some(unread) => (unread > 0).then_some(Gone::Entries(unread)),
        }
    }

    /// The first entry of the stream, or the last it had.
    fn begins_at(&self) -> EntryId {
        self.stream.info.first_id.unwrap_or(self.stream.info.last_generated_id)
    }

    /// The gateway's group shows lag and reads nothing: it loses nothing either.
    fn trimmed_unread(&self) -> Option<Finding> {
        if self.group.info.name == GATEWAY_GROUP || self.is_expired() {
            return None;
        }
        let (given, begins_at) = (self.group.info.last_delivered_id, self.begins_at());
        let finding = match self.unread_gone()? {
            Gone::Entries(gone) => {
                let gone = counted(gone, "entry");
                let problem = format!(
                    "{gone} trimmed away unread: it was given those to {given}, the stream begins at {begins_at}"
                );
                self.finding(Severity::Error, "trimmed-unread", problem)
                    .advice("have its consumers keep up, and publishers trim less: MAXLEN, a Publisher's maxlen, is for emergencies; synapse-hub trims what all groups have read. Its place:")
                    .synapse(&["groups", &self.stream.name])
            }
            Gone::Maybe => {
                let problem = format!(
                    "it reads on from {given}, the stream begins at {begins_at}: what was between was trimmed, maybe before the group was made"
                );
                self.finding(Severity::Note, "trimmed-unread", problem)
                    .advice("nothing to do if the group is new: redis counts for it once it has read")
            }
        };
        Some(finding)
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

    /// Whether anybody reads, and keeps up; of an expired group or one without consumers the rest says nothing more.
    fn readers(&self) -> Vec<Finding> {
        let info = &self.group.info;
        if self.is_expired() {
            return Vec::new();
        }
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
