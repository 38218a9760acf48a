//! The task that reads.

use std::{
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join;
use metrics::counter;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::{Kind, dispatch::Place, join::join_group, reclaim::take_over, shared::Shared};
use crate::{
    backoff::Backoff,
    stream::{
        BlockingConnection, Connection, Entry, EntryId, StreamError,
        claim::{ALONE, Redelivered},
    },
};

/// How long one read waits for news.
const BLOCK: Duration = Duration::from_secs(5);

/// How long after being told to end a read is told again: it may not have reached the server yet.
const UNBLOCK_AGAIN: Duration = Duration::from_millis(20);

/// How many entries the first read of a session asks for: nobody knows how large they are.
const FIRST_READ: usize = 16;

/// What was read of each stream.
type Read = Vec<(String, Vec<Entry>)>;

pub(super) struct Poller {
    pub shared: Arc<Shared>,
    /// By the streams' numbers: whether we have been in its group, and why we are not.
    pub members: Vec<Membership>,
    pub is_first_session: bool,
    /// Of a reader without a group: up to where each stream was read.
    pub positions: Vec<(String, EntryId)>,
}

/// What became of joining the group of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Membership {
    pub was_joined: bool,
    /// The server refuses, for a reason that does not pass by itself: another type of key, no permission.
    pub refused: Option<String>,
}

/// Why reading ended without an error.
enum SessionEnd {
    Stopped,
    /// A stream that could not be read may be readable now.
    TryRefused,
}

impl Poller {
    /// Reads until the subscription is closed; goes on through failures of Redis.
    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        let mut backoff = Backoff::default();
        let mut is_down = false;
        loop {
            let error = match self.session(&mut backoff, &mut is_down).await {
                Ok(SessionEnd::Stopped) => return,
                Ok(SessionEnd::TryRefused) => continue,
                Err(_) if shared.stop.is_cancelled() => return,
                Err(error) => error,
            };
            if error.code() != Some("NOGROUP") {
                if !std::mem::replace(&mut is_down, true) {
                    warn!(group = shared.config.group, %error, "reading stopped; it goes on as soon as redis answers");
                }
                shared.lost_connections.fetch_add(1, Ordering::Relaxed);
                counter!("synapse_consumer_lost_connections_total").increment(1);
            }
            let _ = shared.stop.run_until_cancelled(sleep(backoff.next_delay())).await;
        }
    }

    async fn session(
        &mut self,
        backoff: &mut Backoff,
        is_down: &mut bool,
    ) -> Result<SessionEnd, StreamError> {
        let shared = self.shared.clone();
        let mut reader = BlockingConnection::open(shared.redis.settings()).await?;
        let client = reader.client_id().await?;
        let streams = match shared.config.kind {
            Kind::Group => self.enter().await?,
            Kind::Broadcast => {
                self.rewind().await?;
                shared.config.streams.clone()
            }
        };
        let try_refused_at = (streams.len() < shared.streams.len()).then(|| Instant::now() + BLOCK);
        let mut count = FIRST_READ;
        let mut arrived = Vec::new();
        loop {
            if try_refused_at.is_some_and(|at| at <= Instant::now()) {
                shared.bring(arrived);
                return Ok(SessionEnd::TryRefused);
            }
            // Room first: what is read must have a place to go.
            let room = match shared.room() {
                0 => {
                    shared.bring(std::mem::take(&mut arrived));
                    shared.stop.run_until_cancelled(room(&shared)).await
                }
                room => Some(room).filter(|_| !shared.stop.is_cancelled()),
            };
            let Some(room) = room else { return Ok(SessionEnd::Stopped) };
            if streams.is_empty() {
                let _ = shared.stop.run_until_cancelled(sleep(BLOCK)).await;
                continue;
            }
            // Redis answers the next question while what came last is decoded.
            let decode = async { shared.bring(std::mem::take(&mut arrived)) };
            let (read, ()) = join(self.read(&mut reader, client, &streams, room.min(count)), decode).await;
            let read = read?;
            backoff.reset();
            if std::mem::take(is_down) {
                info!(group = shared.config.group, "reading again");
            }
            if let Some(bytes) = mean_bytes(&read) {
                shared.entry_bytes.store(bytes, Ordering::Relaxed);
                count = count.saturating_mul(2).min(shared.config.batch);
            }
            arrived = self.admit_all(read);
        }
    }

    async fn read(
        &self,
        reader: &mut BlockingConnection,
        client: i64,
        streams: &[String],
        count: usize,
    ) -> Result<Read, StreamError> {
        let shared = &self.shared;
        let read = async {
            match shared.config.kind {
                Kind::Group => reader.read_group(shared.member(), streams, count, BLOCK).await,
                Kind::Broadcast => reader.read(&self.positions, count, BLOCK).await,
            }
        };
        let mut read = pin!(read);
        tokio::select! {
            read = &mut read => read,
            () = shared.stop.cancelled() => end_read(shared, client, read).await,
        }
    }

    /// Joins the groups, and brings in what is ours already or nobody's any more; gives the streams that can be read.
    async fn enter(&mut self) -> Result<Vec<String>, StreamError> {
        let shared = self.shared.clone();
        let mut streams = Vec::with_capacity(shared.streams.len());
        for (number, member) in self.members.iter_mut().enumerate() {
            let name = &shared.config.streams[number];
            match join_group(&shared, number, member.was_joined).await {
                Ok(()) => {
                    if member.refused.take().is_some() {
                        info!(stream = name, group = shared.config.group, "the stream can be read again");
                    }
                    member.was_joined = true;
                    streams.push(name.clone());
                }
                Err(StreamError::Refused { reason, .. }) if !crate::stream::reply::is_waited_out(&reason) => {
                    if member.refused.as_ref() != Some(&reason) {
                        warn!(
                            stream = name,
                            group = shared.config.group,
                            reason,
                            "the stream can't be read; the others go on"
                        );
                        member.refused = Some(reason);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.recover(&streams).await?;
        // After an outage the others are to renew what they have before anybody looks for what was left behind.
        if std::mem::replace(&mut self.is_first_session, false) {
            take_over(&shared, &shared.redis).await?;
        }
        Ok(streams)
    }

    /// Entries that the server has given to us but that never arrived: a connection broke under the reply.
    async fn recover(&self, streams: &[String]) -> Result<(), StreamError> {
        let shared = &self.shared;
        for (stream, name) in shared
            .streams
            .iter()
            .enumerate()
            .filter(|(_, stream)| streams.iter().any(|name| **name == *stream.name))
        {
            let mut after = EntryId::MIN;
            loop {
                let Some(room) = shared.stop.run_until_cancelled(room(shared)).await else { return Ok(()) };
                let pending = async |connection: Connection| {
                    connection.pending_for(&name.name, shared.member(), after, room).await
                };
                let pending = shared.redis.ask(pending).await?;
                let Some((last, _)) = pending.last() else { break };
                after = *last;
                self.recover_page(stream, pending).await?;
            }
        }
        Ok(())
    }

    async fn recover_page(&self, stream: usize, pending: Vec<(EntryId, u32)>) -> Result<(), StreamError> {
        let shared = &self.shared;
        let place = |id| Place { stream, id };
        let limit = shared.config.max_deliveries;
        let missing: Vec<_> = shared.with(|dispatcher| {
            let missing = pending.into_iter().filter(|(id, _)| !dispatcher.holds(place(*id)));
            let (missing, exhausted): (Vec<_>, Vec<_>) = missing.partition(|(_, count)| *count < limit);
            for (id, count) in exhausted {
                // We live: it was not tried alone by us, even if it is marked so.
                let count = count.checked_sub(ALONE + 1).unwrap_or(count);
                dispatcher.admit_exhausted(place(id), count, Instant::now());
            }
            missing
        });
        if missing.is_empty() {
            return Ok(());
        }
        let again = async |connection: Connection| {
            connection.redeliver(&shared.streams[stream].name, shared.member(), &missing).await
        };
        let found = shared.redis.ask(again).await?;
        let mut arrived = Vec::new();
        for ((id, deliveries), found) in missing.into_iter().zip(found) {
            match found {
                Redelivered::Entry(entry)
                    if shared.with(|dispatcher| dispatcher.admit(place(id), deliveries)) =>
                {
                    arrived.push((place(id), deliveries, entry));
                }
                Redelivered::Lost => shared.count_lost(stream, 1),
                Redelivered::Entry(_) | Redelivered::NotOurs => {}
            }
        }
        shared.bring(arrived);
        Ok(())
    }

    /// A stream that ends before our place would stay silent: it is read from its end on.
    async fn rewind(&mut self) -> Result<(), StreamError> {
        for (stream, position) in &mut self.positions {
            let last = async |connection: Connection| connection.last_id(stream).await;
            let end = self.shared.redis.ask(last).await?;
            if *position > end {
                warn!(stream = stream, %position, %end, "the stream went back; reading on from its end");
                counter!("synapse_consumer_rewinds_total", "stream" => stream.clone()).increment(1);
                *position = end;
            }
        }
        Ok(())
    }

    fn admit_all(&mut self, read: Read) -> Vec<(Place, u32, Entry)> {
        let mut arrived = Vec::new();
        for (name, entries) in read {
            if let Some(last) = entries.last()
                && let Some((_, position)) = self.positions.iter_mut().find(|(stream, _)| *stream == name)
            {
                *position = last.id;
            }
            arrived.extend(self.admit(&name, entries));
        }
        arrived
    }

    /// Takes in hand what comes for the first time, as far as we know.
    fn admit(&self, name: &str, entries: Vec<Entry>) -> Vec<(Place, u32, Entry)> {
        let Some(stream) = self.shared.number(name) else { return Vec::new() };
        let admit = |entry: Entry| (Place { stream, id: entry.id }, 1, entry);
        self.shared.with(|dispatcher| {
            let entries = entries.into_iter().map(admit);
            entries.filter(|(place, deliveries, _)| dispatcher.admit(*place, *deliveries)).collect()
        })
    }
}

/// Waits for room; how many entries may be read then.
async fn room(shared: &Shared) -> usize {
    loop {
        let news = shared.signals.reader.notified();
        match shared.room() {
            0 => news.await,
            room => return room,
        }
    }
}

fn mean_bytes(read: &Read) -> Option<usize> {
    let entries = read.iter().flat_map(|(_, entries)| entries);
    let (count, bytes) =
        entries.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.size_bytes()));
    (count > 0).then(|| bytes / count)
}

/// Lets a blocking read end in order: what it may have been given is given back.
async fn end_read(
    shared: &Shared,
    client: i64,
    mut read: Pin<&mut impl Future<Output = Result<Read, StreamError>>>,
) -> Result<Read, StreamError> {
    loop {
        shared.redis.ask(async |connection: Connection| connection.unblock(client).await).await?;
        if let Ok(read) = timeout(UNBLOCK_AGAIN, read.as_mut()).await {
            return read;
        }
    }
}
