//! The task that tells Redis what became of entries.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
    time::Duration,
};

use metrics::counter;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::warn;

use super::{Delivery, subscription::Shared};
use crate::{
    backoff::Backoff,
    stream::{Connection, EntryId, StreamError, dead_letter::DeadLetter},
};

/// Acknowledgements gather for so long before they are sent, unless there are many.
const GATHER: Duration = Duration::from_millis(5);

/// So many are sent without gathering more.
const MANY: usize = 500;

/// How many ids one command names at most.
const IDS_PER_COMMAND: usize = 1_000;

/// How long closing may take to tell Redis what is left to tell.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of an entry in hand.
#[derive(Debug)]
enum Settlement {
    Ack,
    Release,
    Bury { reason: &'static str, error: String, deliveries: u32 },
    Retry { at: Instant, deliveries: u32 },
}

/// Where settlements are handed in. Bounded by what is in hand: an entry is settled once.
#[derive(Debug, Default)]
pub(super) struct Desk {
    settlements: Mutex<Vec<(Arc<str>, EntryId, Settlement)>>,
    wake: Notify,
}

impl Desk {
    pub(super) fn ack(&self, stream: &Arc<str>, id: EntryId) {
        self.hand_in(stream, id, Settlement::Ack);
    }

    pub(super) fn release(&self, stream: &Arc<str>, id: EntryId) {
        self.hand_in(stream, id, Settlement::Release);
    }

    pub(super) fn bury(
        &self,
        stream: &Arc<str>,
        id: EntryId,
        reason: &'static str,
        error: &str,
        deliveries: u32,
    ) {
        self.hand_in(stream, id, Settlement::Bury { reason, error: error.to_owned(), deliveries });
    }

    pub(super) fn retry(&self, stream: &Arc<str>, id: EntryId, delay: Duration, deliveries: u32) {
        self.hand_in(stream, id, Settlement::Retry { at: Instant::now() + delay, deliveries });
    }

    fn hand_in(&self, stream: &Arc<str>, id: EntryId, settlement: Settlement) {
        let mut settlements = self.settlements.lock();
        settlements.push((stream.clone(), id, settlement));
        let is_news = settlements.len() == 1 || settlements.len() == MANY;
        drop(settlements);
        if is_news {
            self.wake.notify_one();
        }
    }
}

/// A retry that waits: when, how often it was delivered so far, which entry.
type Waiting = Reverse<(Instant, u32, Arc<str>, EntryId)>;

pub(super) struct Clerk {
    pub shared: Arc<Shared>,
    pub batches: mpsc::WeakSender<Vec<Delivery>>,
    pub waiting: BinaryHeap<Waiting>,
    pub connection: Option<Connection>,
    /// Set when Redis does not answer while the subscription closes.
    pub has_given_up: bool,
}

impl Clerk {
    /// Settles until the subscription has nothing more to settle.
    pub(super) async fn run(mut self) {
        let renewal = self.shared.config.min_idle / 3;
        let mut renew_at = Instant::now() + renewal;
        while !self.shared.drained.is_cancelled() {
            let next_retry = self.waiting.peek().map_or(renew_at, |Reverse((at, ..))| *at);
            tokio::select! {
                () = self.shared.drained.cancelled() => {}
                () = self.shared.desk.wake.notified() => self.gather().await,
                () = sleep_until(next_retry.min(renew_at)) => {}
            }
            self.settle_all().await;
            self.deliver_again().await;
            if Instant::now() >= renew_at {
                self.renew().await;
                renew_at = Instant::now() + renewal;
            }
        }
        let _ = timeout(CLOSE_TIMEOUT, self.finish()).await;
    }

    async fn gather(&self) {
        if self.shared.desk.settlements.lock().len() < MANY {
            let _ = timeout(GATHER, self.shared.desk.wake.notified()).await;
        }
    }

    /// The last word: everything handed in, and whatever is in hand is given back.
    async fn finish(&mut self) {
        self.settle_all().await;
        for (stream, ids) in self.shared.in_hand.all() {
            self.release(&stream, &ids).await;
        }
        for stream in self.shared.config.streams.clone() {
            let shared = self.shared.clone();
            let (stream, shared) = (&stream, &shared);
            let delete = |connection: Connection| async move {
                connection.delete_idle_consumer(stream, &shared.config.group, &shared.consumer).await
            };
            self.until_done("deleting the consumer", delete).await;
        }
    }

    async fn settle_all(&mut self) {
        loop {
            let settlements = std::mem::take(&mut *self.shared.desk.settlements.lock());
            if settlements.is_empty() {
                return;
            }
            let mut acks: HashMap<Arc<str>, Vec<EntryId>> = HashMap::new();
            let mut releases: HashMap<Arc<str>, Vec<EntryId>> = HashMap::new();
            for (stream, id, settlement) in settlements {
                match settlement {
                    Settlement::Ack => acks.entry(stream).or_default().push(id),
                    Settlement::Release => releases.entry(stream).or_default().push(id),
                    Settlement::Bury { reason, error, deliveries } => {
                        self.bury(&stream, id, reason, &error, deliveries).await;
                    }
                    Settlement::Retry { at, deliveries } => {
                        self.waiting.push(Reverse((at, deliveries, stream, id)));
                    }
                }
            }
            for (stream, ids) in acks {
                self.ack(&stream, &ids).await;
            }
            for (stream, ids) in releases {
                self.release(&stream, &ids).await;
            }
        }
    }

    async fn ack(&mut self, stream: &Arc<str>, ids: &[EntryId]) {
        for ids in ids.chunks(IDS_PER_COMMAND) {
            let shared = self.shared.clone();
            let group = shared.config.group.as_str();
            let ack = |connection: Connection| async move { connection.ack(stream, group, ids).await };
            let acknowledged = self.until_done("acknowledging", ack).await;
            self.shared.in_hand.remove(stream, ids);
            counter!("synapse_consumer_acknowledged_total", "stream" => stream.to_string())
                .increment(acknowledged.unwrap_or_default());
        }
    }

    async fn release(&mut self, stream: &Arc<str>, ids: &[EntryId]) {
        for ids in ids.chunks(IDS_PER_COMMAND) {
            let shared = self.shared.clone();
            let idle = shared.config.min_idle;
            let member = shared.member();
            let release =
                |connection: Connection| async move { connection.release(stream, member, ids, idle).await };
            self.until_done("giving back", release).await;
            self.shared.in_hand.remove(stream, ids);
        }
    }

    async fn bury(
        &mut self,
        stream: &Arc<str>,
        id: EntryId,
        reason: &'static str,
        error: &str,
        deliveries: u32,
    ) {
        let shared = self.shared.clone();
        let group = &shared.config.group;
        let deliveries = u64::from(deliveries);
        let letter = DeadLetter { stream, group, id, reason, error, deliveries };
        warn!(stream = %stream, %id, reason, error, "an entry goes to the dead letters");
        let letter = &letter;
        let bury = |connection: Connection| async move { connection.bury(letter).await };
        self.until_done("moving to the dead letters", bury).await;
        self.shared.in_hand.remove(stream, &[id]);
        counter!("synapse_consumer_dead_letters_total", "stream" => stream.to_string(), "reason" => reason)
            .increment(1);
    }

    /// Says that what is in hand is still being worked on, so that nobody takes it over.
    async fn renew(&mut self) {
        for (stream, ids) in self.shared.in_hand.all() {
            for ids in ids.chunks(IDS_PER_COMMAND) {
                let shared = self.shared.clone();
                let (stream, member) = (&stream, shared.member());
                let renew =
                    |connection: Connection| async move { connection.renew(stream, member, ids).await };
                self.until_done("renewing", renew).await;
            }
        }
    }

    /// Hands out the entries whose delay is over.
    async fn deliver_again(&mut self) {
        while let Some(Reverse((at, ..))) = self.waiting.peek() {
            if *at > Instant::now() {
                return;
            }
            let Some(batches) = self.batches.upgrade() else { return };
            let Ok(room) = batches.try_reserve() else {
                // The reader of batches is busy: it is no use to hurry.
                let _ = self.shared.drained.run_until_cancelled(sleep(GATHER)).await;
                return;
            };
            let Some(Reverse((_, deliveries, stream, id))) = self.waiting.pop() else { return };
            let name = &stream;
            let read = |connection: Connection| async move { connection.range(name, id, id, 1).await };
            let entry = self.until_done("reading again", read).await.and_then(|mut entries| entries.pop());
            let entry = entry.unwrap_or_else(|| crate::stream::Entry::new(id, Vec::new()));
            if let Some(delivery) = self.shared.delivery(&stream, &entry, deliveries.saturating_add(1)) {
                room.send(vec![delivery]);
            }
        }
    }

    /// Says something to Redis until it is done; an answer that can't change is logged and left, as `None`.
    async fn until_done<T, F>(&mut self, what: &str, action: impl Fn(Connection) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StreamError>>,
    {
        let mut backoff = Backoff::default();
        while !self.has_given_up {
            let outcome = match &self.connection {
                Some(connection) => action(connection.clone()).await,
                None => match Connection::open(&self.shared.settings).await {
                    Ok(connection) => {
                        self.connection = Some(connection);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match outcome {
                Ok(value) => return Some(value),
                Err(error) if !error.is_transient() && !matches!(error, StreamError::Unauthorized { .. }) => {
                    warn!(group = self.shared.config.group, %error, "{what} was refused; the entries stay pending");
                    return None;
                }
                Err(StreamError::Refused { .. }) => {}
                Err(_) => self.connection = None,
            }
            if self.shared.drained.is_cancelled() {
                // Closing: what Redis can't be told now, it will find out by the entries' idle time.
                self.has_given_up = true;
            }
            let _ = self.shared.drained.run_until_cancelled(sleep(backoff.next_delay())).await;
        }
        None
    }
}
