//! What has to be known of a stream before it is trimmed.

use std::time::Duration;

use super::{GroupState, RetentionPolicy, StreamState};
use crate::stream::{Connection, GroupInfo, StreamError};

/// The state of a stream and its groups; `None` if there is no such stream.
pub(super) async fn state(
    connection: &Connection,
    stream: &str,
    policy: &RetentionPolicy,
) -> Result<Option<StreamState>, StreamError> {
    let Some(info) = connection.extent(stream).await? else { return Ok(None) };
    let now_ms = connection.now_ms().await?;
    let groups = connection.groups(stream).await?;
    let without: Vec<_> =
        groups.iter().filter(|group| group.consumers == 0).map(|group| &*group.name).collect();
    // Kept well beyond the moment it is needed, also while no hub runs.
    let keep = policy.group_expiry.saturating_mul(2).saturating_add(Duration::from_hours(24));
    let without = connection.idle_since(stream, &without, now_ms, keep).await?;
    let mut states = Vec::with_capacity(groups.len());
    for group in groups {
        let since = match without.get(&group.name) {
            Some(since) => *since,
            None => last_use(connection, stream, &group, now_ms).await?,
        };
        states.push(GroupState {
            first_pending: match group.pending {
                0 => None,
                _ => connection.pending(stream, &group.name).await?.map(|pending| pending.first),
            },
            idle: Duration::from_millis(now_ms.saturating_sub(since)),
            name: group.name,
            last_delivered: group.last_delivered_id,
            entries_read: group.entries_read,
            lag: group.lag,
        });
    }
    Ok(Some(StreamState {
        now_ms,
        length: info.length,
        first: info.first_id,
        entries_added: info.entries_added,
        groups: states,
    }))
}

/// When any of its consumers last asked for anything. One that died is a consumer still, until somebody deletes it.
async fn last_use(
    connection: &Connection,
    stream: &str,
    group: &GroupInfo,
    now_ms: u64,
) -> Result<u64, StreamError> {
    let consumers = connection.consumers(stream, &group.name).await?;
    let idle = consumers.iter().map(|consumer| consumer.idle).min().unwrap_or_default();
    Ok(now_ms.saturating_sub(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)))
}
