//! Joining the group of each stream, and making it again when it was deleted under us.

use tracing::warn;

use super::shared::Shared;
use crate::stream::{Connection, EntryId, StreamError};

/// Makes sure that the group of a stream is there and in its place.
///
/// `was_joined` says that it was there before: then it begins where all that came to us is acknowledged. What anybody
/// has in hand is made pending for him again when he renews it, but may come to others as well.
pub(super) async fn join_group(shared: &Shared, number: usize, was_joined: bool) -> Result<(), StreamError> {
    let act = async |connection: Connection| {
        let name = &*shared.streams[number].name;
        // In this order: a stream that grows meanwhile must not seem to end before the group's place.
        let groups = connection.groups(name).await?;
        let end = connection.last_id(name).await?;
        match groups.into_iter().find(|group| group.name == shared.config.group) {
            Some(group) => find(shared, number, &connection, group.last_delivered_id, end).await,
            None if was_joined => create_again(shared, number, &connection, end).await,
            None => create(shared, number, &connection, end).await,
        }?;
        connection.create_consumer(name, shared.member()).await
    };
    shared.redis.ask(act).await
}

/// The group is there.
async fn find(
    shared: &Shared,
    number: usize,
    connection: &Connection,
    delivered: EntryId,
    end: EntryId,
) -> Result<(), StreamError> {
    let (name, group) = (&*shared.streams[number].name, &shared.config.group);
    if delivered > end {
        // After a fail-over or a lost tail of the log: it would stay silent until the stream's ids have caught up.
        warn!(stream = name, group, %delivered, %end, "the stream ends before the group's place, which is set back to its end");
        metrics::counter!("synapse_consumer_rewinds_total", "stream" => name.to_owned(), "group" => group.clone())
            .increment(1);
        connection.set_group_id(name, group, end).await?;
    }
    let acknowledged = match connection.pending(name, group).await? {
        Some(pending) => pending.first.previous(),
        None => delivered.min(end),
    };
    shared.with(|dispatcher| dispatcher.joined(number, acknowledged));
    Ok(())
}

async fn create(
    shared: &Shared,
    number: usize,
    connection: &Connection,
    end: EntryId,
) -> Result<(), StreamError> {
    let (name, group, start) = (&*shared.streams[number].name, &shared.config.group, &shared.config.start);
    connection.create_group(name, group, start).await?;
    let from = if start == "$" { end } else { start.parse().unwrap_or(EntryId::MIN) };
    shared.with(|dispatcher| dispatcher.joined(number, from));
    Ok(())
}

async fn create_again(
    shared: &Shared,
    number: usize,
    connection: &Connection,
    end: EntryId,
) -> Result<(), StreamError> {
    let (name, group) = (&*shared.streams[number].name, &shared.config.group);
    let acknowledged = shared.with(|dispatcher| dispatcher.acknowledged_up_to(number));
    // A stream that ends before our place is another one by the same name: all of it is news.
    let start = if acknowledged > end { EntryId::MIN } else { acknowledged };
    let is_ours = connection.create_group(name, group, &start.to_string()).await?;
    if is_ours {
        warn!(stream = name, group, %start, "the consumer group was gone; it was created again");
        metrics::counter!(
            "synapse_consumer_groups_recreated_total", "stream" => name.to_owned(), "group" => group.clone()
        )
        .increment(1);
    }
    Ok(())
}
