//! Reads every stream once for the whole process.
//!
//! One connection of its own, one blocking read over all streams, always from concrete ids: `$`
//! would miss what comes between two reads. Nothing here waits for a client.

use std::{sync::Arc, time::Duration};

use synapse_rs::{
    EntryId, RedisSettings,
    backoff::Backoff,
    shutdown::Shutdown,
    stream::{BlockingConnection, Connection, Entry, StreamError, StreamInfo, watch::Watched},
};
use tokio::sync::watch;

use crate::{
    feed::Feed,
    history::Capacity,
    lag::Standing,
    metrics,
    position::Position,
    sealed::{Live, Sealer},
    settings::Settings,
    streams::{COUNT, Stream, StreamSet},
};

mod complaints;
mod gaps;

use complaints::Complaints;

/// Entries read at a time, of each stream.
const COUNT_PER_READ: usize = 512;
/// How long a read waits for entries. A connection that is silent for longer is taken for dead.
const BLOCK: Duration = Duration::from_secs(5);
/// Bytes of payload handed out together.
const BATCH_BYTES: usize = 256 << 10;
/// Entries read at a time when the history is loaded.
const LOAD_PAGE: usize = 500;
/// How long a key that is no stream is left alone.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Reads streams into a [`Feed`].
#[derive(Debug)]
pub struct Reader {
    redis: RedisSettings,
    feed: Arc<Feed>,
    sealer: Sealer,
    /// How much of the past it loads.
    capacity: Capacity,
    /// From one delivery to the next, at least.
    interval: Duration,
    /// How far each stream has been read.
    at: Position,
    /// How many entries had been appended to each stream up to there, if the server counts them.
    added: [Option<u64>; COUNT],
    is_loaded: watch::Sender<bool>,
    standing: watch::Sender<Standing>,
    /// When it was last looked whether anything was trimmed of all streams.
    looked_at: tokio::time::Instant,
    backoff: Backoff,
    complaints: Complaints,
}

/// Why a connection is given up.
enum SessionEnd {
    /// The process leaves.
    Shutdown,
    /// A key that was no stream may be one by now.
    LookAgain,
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new(redis: RedisSettings, feed: Arc<Feed>, sealer: Sealer, settings: &Settings) -> Self {
        Self {
            redis,
            feed,
            sealer,
            capacity: settings.history,
            interval: settings.delivery_interval,
            at: Position::default(),
            added: [None; COUNT],
            is_loaded: watch::Sender::new(false),
            standing: watch::Sender::default(),
            looked_at: tokio::time::Instant::now(),
            backoff: Backoff::default(),
            complaints: Complaints::default(),
        }
    }

    /// Becomes true when the history has been loaded.
    pub fn is_loaded(&self) -> watch::Receiver<bool> {
        self.is_loaded.subscribe()
    }

    /// How far was read.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Reads until told to stop.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let ended = tokio::select! {
                () = shutdown.cancelled() => return,
                ended = self.session(&shutdown) => ended,
            };
            let error = match ended {
                Ok(SessionEnd::Shutdown) => return,
                Ok(SessionEnd::LookAgain) => continue,
                Err(error) => error,
            };
            metrics::reader_error();
            if self.backoff.attempts() == 0 {
                tracing::warn!(%error, "the streams can't be read; trying again until they can");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.backoff.next_delay()) => {}
            }
        }
    }

    /// Connects and reads until something ends it.
    async fn session(&mut self, shutdown: &Shutdown) -> Result<SessionEnd, StreamError> {
        let connection = Connection::open(&self.redis).await?;
        let readable = self.take_stock(&connection).await?;
        let mut blocking = BlockingConnection::open(&self.redis).await?;
        let look_again = tokio::time::Instant::now() + LOOK_AGAIN;
        loop {
            let positions: Vec<_> =
                readable.iter().map(|stream| (stream.key().to_owned(), self.at[stream])).collect();
            let read = tokio::select! {
                () = shutdown.cancelled() => return Ok(SessionEnd::Shutdown),
                read = blocking.read_watching(&positions, COUNT_PER_READ, BLOCK) => read?,
            };
            self.look_for_gaps(&connection, &read).await?;
            if self.backoff.attempts() > 0 {
                tracing::info!("the streams are read again");
                self.backoff.reset();
            }
            let next_at = tokio::time::Instant::now() + self.interval;
            let is_behind = read.iter().any(|watched| watched.entries.len() >= COUNT_PER_READ);
            let has_read = read.iter().any(|watched| !watched.entries.is_empty());
            self.take(read);
            if has_read && !is_behind && !self.interval.is_zero() {
                shutdown.run_until_cancelled(tokio::time::sleep_until(next_at)).await;
            }
            if readable != StreamSet::ALL && tokio::time::Instant::now() > look_again {
                return Ok(SessionEnd::LookAgain);
            }
        }
    }

    /// Compares each stream with what was read of it; the first time, loads its past. The streams that can be read.
    async fn take_stock(&mut self, connection: &Connection) -> Result<StreamSet, StreamError> {
        let mut readable = StreamSet::default();
        let mut extents = Vec::new();
        for stream in Stream::all() {
            match connection.extent(stream.key()).await {
                Ok(info) => {
                    readable.insert(stream);
                    extents.push((stream, info));
                }
                Err(error) if error.code() == Some("WRONGTYPE") => {
                    tracing::error!(
                        stream = stream.key(),
                        "this key holds something else than a stream; delete or rename it"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        if *self.is_loaded.borrow() {
            for (stream, info) in extents {
                self.compare(stream, info.as_ref(), &[]);
            }
        } else {
            self.load(connection, &extents).await?;
            self.is_loaded.send_replace(true);
            self.backoff.reset();
        }
        Ok(readable)
    }

    // === at the start ===

    /// Loads the recent past of all streams, as much as the history holds.
    async fn load(
        &mut self,
        connection: &Connection,
        extents: &[(Stream, Option<StreamInfo>)],
    ) -> Result<(), StreamError> {
        let mut past = Vec::new();
        let mut begin = Position::default();
        for (stream, info) in extents {
            let last = info.as_ref().map_or(EntryId::MIN, |info| info.last_generated_id);
            let entries = self.load_stream(connection, *stream, last).await?;
            begin[*stream] = entries.last().map_or(last, |oldest| before(oldest.id));
            past.extend(entries.into_iter().map(|entry| (*stream, entry)));
            self.added[stream.index()] = added(info.as_ref());
        }
        for stream in Stream::all() {
            self.restart(stream, begin[stream], self.added[stream.index()]);
        }
        past.sort_by_key(|(stream, entry)| (entry.id, *stream));
        self.hand_out(past);
        for (stream, info) in extents {
            // The last entry appended may have been deleted since.
            let last = info.as_ref().map_or(EntryId::MIN, |info| info.last_generated_id);
            self.at[*stream] = self.at[*stream].max(last);
        }
        self.feed.publish(&[], self.at);
        Ok(())
    }

    /// The newest entries of a stream, newest first.
    async fn load_stream(
        &self,
        connection: &Connection,
        stream: Stream,
        last: EntryId,
    ) -> Result<Vec<Entry>, StreamError> {
        let (mut entries, mut bytes) = (Vec::<Entry>::new(), 0);
        let mut from = last;
        while entries.len() < self.capacity.events && bytes < self.capacity.bytes && from > EntryId::MIN {
            let count = LOAD_PAGE.min(self.capacity.events - entries.len());
            let page = connection.rev_range(stream.key(), from, EntryId::MIN, count).await?;
            let is_last = page.len() < count;
            bytes += page.iter().map(Entry::size_bytes).sum::<usize>();
            from = page.last().map_or(EntryId::MIN, |oldest| before(oldest.id));
            entries.extend(page);
            if is_last {
                break;
            }
        }
        Ok(entries)
    }

    // === as they come ===

    fn take(&mut self, read: Vec<Watched>) {
        let mut entries = Vec::new();
        for Watched { stream, entries: read, .. } in read {
            let Some(stream) = Stream::of_key(&stream) else { continue };
            if let Some(added) = &mut self.added[stream.index()] {
                *added += read.len() as u64;
            }
            entries.extend(read.into_iter().map(|entry| (stream, entry)));
        }
        // Each stream's own entries are in order already.
        entries.sort_by_key(|(stream, entry)| (entry.id, *stream));
        self.hand_out(entries);
    }

    /// Decodes entries and hands them out in portions.
    fn hand_out(&mut self, entries: Vec<(Stream, Entry)>) {
        let mut events = Vec::new();
        let mut bytes = 0;
        let mut sequence = self.feed.next_sequence();
        let mut counts = [0; COUNT];
        for (stream, entry) in entries {
            self.at[stream] = entry.id;
            let Some(event) = self.seal(stream, &entry, sequence) else { continue };
            sequence += 1;
            counts[stream.index()] += 1;
            bytes += event.sealed.cost();
            events.push(event);
            if bytes >= BATCH_BYTES {
                self.feed.publish(&events, self.at);
                events.clear();
                bytes = 0;
            }
        }
        self.feed.publish(&events, self.at);
        for stream in Stream::all() {
            metrics::read(stream, counts[stream.index()]);
            if counts[stream.index()] > 0 {
                metrics::behind(stream, self.at[stream].ms);
            }
        }
        self.standing.send_replace(Standing { at: self.at, added: self.added });
    }

    fn seal(&mut self, stream: Stream, entry: &Entry, sequence: u64) -> Option<Live> {
        match self.sealer.seal(stream, entry, sequence, self.at) {
            Ok(Some(event)) => Some(event),
            Ok(None) => {
                metrics::skipped(stream, "no_event");
                None
            }
            Err(error) => {
                metrics::skipped(stream, "invalid");
                self.complaints.once(stream, entry.id, &error);
                None
            }
        }
    }
}

/// How many entries were ever appended, if the server counts them: none where there is no stream.
fn added(info: Option<&StreamInfo>) -> Option<u64> {
    info.map_or(Some(0), |info| info.entries_added)
}

/// The greatest id less than this one; itself for the least.
fn before(id: EntryId) -> EntryId {
    match (id.ms.checked_sub(1), id.seq.checked_sub(1)) {
        (_, Some(seq)) => EntryId::new(id.ms, seq),
        (Some(ms), None) => EntryId::new(ms, u64::MAX),
        (None, None) => id,
    }
}

#[cfg(test)]
mod tests;
