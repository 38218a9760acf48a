//! Saying what trimming would do.

use super::{Removed, Report, RetentionPolicy, look};
use crate::stream::{Connection, EntryId, StreamError, pages::Pages};

/// What [`trim`](super::trim) would do and find, without doing it; `None` if there is no such stream.
///
/// Entries that are too old are counted one by one. How many go for the sake of [`retention_bytes`] is an estimate by
/// their average size, for groups may be in the way.
///
/// [`retention_bytes`]: RetentionPolicy::retention_bytes
pub async fn rehearse(
    connection: &Connection,
    stream: &str,
    policy: &RetentionPolicy,
) -> Result<Option<Report>, StreamError> {
    let Some((state, plan)) = look(connection, stream, policy).await? else { return Ok(None) };
    let age = count_before(connection, stream, plan.before, state.length).await?;
    let mut removed = Removed { age, ..Removed::default() };
    let mut bytes = None;
    if let Some(limit) = policy.retention_bytes {
        let now = connection.bytes(stream).await?;
        let each = (now / state.length.max(1)).max(1);
        let left = now.saturating_sub(removed.age * each);
        let free = count_before(connection, stream, plan.floor, state.length).await?;
        removed.bytes = left.saturating_sub(limit).div_ceil(each).min(free.saturating_sub(removed.age));
        bytes = Some(left.saturating_sub(removed.bytes * each));
    }
    let length = state.length.saturating_sub(removed.age + removed.bytes);
    removed.hard_limit = length.saturating_sub(policy.hard_limit);
    Ok(Some(Report {
        removed,
        length: length - removed.hard_limit,
        bytes,
        kept_by: plan.kept_by,
        expired: plan.expired,
        cut: Vec::new(),
    }))
}

/// How many entries a stream of this length has before an id.
async fn count_before(
    connection: &Connection,
    stream: &str,
    id: EntryId,
    length: u64,
) -> Result<u64, StreamError> {
    if id == EntryId::MAX {
        return Ok(length);
    }
    let mut pages = Pages::new(stream, EntryId::MIN, id);
    let mut count = 0;
    while pages.position().is_some() {
        count += pages.next(connection).await?.iter().filter(|entry| entry.id < id).count() as u64;
    }
    Ok(count)
}
