//! The rule, without Redis.

use std::time::Duration;

use serde::Serialize;

use super::{GATEWAY_GROUP, RetentionPolicy};
use crate::EntryId;

/// A stream and its groups at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The moment, by the server's clock: milliseconds since 1970.
    pub now_ms: u64,
    /// How many entries it has.
    pub length: u64,
    /// The first of them.
    pub first: Option<EntryId>,
    /// How many it ever had; `None` where the server can't know.
    pub entries_added: Option<u64>,
    /// Its groups.
    pub groups: Vec<GroupState>,
}

/// A group at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Its name.
    pub name: String,
    /// The last entry it was given.
    pub last_delivered: EntryId,
    /// The first entry it was given and has not acknowledged.
    pub first_pending: Option<EntryId>,
    /// How long nobody has used it though something waits in it: since a consumer last asked for anything, or it was first
    /// seen where it is.
    pub idle: Duration,
    /// How many entries it was ever given; `None` where the server can't know.
    pub entries_read: Option<u64>,
    /// How many entries it has not been given; `None` where the server can't know.
    pub lag: Option<u64>,
}

/// What keeps a stream's oldest entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptBy {
    /// Nothing that is left is too old, or there is nothing left.
    #[default]
    Age,
    /// This group has not read or not acknowledged it.
    Group(String),
}

/// What may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Entries before this are older than the retention.
    pub too_old: EntryId,
    /// Entries from here on are needed by a group; [`EntryId::MAX`] if none is in the way.
    pub floor: EntryId,
    /// The lower of the two: entries before it go.
    pub before: EntryId,
    /// What keeps the rest.
    pub kept_by: KeptBy,
    /// Groups that are not in the way: the expired ones and [`GATEWAY_GROUP`].
    pub free: Vec<String>,
    /// Groups that nobody has used for so long that they are not waited for.
    pub expired: Vec<String>,
    /// Whether "acknowledged by all groups" says the same as the rule: no group that is not in the way lags behind.
    pub acked_is_right: bool,
    /// How many entries more than the hard limit there are.
    pub beyond_hard_limit: u64,
}

/// A group that has lost entries which it had not read or not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// The group.
    pub group: String,
    /// How many entries it will never be given.
    pub unread: u64,
    /// Whether entries that it was given, and has not acknowledged, are gone.
    pub pending: bool,
}

/// What may go of a stream.
pub fn plan(stream: &StreamState, policy: &RetentionPolicy) -> Plan {
    let retention_ms = u64::try_from(policy.retention.as_millis()).unwrap_or(u64::MAX);
    let too_old = EntryId::new(stream.now_ms.saturating_sub(retention_ms), 0);
    let (mut floor, mut lowest) = (EntryId::MAX, None);
    let (mut free, mut expired) = (Vec::new(), Vec::new());
    let mut acked_is_right = true;
    for group in &stream.groups {
        let is_expired = group.idle >= policy.group_expiry;
        if is_expired && group.name != GATEWAY_GROUP {
            expired.push(group.name.clone());
        }
        if is_expired || group.name == GATEWAY_GROUP {
            free.push(group.name.clone());
            acked_is_right &= group.needs_from() >= too_old;
        } else if lowest.is_none() || group.needs_from() < floor {
            floor = group.needs_from();
            lowest = Some(&group.name);
        }
    }
    let is_in_the_way = |_: &&String| floor < too_old;
    Plan {
        too_old,
        floor,
        before: too_old.min(floor),
        kept_by: lowest.filter(is_in_the_way).map_or(KeptBy::Age, |name| KeptBy::Group(name.clone())),
        free,
        expired,
        acked_is_right,
        beyond_hard_limit: stream.length.saturating_sub(policy.hard_limit),
    }
}

/// The groups that have lost entries: what `after` tells by itself, and what trimming has just done to them: to all by the
/// hard limit, to the expired ones by age and bytes too.
pub(super) fn cuts(
    before: &StreamState,
    after: &StreamState,
    by_hard_limit: u64,
    expired: &[String],
) -> Vec<Cut> {
    let cut = |group: &GroupState| {
        let was = before.groups.iter().find(|was| was.name == group.name);
        let just_now = match was.and_then(|was| was.lag) {
            Some(lag) if by_hard_limit > 0 || expired.contains(&group.name) => {
                lag.saturating_sub(after.length)
            }
            _ => 0,
        };
        let cut = Cut {
            group: group.name.clone(),
            unread: after.unread_gone(group).max(just_now),
            pending: group.first_pending.is_some_and(|id| after.first.is_none_or(|first| id < first)),
        };
        (group.name != GATEWAY_GROUP && (cut.unread > 0 || cut.pending)).then_some(cut)
    };
    after.groups.iter().filter_map(cut).collect()
}

impl GroupState {
    /// The lower of its last delivered and its first pending entry.
    fn needs_from(&self) -> EntryId {
        self.first_pending.map_or(self.last_delivered, |pending| pending.min(self.last_delivered))
    }
}

impl StreamState {
    /// How many entries are gone that a group was never given, as far as the server's counters tell.
    fn unread_gone(&self, group: &GroupState) -> u64 {
        let is_behind = self.first.is_none_or(|first| group.last_delivered < first);
        match (self.entries_added, group.entries_read) {
            (Some(added), Some(read)) if is_behind => added.saturating_sub(read).saturating_sub(self.length),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
