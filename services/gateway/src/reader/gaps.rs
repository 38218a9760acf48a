//! What is in the streams, and what was read of them: whether anything was lost between.

use synapse_realtime::close::CloseReason;
use synapse_rs::{
    EntryId,
    stream::{Connection, Entry, StreamError, StreamInfo, watch::Watched},
};

use super::{BLOCK, Reader, added, before};
use crate::{metrics, streams::Stream};

impl Reader {
    /// Compares the streams of which something may have been trimmed unread, before what was read is handed out: clients that
    /// come back with where they are then learn of the gap.
    pub(super) async fn look_for_gaps(
        &mut self,
        connection: &Connection,
        read: &[Watched],
    ) -> Result<(), StreamError> {
        // A stream may be quiet for days after all of it was trimmed: that is looked at now and then.
        let looks_at_all = self.looked_at.elapsed() >= BLOCK;
        if looks_at_all {
            self.looked_at = tokio::time::Instant::now();
        }
        for Watched { stream, entries, is_whole } in read {
            let Some(stream) = Stream::of_key(stream) else { continue };
            if !is_whole && (looks_at_all || !entries.is_empty()) {
                let info = connection.extent(stream.key()).await?;
                self.compare(stream, info.as_ref(), entries);
            }
        }
        Ok(())
    }

    /// Finds out whether a stream's ids went back, or entries were trimmed unread. `held` was read and is about to be
    /// handed out.
    pub(super) fn compare(&mut self, stream: Stream, info: Option<&StreamInfo>, held: &[Entry]) {
        let newest = info.map_or(EntryId::MIN, |info| info.last_generated_id);
        if newest < self.at[stream] {
            tracing::warn!(
                stream = stream.key(),
                read = %self.at[stream],
                newest = %newest,
                "the stream's ids went back, as after a fail-over or a loss of data; reading on from its last entry"
            );
            metrics::position_reset(stream);
            self.restart(stream, newest, added(info));
            return;
        }
        let Some(info) = info else { return };
        // What comes first in an empty stream is still to be added.
        let first = info.first_id.unwrap_or_else(|| info.last_generated_id.next());
        if first <= self.at[stream] {
            return;
        }
        let before_first = info.entries_added.map(|added| added.saturating_sub(info.length));
        let held_before_first = held.iter().filter(|entry| entry.id < first).count() as u64;
        let before_first = before_first.map(|count| count.saturating_sub(held_before_first));
        let lost = match (before_first, self.added[stream.index()]) {
            (Some(before_first), Some(added)) => before_first.saturating_sub(added),
            _ => 0,
        };
        self.added[stream.index()] = before_first;
        if lost > 0 {
            tracing::error!(
                stream = stream.key(),
                lost,
                "entries were trimmed before they were read; all clients are sent away so that they learn of the gap"
            );
            metrics::lost(stream, lost);
            let next = held.first().map_or(first, |held| held.id.min(first));
            self.restart(stream, before(next), before_first);
            self.feed.close_all(CloseReason::EventsLost);
        }
    }

    pub(super) fn restart(&mut self, stream: Stream, at: EntryId, added: Option<u64>) {
        self.at[stream] = at;
        self.added[stream.index()] = added;
        self.feed.restart(stream, at);
    }
}
