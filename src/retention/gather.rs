//! What has to be known of a stream before it is trimmed.

use std::{collections::HashMap, time::Duration};

use super::{GroupState, RetentionPolicy, StreamState};
use crate::stream::{Connection, ConsumerInfo, GroupInfo, StreamError, StreamInfo, idle_groups::Standing};

/// The state of a stream and its groups, with where each stood at the last look; `None` if there is no such stream.
pub(super) async fn state(connection: &Connection, stream: &str) -> Result<Option<Found>, StreamError> {
    let Some(info) = connection.extent(stream).await? else { return Ok(None) };
    let now_ms = connection.now_ms().await?;
    let groups = connection.groups(stream).await?;
    let before = connection.standings(stream).await?;
    let mut states = Vec::with_capacity(groups.len());
    let mut standings = Vec::with_capacity(groups.len());
    for group in groups {
        let consumers = connection.consumers(stream, &group.name).await?;
        let standing = standing(&info, &group, &consumers, before.get(&group.name), now_ms);
        states.push(GroupState {
            first_pending: match group.pending {
                0 => None,
                _ => connection.pending(stream, &group.name).await?.map(|pending| pending.first),
            },
            idle: Duration::from_millis(now_ms.saturating_sub(standing.since_ms)),
            name: group.name,
            last_delivered: group.last_delivered_id,
            entries_read: group.entries_read,
            lag: group.lag,
        });
        standings.push(standing);
    }
    let state = StreamState {
        now_ms,
        length: info.length,
        first: info.first_id,
        entries_added: info.entries_added,
        groups: states,
    };
    Ok(Some(Found { state, standings, before }))
}

/// What a look has found.
pub(super) struct Found {
    pub(super) state: StreamState,
    /// Of its groups, in the same order.
    standings: Vec<Standing>,
    before: HashMap<String, Standing>,
}

impl Found {
    /// Notes for the next look where the groups stand.
    pub(super) async fn note(
        &self,
        connection: &Connection,
        stream: &str,
        policy: &RetentionPolicy,
    ) -> Result<(), StreamError> {
        let names = self.state.groups.iter().map(|group| group.name.as_str());
        let groups: Vec<_> = names.zip(self.standings.iter().copied()).collect();
        let is_gone = |name: &&str| groups.iter().all(|(there, _)| there != name);
        let gone: Vec<_> = self.before.keys().map(String::as_str).filter(is_gone).collect();
        // Kept well beyond the moment it is needed, also while no hub runs.
        let keep = policy.group_expiry.saturating_mul(2).saturating_add(Duration::from_hours(24));
        connection.note_standings(stream, &groups, &gone, keep).await
    }
}

/// How long nobody has used a group though something waits in it.
pub(crate) fn idle(
    stream: &StreamInfo,
    group: &GroupInfo,
    consumers: &[ConsumerInfo],
    before: Option<&Standing>,
    now_ms: u64,
) -> Duration {
    let standing = standing(stream, group, consumers, before, now_ms);
    Duration::from_millis(now_ms.saturating_sub(standing.since_ms))
}

fn standing(
    stream: &StreamInfo,
    group: &GroupInfo,
    consumers: &[ConsumerInfo],
    before: Option<&Standing>,
    now_ms: u64,
) -> Standing {
    let used_ms = if waits(stream, group) { last_use(consumers, now_ms) } else { now_ms };
    Standing::of(group, before, used_ms, now_ms)
}

/// Whether there is anything in the group that it could be used for. On a quiet stream not even a running consumer
/// leaves a trace of its asking, before Redis 7.2.
fn waits(stream: &StreamInfo, group: &GroupInfo) -> bool {
    let has_read_all = group.last_delivered_id >= stream.last_generated_id || group.lag == Some(0);
    group.pending > 0 || !(has_read_all || stream.length == 0)
}

/// When any of its consumers last asked for anything; 0 if it has none, for those that leave take this with them.
fn last_use(consumers: &[ConsumerInfo], now_ms: u64) -> u64 {
    let idle = consumers.iter().map(|consumer| consumer.idle).min();
    let ago = |idle: Duration| now_ms.saturating_sub(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
    idle.map_or(0, ago)
}
