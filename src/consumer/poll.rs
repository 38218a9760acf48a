//! The task that reads for a subscription.

use std::{pin::Pin, sync::Arc, time::Duration};

use metrics::counter;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{Delivery, subscription::Shared};
use crate::{
    backoff::Backoff,
    event::decode::{Decoded, decode},
    stream::{BlockingConnection, Connection, Entry, EntryId, StreamError},
};

/// How long one read waits for news.
const BLOCK: Duration = Duration::from_secs(5);

/// How many entries are taken over at once.
const TAKE_OVER_BATCH: usize = 100;

/// How long after being told to end a read is told again: it may not have reached the server yet.
const UNBLOCK_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Poller {
    pub shared: Arc<Shared>,
    pub batches: mpsc::Sender<Vec<Delivery>>,
}

impl Poller {
    /// Reads until the subscription is closed; goes on through failures of Redis.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        let mut is_down = false;
        while !self.shared.stop.is_cancelled() {
            let Err(error) = self.session(&mut backoff, &mut is_down).await else { return };
            if !std::mem::replace(&mut is_down, true) {
                warn!(group = self.shared.config.group, %error, "reading stopped; it goes on as soon as redis answers");
            }
            counter!("synapse_consumer_lost_connections_total").increment(1);
            let _ = self.shared.stop.run_until_cancelled(tokio::time::sleep(backoff.next_delay())).await;
        }
    }

    async fn session(&self, backoff: &mut Backoff, is_down: &mut bool) -> Result<(), StreamError> {
        let shared = &self.shared;
        let connection = Connection::open(&shared.settings).await?;
        let mut reader = BlockingConnection::open(&shared.settings).await?;
        let client = reader.client_id().await?;
        shared.create_groups(&connection).await?;
        self.recover(&mut reader).await?;
        let mut take_over_at = Instant::now();
        loop {
            if Instant::now() >= take_over_at {
                self.take_over(&connection).await?;
                take_over_at = Instant::now() + shared.config.min_idle / 2;
            }
            // Room first: what is read must have a place to go.
            let Some(Ok(room)) = shared.stop.run_until_cancelled(self.batches.reserve()).await else {
                return Ok(());
            };
            let block = BLOCK.min(take_over_at.saturating_duration_since(Instant::now()));
            let read = reader.read_group(shared.member(), &shared.config.streams, shared.config.batch, block);
            tokio::pin!(read);
            let read = tokio::select! {
                read = &mut read => read?,
                () = shared.stop.cancelled() => end_read(&connection, client, read).await?,
            };
            backoff.reset();
            if std::mem::take(is_down) {
                info!(group = shared.config.group, "reading again");
            }
            let batch = self.deliveries(read, 1);
            if !batch.is_empty() {
                room.send(batch);
            }
        }
    }

    /// Entries that the server has given to us but that never arrived: a connection broke under the reply.
    async fn recover(&self, reader: &mut BlockingConnection) -> Result<(), StreamError> {
        for stream in &self.shared.config.streams {
            let mut after = EntryId::MIN;
            loop {
                let pending = reader
                    .read_pending(self.shared.member(), stream, after, self.shared.config.batch)
                    .await?;
                let Some(last) = pending.last() else { break };
                after = last.id;
                self.hand_out(vec![(stream.clone(), pending)], 2).await;
            }
        }
        Ok(())
    }

    /// Entries of consumers that have not been heard of for `min_idle`.
    async fn take_over(&self, connection: &Connection) -> Result<(), StreamError> {
        let shared = &self.shared;
        for stream in &shared.config.streams {
            let mut cursor = EntryId::MIN;
            loop {
                let min_idle = shared.config.min_idle;
                let taken =
                    connection.take_over(stream, shared.member(), min_idle, cursor, TAKE_OVER_BATCH).await?;
                if !taken.lost.is_empty() {
                    count_lost(stream, taken.lost.len());
                }
                self.hand_out(vec![(stream.clone(), taken.entries)], 2).await;
                cursor = taken.cursor;
                if cursor == EntryId::MIN || shared.stop.is_cancelled() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn hand_out(&self, read: Vec<(String, Vec<Entry>)>, deliveries: u32) {
        let batch = self.deliveries(read, deliveries);
        if !batch.is_empty() {
            let _ = self.shared.stop.run_until_cancelled(self.batches.send(batch)).await;
        }
    }

    /// Takes entries in hand and decodes them; settles those that hold no event.
    fn deliveries(&self, read: Vec<(String, Vec<Entry>)>, deliveries: u32) -> Vec<Delivery> {
        let mut batch = Vec::new();
        for (name, entries) in read {
            let Some(stream) = self.shared.stream(&name) else { continue };
            for entry in entries {
                if self.shared.in_hand.insert(&stream, entry.id) {
                    batch.extend(self.shared.delivery(&stream, &entry, deliveries));
                }
            }
        }
        batch
    }
}

/// Lets a blocking read end in order: what it may have been given is given back.
async fn end_read<T>(
    connection: &Connection,
    client: i64,
    mut read: Pin<&mut impl Future<Output = Result<T, StreamError>>>,
) -> Result<T, StreamError> {
    loop {
        connection.unblock(client).await?;
        if let Ok(read) = timeout(UNBLOCK_AGAIN, read.as_mut()).await {
            return read;
        }
    }
}

impl Shared {
    /// The event of an entry in hand; an entry without one is settled here and now.
    pub(super) fn delivery(&self, stream: &Arc<str>, entry: &Entry, deliveries: u32) -> Option<Delivery> {
        if entry.fields().len() == 0 {
            // Trimmed away while it was pending.
            count_lost(stream, 1);
            self.desk.ack(stream, entry.id);
            return None;
        }
        match decode(stream, entry.fields()) {
            Ok(Decoded::Event(event)) => {
                Some(Delivery { stream: stream.clone(), id: entry.id, deliveries, event })
            }
            Ok(Decoded::Nameless) => {
                counter!("synapse_consumer_nameless_total", "stream" => stream.to_string()).increment(1);
                self.desk.ack(stream, entry.id);
                None
            }
            Err(error) => {
                self.desk.bury(stream, entry.id, "undecodable", &error.to_string(), deliveries);
                None
            }
        }
    }
}

fn count_lost(stream: &str, count: usize) {
    counter!("synapse_consumer_lost_total", "stream" => stream.to_owned()).increment(count as u64);
    warn!(
        stream,
        count,
        "entries were trimmed away before they were handled; raise the stream's maxlen or its retention"
    );
}
