//! Coming back without a gap: from where a client left to the present.
//!
//! [`Resume::begin`] stops handing events to the client and finds out where it stands and whether
//! anything in between is gone; [`Resume::catch_up`] sends it what it has missed, from memory or
//! from Redis, as fast as it reads and no faster, until it stands where everyone does.

use std::sync::Arc;

use synapse_realtime::close::CloseReason;
use synapse_rs::{
    EntryId, Filter,
    stream::{Entry, StreamError, StreamInfo},
};
use tokio::sync::Semaphore;

use crate::{
    client::Client,
    feed::{Feed, Step},
    history::before_last,
    metrics,
    position::{After, Position},
    redis_access::RedisAccess,
    sealed::{Sealed, Sealer},
    streams::{Stream, StreamSet},
    subscriptions::Subscriptions,
};

/// Entries read from Redis at a time, of each stream: few at first, as each may have a megabyte, …
const FIRST_PAGE: usize = 8;
/// … and more where a page is smaller than this, …
const SMALL_PAGE_BYTES: usize = 128 << 10;
/// … up to so many.
const LARGEST_PAGE: usize = 256;
/// Bytes written before the client must have read them, where its outbox holds as much.
const CHUNK: usize = 256 << 10;

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Of these streams.
    pub streams: StreamSet,
    /// Only such events.
    pub condition: Option<Filter>,
    /// First what has come since then.
    pub after: Option<After>,
    /// First as many of the latest.
    pub last: Option<usize>,
}

/// Where a client stands when it begins to catch up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// What comes follows this.
    pub position: Position,
    /// Nothing that it would have got since is gone.
    pub recovered: bool,
}

/// Brings a client to the present.
#[derive(Clone, Debug)]
pub struct Resume {
    /// Where events come from as they come, and from memory.
    pub feed: Arc<Feed>,
    /// Where older ones come from.
    pub redis: Arc<RedisAccess>,
    /// How they are decoded and encoded.
    pub sealer: Sealer,
    /// Whose turn it is to look back with a condition.
    pub(crate) looking: Arc<Semaphore>,
}

impl Resume {
    /// Changes what a client asks for and finds out from where it is to catch up.
    pub async fn begin(&self, client: &Client, request: Request) -> Result<Begun, StreamError> {
        let held = self.feed.hold(client);
        let mut progress = self.feed.progress();
        // The feed is dropped only when nobody holds it any more, and we do.
        let _ = progress.wait_for(|progress| progress.sequence >= held).await;
        let condition = self.feed.filters.share(request.condition);
        client.change(|subscriptions| subscriptions.subscribe(request.streams, condition));
        let mut cursor = client.cursor().unwrap_or_default();
        let mut recovered = true;
        match (request.after, request.last) {
            (Some(after), _) => {
                for stream in request.streams.iter() {
                    let wish = match after {
                        After::Position(position) => position[stream],
                        After::Entry(id) => id,
                    };
                    let (start, whole) = self.start(stream, wish).await?;
                    cursor[stream] = start;
                    recovered &= whole;
                }
                metrics::recovered(recovered);
            }
            (None, Some(last)) => {
                let before = self.before_last(last, request.streams, client).await;
                request.streams.iter().for_each(|stream| cursor[stream] = before[stream]);
            }
            (None, None) => {}
        }
        client.set_cursor(cursor);
        Ok(Begun { position: cursor, recovered })
    }

    /// Gives a client that comes back what it had asked for, and finds out from where it is to catch up.
    pub(crate) async fn begin_again(
        &self,
        client: &Client,
        subscriptions: Subscriptions,
        position: Position,
    ) -> Result<Begun, StreamError> {
        let held = self.feed.hold(client);
        let mut progress = self.feed.progress();
        // The feed is dropped only when nobody holds it any more, and we do.
        let _ = progress.wait_for(|progress| progress.sequence >= held).await;
        let streams = subscriptions.streams();
        client.change(|own| *own = subscriptions);
        let mut cursor = client.cursor().unwrap_or_default();
        let mut recovered = true;
        for stream in streams.iter() {
            let (start, whole) = self.start(stream, position[stream]).await?;
            cursor[stream] = start;
            recovered &= whole;
        }
        metrics::recovered(recovered);
        client.set_cursor(cursor);
        Ok(Begun { position: cursor, recovered })
    }

    /// The cursor before the last `count` events of these streams that a client wants. With a condition one client looks at a
    /// time, so that however many ask, events go on.
    async fn before_last(&self, count: usize, wanted: StreamSet, client: &Client) -> Position {
        let (events, floor, head) = self.feed.past(wanted);
        let _turn = if client.has_conditions() { self.looking.acquire().await.ok() } else { None };
        before_last(count, &events, floor, head, |event| client.wants(event)).await
    }

    /// From where a client that has been at `wish` can be brought on, and whether all since is there.
    async fn start(&self, stream: Stream, wish: EntryId) -> Result<(EntryId, bool), StreamError> {
        let (floor, head) = self.feed.extent();
        if wish >= floor[stream] && wish <= head[stream] {
            return Ok((wish, true));
        }
        let info = self.redis.extent(stream.key()).await?;
        let last = info.as_ref().map_or(EntryId::MIN, |info| info.last_generated_id);
        if wish > last {
            // Of another server, or of a time that Redis has forgotten.
            return Ok((head[stream], false));
        }
        Ok((wish, !is_gone(info.as_ref(), wish)))
    }

    /// Sends a client what it has missed. `whole` is what it was told: nothing is missing.
    pub async fn catch_up(self, client: Arc<Client>, whole: bool) -> Result<(), CloseReason> {
        let mut progress = self.feed.progress();
        let mut page = FIRST_PAGE;
        while let Some(mut cursor) = client.cursor() {
            progress.mark_unchanged();
            match self.feed.next_step(&client, &cursor, client.wanted()) {
                Step::Done => break,
                // The feed is dropped only when nobody holds it any more, and we do.
                Step::Wait => drop(progress.changed().await),
                Step::Take(events) => {
                    let mut chunk = Chunk::new(&client);
                    for event in events {
                        cursor[event.stream] = event.id;
                        chunk.push(&event, cursor).await;
                    }
                    chunk.finish(cursor).await;
                    // A condition that nothing fulfils would otherwise walk all of the history in one go.
                    tokio::task::yield_now().await;
                }
                Step::ReadOlder => {
                    if let Err(error) = self.read_older(&client, cursor, whole, &mut page).await? {
                        tracing::debug!(%error, "a client can't be brought up to date");
                        return Err(CloseReason::Unavailable);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends one page of what is older than the history.
    async fn read_older(
        &self,
        client: &Client,
        cursor: Position,
        whole: bool,
        count: &mut usize,
    ) -> Result<Result<(), StreamError>, CloseReason> {
        let wanted = client.wanted();
        let (floor, head) = self.feed.extent();
        let old: StreamSet = wanted.iter().filter(|stream| cursor[*stream] < floor[*stream]).collect();
        let page = match self.page(cursor, wanted, &floor, &head, *count).await {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let bytes: usize = page.entries.iter().map(|(_, entry)| entry.size_bytes()).sum();
        *count = if bytes < SMALL_PAGE_BYTES { (*count * 2).min(LARGEST_PAGE) } else { FIRST_PAGE };
        let mut at = cursor;
        let mut chunk = Chunk::new(client);
        for (stream, entry) in &page.entries {
            at[*stream] = entry.id;
            // What can't be decoded was counted when it was read as it came.
            if let Ok(Some(live)) = self.sealer.seal(*stream, entry, 0, at) {
                chunk.push(&live.sealed, at).await;
            }
        }
        for stream in wanted.iter() {
            at[stream] = at[stream].max(page.until.min(head[stream]));
        }
        if whole {
            for stream in old.iter() {
                match self.redis.extent(stream.key()).await {
                    Ok(info) if is_gone(info.as_ref(), cursor[stream]) => {
                        return Err(CloseReason::EventsLost);
                    }
                    Ok(_) => {}
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        chunk.finish(at).await;
        Ok(Ok(()))
    }

    /// Reads on from the cursor, at most to where the history begins.
    async fn page(
        &self,
        cursor: Position,
        wanted: StreamSet,
        floor: &Position,
        head: &Position,
        count: usize,
    ) -> Result<Page, StreamError> {
        let old = wanted.iter().filter(|stream| cursor[*stream] < floor[*stream]);
        let mut until = old.map(|stream| floor[stream]).max().unwrap_or_default();
        let mut entries = Vec::new();
        for stream in wanted.iter() {
            let to = until.min(head[stream]);
            if cursor[stream] >= to {
                continue;
            }
            let page = self.redis.range(stream.key(), cursor[stream].next(), to, count).await?;
            if let Some(last) = page.last().filter(|_| page.len() == count) {
                until = until.min(last.id);
            }
            entries.extend(page.into_iter().map(|entry| (stream, entry)));
        }
        entries.retain(|(_, entry)| entry.id <= until);
        entries.sort_by_key(|(stream, entry)| (entry.id, *stream));
        Ok(Page { entries, until })
    }
}

/// Entries of several streams in the order of their ids.
struct Page {
    entries: Vec<(Stream, Entry)>,
    /// Nothing up to here is missing.
    until: EntryId,
}

/// Whether an entry after this one was in the stream and is no longer.
fn is_gone(info: Option<&StreamInfo>, after: EntryId) -> bool {
    info.map_or(after > EntryId::MIN, |info| info.has_lost_since(after))
}

/// Frames for one client, sent in portions that it must have read before the next.
struct Chunk<'a> {
    client: &'a Client,
    frames: Vec<u8>,
    count: usize,
}

impl<'a> Chunk<'a> {
    fn new(client: &'a Client) -> Self {
        Self { client, frames: Vec::new(), count: 0 }
    }

    /// Adds an event, if the client wants it. The client's cursor moves with what is sent.
    async fn push(&mut self, event: &Sealed, cursor: Position) {
        if self.client.wants(event) {
            self.client.protocol.push_event(&mut self.frames, event, &cursor);
            self.count += 1;
            if self.frames.len() >= CHUNK.min(self.client.link.limit() / 2) {
                self.finish(cursor).await;
            }
        }
    }

    /// Sends what has gathered. There is no wait between sending and moving the cursor, so that a
    /// client that asks for something else meanwhile gets nothing twice.
    async fn finish(&mut self, cursor: Position) {
        if !self.frames.is_empty() {
            metrics::sent(self.client.protocol, self.count, self.frames.len());
            self.client.link.send(std::mem::take(&mut self.frames));
            self.count = 0;
        }
        self.client.set_cursor(cursor);
        self.client.link.drained().await;
    }
}
